"""`antipaxos check`: histories that are already recorded."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
from rich.console import Console
from rich.table import Table

from harness.cli.evidence import COLOURS, plain, show_verdict
from harness.cli.options import Seconds, command
from harness.cli.output import SafeConsole, say
from harness.errors import UsageError
from histories.budget import Budget, LimitReached
from histories.checker import EXIT_CODES, Verdict, judged_operations
from histories.checker import check as judge
from histories.checker.certificate import BadCertificate, verify
from histories.checker.compiled import unread
from histories.checker.notes import NIL_READS, unproven
from histories.errors import BadHistory, HistoryError, in_words
from histories.formats import jepsen
from histories.formats.native import History
from histories.models import MODELS, model_named
from histories.reader import FORMATS, format_to_read, is_run_folder, located
from histories.streams import as_file

__all__ = ["CheckFailed", "check", "guarded", "independent_option"]

WORST = ("valid", "unknown", "not a history", "invalid")
"""Outcomes, the worst last: the outcome of several histories is the worst of them."""

NOT_A_HISTORY = UsageError.exit_code
_SECONDS = Seconds(1e-9, 1e9)
_UNITS = {"": 10**6, "K": 10**3, "M": 10**6, "G": 10**9}
_Result = TypeVar("_Result")


class CheckFailed(click.ClickException):
    """The history could not be judged at all: neither a pass nor a failure of the cluster."""

    exit_code = NOT_A_HISTORY


class Size(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic from 8.3 on
    """An amount of memory: 800M, 2G, or a number of megabytes."""

    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)B?", str(value).upper())
        amount = int(float(match[1]) * _UNITS[match[2]]) if match else 0
        if amount <= 0:
            self.fail(f"{value!r} is not an amount of memory such as 800M or 2G", param, ctx)
        return amount


class Request(NamedTuple):
    """What the command line asked for."""

    model: str | None
    initial: Any
    format: str
    failed_cas: str | None
    independent: bool | None
    nil_reads: str
    time_limit_s: float | None
    memory_limit_bytes: int | None
    reference: bool
    verify: bool

    def judge(self, source: Path | History, model: str) -> Verdict:
        """The verdict, its order replayed where that was asked for."""
        budget = Budget(self.time_limit_s)
        if isinstance(source, History):
            return self._judged(source, model, budget)
        try:
            with as_file(located(source), budget) as file:  # --verify reads it again
                verdict = self._judged(file, model, budget)
                kind = format_to_read(file, self.format, self.failed_cas, self.independent)
                return unproven(verdict, jepsen=kind != "native")
        except BadHistory as error:
            raise _of_no_known_format(error, source, self.format) from None
        except LimitReached as limit:
            return unread(str(limit), limit.at, model_named(model, self.initial), 0.0)

    def _judged(self, source: Path | History, model: str, budget: Budget) -> Verdict:
        reading = {
            "format": self.format,
            "failed_cas": self.failed_cas,
            "independent": self.independent,
            "nil_reads": self.nil_reads,
        }
        verdict = judge(
            source,
            model=model,
            initial=self.initial,
            time_limit_s=None if budget.left_s is None else max(budget.left_s, 1e-9),
            memory_limit_bytes=self.memory_limit_bytes,
            linearization=self.verify,
            kernel=not self.reference,
            **reading,  # type: ignore[arg-type]
        )
        if self.verify:
            made = model_named(model, self.initial)
            operations = judged_operations(source, made, **reading)  # type: ignore[arg-type]
            try:
                verify(made, operations, verdict)
            except BadCertificate as error:
                if verdict.outcome != "invalid":
                    raise
                # A violation holds, whatever is wrong with the order of another key.
                note = f"the order of a valid key does not hold: {error}"
                verdict = dataclasses.replace(verdict, notes=(*verdict.notes, note))
        return verdict


class Judged(NamedTuple):
    """What one path came to: an outcome (or "not a history"), one sentence, the verdict as JSON,
    and what prints it in full."""

    path: Path
    outcome: str
    sentence: str
    document: dict[str, Any]
    show: Callable[[Console], None]


independent_option = click.option(
    "--independent/--no-independent",
    default=None,
    help="Whether the values in Jepsen's formats are [key value], each key a separate object.  "
    "[default: where it is certain]",
)


@command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--model",
    type=click.Choice(list(MODELS)),
    help="The sequential model of the object.  [default: the run's, else kv]",
)
@click.option(
    "--initial",
    metavar="V",
    help="The initial value of the object, as JSON: 0, null, '\"a\"'.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["auto", *FORMATS]),
    default="auto",
    show_default=True,
    help="The format of a file that is not in a run folder.",
)
@click.option(
    "--failed-cas",
    type=click.Choice(jepsen.FAILED_CAS),
    help="What a failed cas means in Jepsen's formats: the value differed, or nothing is "
    "known.  [default: mismatch for jepsen-log, ignored for jepsen]",
)
@independent_option
@click.option(
    "--nil-reads",
    type=click.Choice(NIL_READS),
    default="null",
    show_default=True,
    help="What a read of null means: null, or (as in Knossos) that the value is not known.",
)
@click.option(
    "--time-limit",
    type=_SECONDS,
    help="Give up after this time, with the verdict unknown.",
)
@click.option(
    "--memory-limit",
    type=Size(),
    metavar="M",
    help="Give up above this much memory (800M, 2G), with the verdict unknown.",
)
@click.option("--reference", is_flag=True, help="Use the reference checker, in Python.")
@click.option(
    "--verify", is_flag=True, help="Verify valid verdicts by replaying their linearization."
)
@click.option("--json", "as_json", is_flag=True, help="Print only one JSON object.")
def check(  # noqa: PLR0917 (click gives every option as an argument)
    paths: tuple[Path, ...],
    model: str | None,
    initial: str | None,
    format_name: str,
    failed_cas: str | None,
    independent: bool | None,
    nil_reads: str,
    time_limit: float | None,
    memory_limit: int | None,
    reference: bool,
    verify: bool,
    as_json: bool,
) -> None:
    """Check recorded histories: run folders, or history files.

    For a run folder everything that was recorded is checked: what the clients saw, what the
    replicas decided, whether the cluster answered in the end, and whether the faults took effect.
    For a file, or a folder of Jepsen's store, only what the clients saw.

    Exits with 0 when the history is valid, 1 when it is not, 2 when it could not be decided (within
    the limits, or because nothing was answered), and 64 when a path does not hold a history.
    Several paths are checked in turn, each within the limits; the exit code is the worst: 1 before
    64 before 2 before 0.
    """
    request = Request(
        model,
        _value(initial),
        format_name,
        failed_cas,
        independent,
        nil_reads,
        time_limit,
        memory_limit,
        reference,
        verify,
    )
    for path in filter(is_run_folder, paths):
        _require_for_run(path, request)
    if len(paths) == 1:
        only = guarded(_judged, paths[0], request)
        if as_json:
            say(json.dumps(only.document))
        else:
            only.show(SafeConsole())
        raise SystemExit(EXIT_CODES[only.outcome])
    _check_all(paths, request, as_json)


def _check_all(paths: tuple[Path, ...], request: Request, as_json: bool) -> None:
    """Judge several paths, and say what each came to as it is known."""
    console, found = SafeConsole(), list[Judged]()
    for path in paths:
        try:
            judged = _judged(path, request)
        except (HistoryError, OSError, BadCertificate) as error:
            judged = _unreadable(path, _said(error))
        found.append(judged)
        if not as_json and judged.outcome != "valid":
            console.print(f"[bold]{plain(str(path))}[/]", highlight=False, soft_wrap=True)
            judged.show(console)
            console.print()
    worst = max((judged.outcome for judged in found), key=WORST.index)
    if as_json:
        histories = [{"path": str(judged.path)} | judged.document for judged in found]
        say(json.dumps({"verdict": worst, "histories": histories}))
    else:
        console.print(_table(found))
    raise SystemExit(EXIT_CODES.get(worst, NOT_A_HISTORY))


def _table(found: list[Judged]) -> Table:
    table = Table(box=None)
    table.add_column("history", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    table.add_column("why", overflow="fold")
    for judged in found:
        colour = COLOURS.get(judged.outcome, "yellow")
        table.add_row(
            plain(str(judged.path)), f"[{colour}]{judged.outcome}[/]", plain(judged.sentence)
        )
    return table


def guarded(work: Callable[..., _Result], *arguments: Any) -> _Result:
    """What `work` returns; what is wrong with its input becomes a CheckFailed."""
    try:
        return work(*arguments)
    except (HistoryError, OSError, BadCertificate) as error:
        raise CheckFailed(_said(error)) from None


def _said(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'the history'} cannot be read or written: {in_words(error)}"
    return str(error)


def _of_no_known_format(error: BadHistory, path: Path, format_name: str) -> HistoryError:
    """The error for a file of another kind, whose detected format is only a guess; any other error
    of a history unchanged."""
    is_text = error.message.startswith("is not EDN") and path.suffix != ".edn"
    is_text |= error.message.startswith("is not JSON") and error.line <= 1
    if format_name != "auto" or not is_text:
        return error
    detail = f"line {error.line} {error.message}" if error.line else error.message
    return HistoryError(
        f"{path} is not a history in a known format ({detail}): give the folder of a run or its "
        "history.jsonl, or name the format with --format (antipaxos list formats)"
    )


def _unreadable(path: Path, message: str) -> Judged:
    def show(console: Console) -> None:
        console.print(message, highlight=False, markup=False, soft_wrap=True)

    return Judged(path, "not a history", message, {"verdict": None, "error": message}, show)


def _judged(path: Path, request: Request) -> Judged:
    if is_run_folder(path):
        # Faults and their kinds are needed only here.
        judged: Judged = import_module("harness.cli.check_folder").judged_folder(path, request)
        return judged
    verdict = request.judge(path, request.model or "kv")

    def show(console: Console) -> None:
        show_verdict(console, verdict)

    return Judged(path, verdict.outcome, verdict.sentence, verdict.to_json(), show)


def _require_for_run(path: Path, request: Request) -> None:
    """Refuse options that have no effect on the folder of a run."""
    ours = {
        "--format": request.format != "auto",
        "--failed-cas": request.failed_cas is not None,
        "--independent": request.independent is True,
        "--no-independent": request.independent is False,
    }
    for option, given in ours.items():
        if given:
            raise CheckFailed(
                f"{option} is for history files, and {path} is the folder of a run: leave it out"
            )


def _value(text: str | None) -> Any:
    """The value of --initial. Raises BadParameter for what is not JSON."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        hint = f"{in_words(error)}; a string is written {shlex.quote(json.dumps(text))}"
        raise click.BadParameter(f"{text!r}: {hint}", param_hint="--initial") from None
    except RecursionError:
        raise click.BadParameter("nested too deeply", param_hint="--initial") from None
