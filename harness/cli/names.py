"""Names that options take, in help texts and for the completion of shells."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click

from faults.kinds import KINDS
from harness.runtimes import RUNTIMES
from harness.targets import targets
from harness.targets.interface import Capabilities


def faults_help() -> str:
    """The kinds of faults, and which of them only one runtime can carry out."""
    only = {
        runtime: [name for name, kind in KINDS.items() if kind.runtimes == (runtime,)]
        for runtime in RUNTIMES
    }
    apart = "; ".join(f"only {on}: {', '.join(names)}" for on, names in only.items() if names)
    both = ", ".join(name for name, kind in KINDS.items() if len(kind.runtimes) == len(RUNTIMES))
    return f"{both}; {apart}" if apart else both


def complete_names(choices: Callable[[], Iterable[str]]) -> Callable[..., list[str]]:
    """Completion of a name, or of the last one of a comma-separated list."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [f"{before}{comma}{name}" for name in choices() if name.startswith(last)]

    return complete


def complete_of_target(
    names: Callable[[Capabilities], Iterable[str]], ending: str = ""
) -> Callable[..., list[str]]:
    """Completion of what a target has that stands before on the line."""

    def complete(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
        given = list(context.args)  # where an option without its value ends the parsing
        for argument in ("target", "protocol", "targets", "protocols"):
            value = context.params.get(argument) or ()
            given += [value] if isinstance(value, str) else value
        known = [target for name, target in targets().items() if name in given]
        found = dict.fromkeys(name for target in known for name in names(target.capabilities))
        return [f"{name}{ending}" for name in found if name.startswith(incomplete)]

    return complete


complete_mutants = complete_of_target(lambda able: able.mutants)
complete_settings = complete_of_target(lambda able: able.settings, "=")
