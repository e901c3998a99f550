"""Which changes of links have been proven: each by a round of probes that agrees and that nothing
disturbed, of a few rounds at most. A round looks at all links, so it counts for all changes that
wait for a proof, and each is told what was seen of its own links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from faults.description import Fault, Link
from faults.link_fault import LinkFault
from harness.runtimes.docker.injectors.link_state import CLIENTS

PROOF_ROUNDS: Final = 4
"""The last of them keeps the network from being changed meanwhile."""
DISTURBED_MAX: Final = 2
"""After so many rounds in which it was, the next one does so, too."""
Measured: TypeAlias = dict[tuple[Link, str], Any]
"""What was seen of links, by link and class of messages ("": of none)."""


@dataclass(eq=False)
class Unproven:
    """A change whose proof is outstanding: that this fault is there, or is gone."""

    fault: Fault
    rounds: int = 0
    """How often it has been looked at."""
    disturbed: int = 0
    """In how many of these rounds the network was changed meanwhile."""
    evidence: dict[str, Any] | None = None
    """Once the proof is made, or given up."""
    problems: list[str] = field(default_factory=list)

    @property
    def must_be_undisturbed(self) -> bool:
        """Whether the next round has to keep the network as it is."""
        return self.rounds == PROOF_ROUNDS - 1 or self.disturbed == DISTURBED_MAX


def after_round(
    changes: Sequence[Unproven], evidence: dict[str, Any], problems: list[str], disturbed: bool
) -> list[Unproven]:
    """Those that need another round; the others are told what was seen."""
    left = []
    about: dict[str, Any]
    for change in changes:
        change.rounds += 1
        change.disturbed += disturbed
        if (problems or disturbed) and change.rounds < PROOF_ROUNDS:
            left.append(change)
            continue
        about = {"rounds": change.rounds, "together": len(changes)}
        if "measured" in evidence:
            about["measured"] = of_fault(change.fault, evidence["measured"])
        change.evidence = evidence | about
        change.problems = problems
    return left


def of_fault(fault: Fault, measured: Measured) -> dict[str, Any]:
    """Of what was measured, the links that this fault affects: its class of messages first, then
    the others; for a partition all links."""
    if isinstance(fault, LinkFault):
        own = {key: seen for key, seen in measured.items() if covered(key[0], [fault], key[1])}
        plain = {key: seen for key, seen in measured.items() if fault.covers(key[0]) and not key[1]}
        measured = own | plain
    return {name_of_class(*about): seen for about, seen in measured.items()}


def covered(link: Link, faults: Sequence[Fault], message: str) -> bool:
    """Whether one of the faults concerns messages of this class ("": of none) on this link."""
    return any(
        isinstance(fault, LinkFault) and fault.message == message and fault.covers(link)
        for fault in faults
    )


def name_of_class(link: Link, message: str) -> str:
    return f"{name_of(link)}, {message}" if message else name_of(link)


def name_of(link: Link) -> str:
    return " to ".join("clients" if n == CLIENTS else f"n{n}" for n in link)
