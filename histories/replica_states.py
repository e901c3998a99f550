"""Replicas' states: were two of them different after the same commands?

Logs and answers can agree while states do not: a snapshot that lacked something, a command applied
twice. Nodes therefore tell, now and then and around every snapshot, a digest of their whole state
(store and client sessions) and up to which slot it was applied: `n1.states.jsonl`, one JSON object
a line with time, life, slot and digest. What is decided for a slot does not change, in whatever
life, with whatever of its disk a node begins it: so of one slot there is one digest. Two are a
divergence, between two nodes or between two lives of one.

Where what is applied is not a prefix of a log, `slot` is a text that names the set of what is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from histories.text import quoted
from histories.untrusted import INTEGER_MAX, Malformed, records

LINE_BYTES_MAX: Final = 4_096
DIGEST: Final = re.compile("[0-9a-f]{1,64}")
SET: Final = re.compile("[0-9a-f.,+ ]{1,1024}")
"""How a set of commands may be named."""


class StateDigest(NamedTuple):
    """What one node said of its state with everything up to `slot` applied. `life` counts the
    node's starts, where it says so."""

    slot: int | str
    digest: str
    life: int = 0


class ReplicaDigest(NamedTuple):
    """Who said it."""

    node: int
    life: int
    digest: str

    def __str__(self) -> str:
        return f"{self.digest} on node {self.node}{f' in life {self.life}' if self.life else ''}"


class Divergence(NamedTuple):
    """Two states of one slot."""

    slot: int | str
    one: ReplicaDigest
    other: ReplicaDigest

    @property
    def sentence(self) -> str:
        where = f"slot {self.slot}" if isinstance(self.slot, int) else f"the set {self.slot}"
        return f"state after {where} differs: digest {self.one}, {self.other}"


class Compared(NamedTuple):
    """Of how many slots several replicas or lives told the state, and where it differed. One that
    has diverged from another stays so: of two nodes the first divergence is listed."""

    slots: int
    divergences: tuple[Divergence, ...]


def compare(states: Mapping[int, Iterable[StateDigest]]) -> Compared:
    """Compare what the nodes told, by node."""
    by_slot: dict[int | str, list[ReplicaDigest]] = {}
    for node in sorted(states):
        for slot, digest, life in states[node]:
            by_slot.setdefault(slot, []).append(ReplicaDigest(node, life, digest))
    found: dict[tuple[int, int], Divergence] = {}
    compared = 0
    for slot in sorted(by_slot, key=lambda slot: slot if isinstance(slot, int) else 0):
        first, *others = by_slot[slot]
        compared += any(told[:2] != first[:2] for told in others)
        for told in others:
            if told.digest != first.digest:
                found.setdefault((first.node, told.node), Divergence(slot, first, told))
    return Compared(compared, tuple(found.values()))


def read_states(path: Path, notes: list[str]) -> Iterator[StateDigest]:
    """What one node told, from its file. A torn last line is noted.

    Raises BadHistory for a line that tells no digest, with file and line.
    """
    return records(
        path, _digest_of, notes, wrong="tells no digest of a state", line_max=LINE_BYTES_MAX
    )


def _digest_of(record: dict[str, Any]) -> StateDigest:
    slot, digest, life = record.get("slot"), record.get("digest"), record.get("life", 0)
    if type(life) is not int or not 0 <= life < INTEGER_MAX:
        raise Malformed(f"life {quoted(life)}")
    if not (isinstance(digest, str) and DIGEST.fullmatch(digest)):
        raise Malformed(f"digest {quoted(digest)}")
    if isinstance(slot, str) and SET.fullmatch(slot):
        return StateDigest(slot, digest, life)
    if type(slot) is not int or not 0 <= slot < INTEGER_MAX:
        raise Malformed(f"slot {quoted(slot)}")
    return StateDigest(slot, digest, life)
