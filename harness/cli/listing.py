"""`antipaxos list`: what there is to choose from."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import click
from rich.table import Table
from rich.text import Text

from faults.kinds import KINDS
from faults.shapes import NAMED_SHAPES
from harness.cli.names import complete_names
from harness.cli.options import command
from harness.cli.output import SafeConsole, say
from harness.errors import UnknownChoice, UsageError
from harness.runtimes import RUNTIMES
from harness.search.swarm import MIX
from harness.targets import target_named, targets
from harness.workloads import WORKLOADS
from histories.models import MODELS
from histories.reader import FORMATS
from node_image.mutants import MUTANTS


class Entry(NamedTuple):
    """A line of a list: how it is called where it is chosen, and what else is to be said."""

    name: str
    words: tuple[str, ...]


class Kind(NamedTuple):
    """A list: the option or argument that takes its names, what its columns say, its lines.
    `of_target`: the lines are those of one target."""

    where: str
    columns: tuple[str, ...]
    entries: Callable[..., Iterator[Entry]]
    of_target: bool = False


def _summary(documented: Any) -> str:
    """The first sentence of a docstring, in one line."""
    text = " ".join((documented.__doc__ or "").split()).replace("`", "")
    return re.split(r"(?<=[^.])\.(?: |$)|; ", text)[0]


def _targets() -> Iterator[Entry]:
    for name, target in targets().items():
        runs_on = "docker, sim" if target.capabilities.simulated else "docker"
        yield Entry(name, (runs_on, target.summary))


def _faults() -> Iterator[Entry]:
    for name, kind in KINDS.items():
        places = ["yes" if runtime in kind.runtimes else "-" for runtime in RUNTIMES]
        yield Entry(name, (*places, "yes" if name in MIX else "-", kind.summary))


def _workloads() -> Iterator[Entry]:
    for name, workload in WORKLOADS.items():
        yield Entry(name, (workload.model, workload.summary))


def _models() -> Iterator[Entry]:
    for name in MODELS:
        module = importlib.import_module(f"histories.models.{name.replace('-', '_')}")
        yield Entry(name, (_summary(module).removeprefix(f"{name}: "),))


def _settings(target: str) -> Iterator[Entry]:
    able = target_named(target).capabilities
    for name, default in able.settings.items():
        yield Entry(name, (default, able.described.get(name, "")))


def _mutants(target: str) -> Iterator[Entry]:
    for name in target_named(target).capabilities.mutants:
        mutant = MUTANTS[name]
        needs = ", ".join(f"{key}={value}" for key, value in mutant.needs.items())
        change = f"{mutant.change} (needs {needs})" if needs else mutant.change
        yield Entry(name, (change, mutant.shows))


def _names(names: tuple[str, ...]) -> Callable[[], Iterator[Entry]]:
    return lambda: (Entry(name, ()) for name in names)


KINDS_OF_LISTS: Final = {
    "targets": Kind("TARGET", ("runs on", "what it is"), _targets),
    "faults": Kind("--faults", (*RUNTIMES, "swarm", "what it does"), _faults),
    "shapes": Kind("--shapes", (), _names(NAMED_SHAPES)),
    "workloads": Kind("--workload", ("model", "what clients do"), _workloads),
    "models": Kind("--model", ("what it is",), _models),
    "formats": Kind("antipaxos check --format", (), _names(FORMATS)),
    "settings": Kind("--set", ("default", "what it is"), _settings, of_target=True),
    "mutants": Kind("--mutant", ("what is changed", "what it shows"), _mutants, of_target=True),
}


@command(name="list")
@click.argument(
    "what",
    required=False,
    metavar="[WHAT]",
    shell_complete=complete_names(lambda: KINDS_OF_LISTS),
)
@click.argument("target", required=False, shell_complete=complete_names(targets))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def list_command(*, what: str | None, target: str | None, as_json: bool) -> None:
    """List targets, faults, shapes, workloads, models, formats, settings or mutants.

    \b
    antipaxos list                      # what can be listed
    antipaxos list faults               # each with the runtimes it supports
    antipaxos list settings raft        # the settings for --set
    antipaxos list mutants multi-paxos  # the planted bugs for --mutant
    """
    if what is None:
        _overview(as_json)
        return
    kind = KINDS_OF_LISTS.get(what)
    if kind is None:
        raise UnknownChoice("list", what, KINDS_OF_LISTS)
    if kind.of_target and target is None:
        raise UsageError(
            f"say of which target: antipaxos list {what} TARGET",
            remedy=f"choose one of: {', '.join(targets())}",
        )
    if target is not None and not kind.of_target:
        raise UsageError(f"antipaxos list {what} takes no target")
    entries = list(kind.entries(target) if kind.of_target else kind.entries())
    if as_json:
        columns = ("name", *kind.columns)
        rows = [dict(zip(columns, (e.name, *e.words), strict=True)) for e in entries]
        say(json.dumps({what: rows}))
        return
    _show(kind, entries, what)


def _overview(as_json: bool) -> None:
    if as_json:
        say(json.dumps({"lists": list(KINDS_OF_LISTS)}))
        return
    for name, kind in KINDS_OF_LISTS.items():
        command = f"antipaxos list {name}{' TARGET' if kind.of_target else ''}"
        say(f"{command:<32}{kind.where}")


def _show(kind: Kind, entries: list[Entry], what: str) -> None:
    console = SafeConsole(highlight=False)
    if not entries:
        console.print(f"no {what}")
        return
    if not kind.columns:
        for entry in entries:
            say(entry.name)
        return
    table = Table(box=None, pad_edge=False)
    table.add_column(kind.where, no_wrap=True)
    for name in kind.columns:
        table.add_column(name, overflow="fold")
    for entry in entries:
        table.add_row(entry.name, *(Text(words) for words in entry.words))
    console.print(table)


__all__ = ["list_command"]
