"""Faults as data: kind, nodes or links, exact parameters, start and duration.

A fault is a frozen dataclass with one JSON form. The same schema is used by every runtime; one that
does not support a fault raises `UnsupportedFault` and never skips it. This file has what all kinds
share; each kind has its own file in `faults/kinds`.

`start_us` counts from the beginning of the chaos phase; `duration_us` says when the fault is healed
(a kill: the node is started again; a pause: it is resumed; a clock: it is corrected).

A fault may be aimed at the leader at the time when it begins: `nodes == (LEADER,)`. `resolve`
replaces LEADER by that node; the history records the resolved fault.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeAlias

LEADER: Final = "leader"
OMIT_DEFAULT: Final = "omit_default"
"""Metadata of a field that is in the JSON form only where it differs from its default."""
Node: TypeAlias = int | str
"""A node's number, or LEADER until the fault is resolved."""
Link: TypeAlias = tuple[int, int]
"""A directed link: (source, destination)."""


class FaultError(Exception):
    """Base of the errors of this package."""


class UnsupportedFault(FaultError):
    """This runtime, or this machine, does not support this fault; the message says why."""


class BadFault(FaultError, ValueError):
    """An invalid description; the message names the field."""


SIGNED: Final = ("offset_us",)
"""Times that may be negative: a clock may be behind."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """The fields of every fault. Subclasses add their parameters."""

    kind: ClassVar[str] = ""

    id: str
    start_us: int
    duration_us: int
    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        for name in _whole_numbers(self):
            value = getattr(self, name)
            if type(value) is not int:
                raise BadFault(f"{self.id}: {name} must be a whole number, not {written(value)}")
            if value < 0 and name.endswith("_us") and name not in SIGNED:
                raise BadFault(f"{self.id}: {name} must not be negative, as {value} is")

    @property
    def end_us(self) -> int:
        return self.start_us + self.duration_us

    @property
    def down_at_once(self) -> int:
        """How many nodes a fault of the process group takes down at the same time."""
        return len(self.nodes)

    @property
    def is_resolved(self) -> bool:
        return LEADER not in self.nodes

    def resolve(self, leader: int, cluster: Sequence[int]) -> Fault:
        """The same fault with LEADER replaced by the node that leads now."""
        return dataclasses.replace(self, nodes=self._named(leader))

    def _named(self, leader: int) -> tuple[int, ...]:
        """The nodes by number, each once: the leader may also be among the named ones."""
        return tuple(dict.fromkeys(leader if n == LEADER else int(n) for n in self.nodes))

    def lacks_effect(self, cluster: Sequence[int]) -> str | None:
        """Why it would change nothing among these nodes, in words; None if it has an effect. The
        fault must be resolved."""
        return None

    def steps(self) -> tuple[Fault, ...]:
        """The faults of which a composite one (a crash loop, a flapping link) consists, in their
        order, with their own ids; a simple fault is its only step. Runtimes see only steps."""
        return (self,)

    def beyond(self, core: Sequence[int]) -> Fault | None:
        """What remains of it when the nodes in `core`, and the links among them, are healed; None
        if nothing does. The fault must be resolved."""
        nodes = tuple(n for n in self.nodes if n not in core)
        return dataclasses.replace(self, nodes=nodes) if nodes else None

    def describe(self) -> str:
        """A short description, such as "kill n3"."""
        return f"{self.kind} {' '.join(node_name(n) for n in self.nodes)}"

    def to_json(self) -> dict[str, Any]:
        """One flat JSON object: `kind` and every field, times in integer microseconds."""
        return {"kind": self.kind} | {
            f.name: _plain(getattr(self, f.name))
            for f in dataclasses.fields(self)
            if not (f.metadata.get(OMIT_DEFAULT) and getattr(self, f.name) == f.default)
        }


_WHOLE_NUMBERS: Final[dict[str, tuple[str, ...]]] = {}


def _whole_numbers(fault: Fault) -> tuple[str, ...]:
    """The names of its fields that are integers, remembered by kind."""
    if fault.kind not in _WHOLE_NUMBERS:
        fields = dataclasses.fields(fault)
        _WHOLE_NUMBERS[fault.kind] = tuple(f.name for f in fields if f.type in (int, "int"))
    return _WHOLE_NUMBERS[fault.kind]


def written(value: Any) -> str:
    """A value of a schedule for messages, as it is written in TOML."""
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, dict):
        return "a table"
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, str) else str(value)


def require_some(fault: Fault, *names: str) -> None:
    """Raises BadFault where all of these fields are 0: such a fault would change nothing."""
    if not any(getattr(fault, name) for name in names):
        raise BadFault(f"{fault.id}: {' and '.join(names)} of 0 would change nothing")


def node_name(node: Node) -> str:
    return node if isinstance(node, str) else f"n{node}"


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple) else value
