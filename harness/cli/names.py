"""Names that options take, in help texts and for the completion of shells."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click

from faults.kinds import KINDS
from harness.runtimes import RUNTIMES


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
