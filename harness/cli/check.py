"""`antipaxos check` and `antipaxos convert`: histories that are already recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
from rich.console import Console

from harness.cli.evidence import show_agreement, show_evidence, show_verdict
from harness.run.verdict import RunVerdict, judge_folder
from histories.checker import EXIT_CODES, Verdict
from histories.checker import check as judge
from histories.checker.certificate import BadCertificate, verify
from histories.errors import HistoryError
from histories.folder import RunFolder
from histories.formats import jepsen, native
from histories.models import MODELS, model_named
from histories.reader import FORMATS, read_history

__all__ = ["check", "convert", "show_agreement", "show_evidence", "show_verdict"]

_UNITS = {"": 10**6, "K": 10**3, "M": 10**6, "G": 10**9}
_Result = TypeVar("_Result")


class CheckFailed(click.ClickException):
    """The history could not be judged at all: neither a pass nor a failure of the cluster."""

    exit_code = 3


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

    path: Path
    model: str | None
    initial: Any
    format: str
    failed_cas: str | None
    independent: bool | None
    time_limit_s: float | None
    memory_limit_bytes: int | None
    reference: bool
    verify: bool

    def judge(self, source: Any, model: str) -> Verdict:
        return judge(
            source,
            model=model,
            initial=self.initial,
            time_limit_s=self.time_limit_s,
            memory_limit_bytes=self.memory_limit_bytes,
            linearization=self.verify,
            kernel=not self.reference,
            format=self.format,
            failed_cas=self.failed_cas,
            independent=self.independent,
        )


_independent = click.option(
    "--independent/--no-independent",
    default=None,
    help="Whether the values in Jepsen's formats are [key value], each key an object of its own.  "
    "[default: where it is certain]",
)


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--model",
    type=click.Choice(list(MODELS)),
    help="What a single copy of the object would do.  [default: the run's, else kv]",
)
@click.option("--initial", metavar="V", help="What the object holds at first, as JSON.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["auto", *FORMATS]),
    default="auto",
    show_default=True,
    help="How a bare file is written.",
)
@click.option(
    "--failed-cas",
    type=click.Choice(jepsen.FAILED_CAS),
    help="What a failed cas means in Jepsen's formats: the value was another one, or nothing is "
    "known.  [default: mismatch for jepsen-log, ignored for jepsen]",
)
@_independent
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Give up after so many seconds, with the verdict unknown.",
)
@click.option(
    "--memory-limit",
    type=Size(),
    metavar="M",
    help="Give up beyond so much memory (800M, 2G), with the verdict unknown.",
)
@click.option("--reference", is_flag=True, help="Judge in plain Python, without the kernel.")
@click.option("--verify", is_flag=True, help="Replay the order that a valid verdict rests on.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, nothing else.")
def check(  # noqa: PLR0917 (click gives every option as an argument)
    path: Path,
    model: str | None,
    initial: str | None,
    format_name: str,
    failed_cas: str | None,
    independent: bool | None,
    time_limit: float | None,
    memory_limit: int | None,
    reference: bool,
    verify: bool,
    as_json: bool,
) -> None:
    """Judge a recorded history: a run's folder, or a bare history file.

    Of a folder everything is judged that was recorded: what clients saw, what replicas decided,
    whether the cluster answered in the end, whether the faults took effect. Of a file, what clients
    saw.

    Exits with 0 when the history is valid, 1 when it is not, 2 when it could not be decided (within
    the limits), and 3 when PATH does not hold a history.
    """
    request = Request(
        path,
        model,
        _value(initial),
        format_name,
        failed_cas,
        independent,
        time_limit,
        memory_limit,
        reference,
        verify,
    )
    outcome = _guarded(_check_folder if path.is_dir() else _check_file, request, as_json)
    raise SystemExit(EXIT_CODES[outcome])


def _guarded(work: Callable[..., _Result], *arguments: Any) -> _Result:
    try:
        return work(*arguments)
    except (HistoryError, OSError, BadCertificate) as error:
        raise CheckFailed(str(error)) from None


def _check_file(request: Request, as_json: bool) -> str:
    model = request.model or "kv"
    verdict = request.judge(request.path, model)
    if request.verify:
        history = read_history(
            request.path, request.format, request.failed_cas, request.independent
        )
        verify(model_named(model, request.initial), history.operations(), verdict)
    if as_json:
        click.echo(json.dumps(verdict.to_json()))
    else:
        show_verdict(Console(), verdict)
    return verdict.outcome


def _check_folder(request: Request, as_json: bool) -> str:
    folder = RunFolder.open(request.path)

    def checker(history: native.History, model: str) -> Verdict:
        verdict = request.judge(history, model)
        if request.verify:
            verify(model_named(model, request.initial), history.operations(), verdict)
        return verdict

    run = judge_folder(folder, model=request.model, checker=checker)
    if as_json:
        click.echo(json.dumps(run.linearizability.to_json() | run.to_json()))
    else:
        _show_run(Console(), run)
    return run.outcome


def _show_run(console: Console, run: RunVerdict) -> None:
    show_verdict(console, run.linearizability, outcome=run.outcome)
    if run.agreement is not None:
        show_agreement(console, run.agreement)
    detectors = ", ".join(f"{name} {outcome}" for name, outcome in run.detectors().items())
    console.print(f"detectors: {detectors}", highlight=False)
    for reason in run.reasons:
        if reason != run.linearizability.sentence:
            console.print(f"  {reason}", highlight=False, markup=False)


def _value(text: str | None) -> Any:
    """An option's value: JSON where it is, else the text itself."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--from",
    "source_format",
    type=click.Choice(["auto", *FORMATS]),
    default="auto",
    show_default=True,
    help="The format of SOURCE.",
)
@click.option(
    "--to",
    "target_format",
    type=click.Choice(["native", "jepsen"]),
    help="The format of TARGET.  [default: jepsen where it ends in .edn, else native]",
)
@click.option(
    "--failed-cas",
    type=click.Choice(jepsen.FAILED_CAS),
    help="What a failed cas means in Jepsen's formats.",
)
@_independent
def convert(
    source: Path,
    target: Path,
    source_format: str,
    target_format: str | None,
    failed_cas: str | None,
    independent: bool | None,
) -> None:
    """Write the history in SOURCE (a file or a run's folder) to TARGET in another format."""
    if source.is_dir():
        source = _guarded(RunFolder.open, source).history
    history = _guarded(read_history, source, source_format, failed_cas, independent)
    _guarded(_write, history, target, target_format)
    click.echo(f"{target}: {len(history.events)} events")
    for note in history.notes:
        click.echo(f"note: {note}")


def _write(history: native.History, target: Path, target_format: str | None) -> None:
    if target.exists():
        raise CheckFailed(f"{target} is there already: choose another name, or remove it")
    as_edn = target_format == "jepsen" or (target_format is None and target.suffix == ".edn")
    (jepsen.write_edn if as_edn else native.write)(target, history.events)
