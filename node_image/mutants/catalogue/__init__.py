"""The planted bugs, as a table: what each changes, what exposes it, and what it then shows.

Each is a real mistake, from a paper, from a published analysis or from an issue of a real
implementation. The code of a mutant is in the file of its protocol in the parent folder; this is
only its description, so that the harness can list, score and explain them.
"""

from __future__ import annotations

from node_image.mutants.catalogue import (
    epaxos,
    fast_paxos,
    flexible_paxos,
    log_recovery,
    raft,
    shared,
    two_phase_commit,
)
from node_image.mutants.catalogue.mutant import Mutant

__all__ = ["MUTANTS", "Mutant"]

_ALL = (shared, flexible_paxos, fast_paxos, epaxos, raft, two_phase_commit, log_recovery)

MUTANTS: dict[str, Mutant] = {bug.id: bug for group in _ALL for bug in group.BUGS}
