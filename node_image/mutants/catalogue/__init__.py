"""The planted bugs, as a table: what each changes, what exposes it, and what it then shows.

Each is a real mistake, from a paper, from a published analysis or from an issue of a real
implementation. These are only descriptions, so that the harness can list, score and explain them.
The code of a bug is in the file of the same name in the parent folder. `multi_paxos` and
`leadership` describe bugs of several protocols; those that have one in another form have their own
version in their own file.
"""

from __future__ import annotations

from node_image.mutants.catalogue import (
    any_protocol,
    basic_paxos,
    epaxos,
    fast_paxos,
    flexible_paxos,
    leadership,
    log_recovery,
    multi_paxos,
    raft,
    snapshots,
    two_phase_commit,
)
from node_image.mutants.catalogue.mutant import Mutant

__all__ = ["CATALOGUE", "MUTANTS", "Mutant"]

CATALOGUE: dict[str, tuple[Mutant, ...]] = {
    module.__name__.rpartition(".")[2]: module.BUGS
    for module in (
        any_protocol,
        basic_paxos,
        multi_paxos,
        leadership,
        snapshots,
        flexible_paxos,
        fast_paxos,
        epaxos,
        raft,
        two_phase_commit,
        log_recovery,
    )
}
"""By file, the bugs that it describes."""

LETTERS = "BMLFQERTD"
"""The first letters of the ids, in the order in which bugs are listed."""


def _place(bug: Mutant) -> tuple[int, bool, int, str]:
    """Controls come after the bugs of the same letter."""
    number = bug.id[1:].rstrip("b")
    return LETTERS.index(bug.id[0]), bug.control, int(number), bug.id


MUTANTS: dict[str, Mutant] = {
    bug.id: bug
    for bug in sorted((bug for group in CATALOGUE.values() for bug in group), key=_place)
}
