"""The registry: every protocol by name, and every planted bug by name.

    protocol_class("multi-paxos")          the correct protocol
    protocol_class("multi-paxos", "M5")    the same with one safeguard removed

A planted bug is a mistake that is made on purpose, to measure whether it is found. Prose says
"planted bug"; identifiers, options and file names say `mutant`. A planted bug of one protocol is a
subclass of it; one that several protocols can have is a function that makes such a subclass
(`variation`).

To add one:

1. Its code: a subclass or a function in `mutants/NAME.py`, and its entry in the table at the end of
   that file. NAME is the protocol, or what several protocols have in common: `any_protocol`,
   `leadership`, `snapshots`, `log_recovery`. A protocol that has the bug in another form has its
   version, under the same id, in its own file.
2. Its description: an entry in `mutants/catalogue/NAME.py`, the file of the same name.
3. A scenario of a few events in `tests/node_image`, which the correct protocol passes and the
   planted bug does not. The description names it.

docs/mutants.md has an example.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from node_image.mutants.any_protocol import ANY_PROTOCOL
from node_image.mutants.basic_paxos import BASIC_PAXOS
from node_image.mutants.catalogue import MUTANTS, Mutant
from node_image.mutants.epaxos import EPAXOS
from node_image.mutants.fast_paxos import FAST_PAXOS
from node_image.mutants.flexible_paxos import FLEXIBLE_PAXOS
from node_image.mutants.log_recovery import LOG_RECOVERY
from node_image.mutants.multi_paxos import MULTI_PAXOS
from node_image.mutants.raft import RAFT
from node_image.mutants.snapshots import SNAPSHOTS
from node_image.mutants.two_phase_commit import TWO_PHASE_COMMIT
from node_image.mutants.variation import Variation
from node_image.protocols.basic_paxos import BasicPaxos
from node_image.protocols.epaxos import EPaxos
from node_image.protocols.fast_paxos import FastPaxos
from node_image.protocols.flexible_paxos import FlexiblePaxos
from node_image.protocols.multi_paxos import MultiPaxos
from node_image.protocols.raft import Raft
from node_image.protocols.two_phase_commit import TwoPhaseCommit

__all__ = ["MUTANTS", "PROTOCOLS", "Mutant", "UnknownName", "mutants_of", "protocol_class"]

PROTOCOLS: dict[str, type[Any]] = {
    cls.name: cls
    for cls in (
        BasicPaxos,
        MultiPaxos,
        FlexiblePaxos,
        FastPaxos,
        EPaxos,
        Raft,
        TwoPhaseCommit,
    )
}

IMPLEMENTATIONS: dict[str, dict[str, Variation | type[Any]]] = {
    "basic-paxos": {**ANY_PROTOCOL, **LOG_RECOVERY, **SNAPSHOTS, **BASIC_PAXOS},
    "multi-paxos": {**ANY_PROTOCOL, **LOG_RECOVERY, **SNAPSHOTS, **MULTI_PAXOS},
    "flexible-paxos": {
        **ANY_PROTOCOL,
        **LOG_RECOVERY,
        **SNAPSHOTS,
        **MULTI_PAXOS,
        **FLEXIBLE_PAXOS,
    },
    "fast-paxos": {**ANY_PROTOCOL, **LOG_RECOVERY, **SNAPSHOTS, **FAST_PAXOS},
    "epaxos": {**ANY_PROTOCOL, "M7": SNAPSHOTS["M7"], **EPAXOS},
    "raft": {**ANY_PROTOCOL, **LOG_RECOVERY, **SNAPSHOTS, **RAFT},
    "two-phase-commit": {**ANY_PROTOCOL, **TWO_PHASE_COMMIT},
}
"""By protocol and planted bug, its class, or the function that makes it."""

_made: dict[tuple[str, str], type[Any]] = {}


class UnknownName(ValueError):
    """No such protocol or planted bug; `choices` are the names that exist."""

    def __init__(self, what: str, name: str, choices: Iterable[str]) -> None:
        self.choices = tuple(choices)
        remedy = f"choose one of {', '.join(self.choices)}" if self.choices else "it has none"
        super().__init__(f"no {what} {name!r}; {remedy}")


def mutants_of(name: str) -> tuple[Mutant, ...]:
    """The planted bugs of a protocol, in the order of the catalogue."""
    return tuple(mutant for mutant in MUTANTS.values() if name in mutant.protocols)


def protocol_class(name: str, mutant: str | None = None) -> type[Any]:
    """The class of a protocol, or of one of its planted bugs.

    Raises UnknownName, with the choices, for a name that does not exist.
    """
    if name not in PROTOCOLS:
        raise UnknownName("protocol", name, PROTOCOLS)
    if mutant is None:
        return PROTOCOLS[name]
    if mutant not in IMPLEMENTATIONS.get(name, {}):
        choices = (m.id for m in mutants_of(name))
        raise UnknownName(f"mutant of {name}", mutant, choices)
    if (name, mutant) not in _made:
        change, base = IMPLEMENTATIONS[name][mutant], PROTOCOLS[name]
        made = change if isinstance(change, type) else change(base)
        _made[name, mutant] = type(f"{base.__name__}_{mutant}", (made,), {})
    return _made[name, mutant]
