"""Faults as data: what, on which nodes or links, with which exact parameters, from when to when.

A fault is a frozen dataclass with one JSON form. The same schema serves every runtime; one that
cannot carry a fault out raises `UnsupportedFault`, never skips it.

`start_us` counts from the moment the chaos phase begins; `duration_us` says when the fault is
taken back (a kill: the node is started again; a pause: it goes on; a clock: it is set right).

A fault may be aimed at the node that leads when it strikes: `nodes == (LEADER,)`. `resolve` puts
the actual node in; what was resolved is what the history records.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeAlias

LEADER: Final = "leader"
Node: TypeAlias = int | str
"""A node's number, or LEADER until the fault is resolved."""
Link: TypeAlias = tuple[int, int]
"""A directed link: (source, destination)."""


class FaultError(Exception):
    """Base of everything that goes wrong with faults."""


class UnsupportedFault(FaultError):
    """This runtime, or this machine, cannot carry this fault out; the message says why."""


class BadFault(FaultError, ValueError):
    """A description that makes no sense; the message names the field."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What every fault has. Subclasses add their parameters."""

    kind: ClassVar[str] = ""

    id: str
    start_us: int
    duration_us: int
    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        if self.start_us < 0 or self.duration_us < 0:
            raise BadFault(f"{self.id}: start_us and duration_us must not be negative")

    @property
    def end_us(self) -> int:
        return self.start_us + self.duration_us

    @property
    def is_resolved(self) -> bool:
        return LEADER not in self.nodes

    def resolve(self, leader: int, cluster: Sequence[int]) -> Fault:
        """The same fault with LEADER replaced by the node that leads now."""
        return dataclasses.replace(self, nodes=self._named(leader))

    def _named(self, leader: int) -> tuple[int, ...]:
        """The nodes by number, each once: the leader may be among those that were named as well."""
        return tuple(dict.fromkeys(leader if n == LEADER else int(n) for n in self.nodes))

    def beyond(self, core: Sequence[int]) -> Fault | None:
        """What is left of it when the nodes in `core`, and the links among them, are healed;
        None if that is nothing. The fault must be resolved."""
        nodes = tuple(n for n in self.nodes if n not in core)
        return dataclasses.replace(self, nodes=nodes) if nodes else None

    def describe(self) -> str:
        """A few words for a person, such as "kill n3"."""
        return f"{self.kind} {' '.join(node_name(n) for n in self.nodes)}"

    def to_json(self) -> dict[str, Any]:
        """One flat JSON object: `kind` and every field, times in integer microseconds."""
        return {"kind": self.kind} | {
            f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)
        }


def node_name(node: Node) -> str:
    return node if isinstance(node, str) else f"n{node}"


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


@dataclass(frozen=True, kw_only=True)
class Partition(Fault):
    """Packets on the directed links in `cut` are dropped without a trace.

    `shape` is one of SHAPES; `nodes` are the nodes that the shape singles out (the smaller half,
    the isolated node, the bridge). `cut` is computed from them by `cut_for`, and recorded.
    """

    kind: ClassVar[str] = "partition"

    shape: str
    cut: tuple[Link, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shape not in SHAPES:
            raise BadFault(f"{self.id}: no partition shape {self.shape!r}; there are {SHAPES}")

    def resolve(self, leader: int, cluster: Sequence[int]) -> Fault:
        nodes = self._named(leader)
        cut = self.cut or cut_for(self.shape, nodes, cluster)
        return dataclasses.replace(self, nodes=nodes, cut=cut)

    def beyond(self, core: Sequence[int]) -> Fault | None:
        cut = tuple((a, b) for a, b in self.cut if a not in core or b not in core)
        return dataclasses.replace(self, cut=cut) if cut else None

    def describe(self) -> str:
        names = ",".join(node_name(n) for n in self.nodes)
        return f"partition {self.shape} {names}".rstrip()


SHAPES: Final = ("halves", "isolate", "one-way-in", "one-way-out", "bridge", "majorities-ring")


def cut_for(shape: str, nodes: Sequence[int], cluster: Sequence[int]) -> tuple[Link, ...]:
    """The directed links that a shape drops, sorted.

    halves: `nodes` against the rest. isolate: the same with one node. one-way-in: nothing reaches
    `nodes` from the rest; one-way-out: nothing leaves them. bridge: the rest is halved, and only
    the bridge node `nodes[0]` sees both halves. majorities-ring: `nodes` is an order of the whole
    cluster on a ring; each sees its nearest neighbours, just enough for a majority with itself.
    """
    inside, outside = set(nodes), [n for n in cluster if n not in set(nodes)]
    if shape in ("halves", "isolate"):
        cut = {(a, b) for a in inside for b in outside} | {(b, a) for a in inside for b in outside}
    elif shape == "one-way-in":
        cut = {(b, a) for a in inside for b in outside}
    elif shape == "one-way-out":
        cut = {(a, b) for a in inside for b in outside}
    elif shape == "bridge":
        half = len(outside) // 2
        left, right = outside[:half], outside[half:]
        cut = {(a, b) for a in left for b in right} | {(b, a) for a in left for b in right}
    elif shape == "majorities-ring":
        cut = _ring_cut(nodes)
    else:
        raise BadFault(f"no partition shape {shape!r}; there are {SHAPES}")
    return tuple(sorted(cut))


def _ring_cut(ring: Sequence[int]) -> set[Link]:
    """Each node keeps just enough others for a majority with itself: those nearest on the ring, in
    both directions; where their number is odd, also the opposite one. On a ring of 4k+3 nodes that
    has no opposite, it keeps one more. Up to three nodes, nothing is cut; from four on, no two
    nodes see the same majority.
    """
    size = len(ring)
    others, odd = divmod(size // 2, 2)
    steps = set(range(1, others + 1))
    if odd:
        steps.add(size // 2 if size % 2 == 0 else others + 1)
    kept = {
        (ring[i], ring[(i + way * step) % size])
        for i in range(size)
        for step in steps
        for way in (1, -1)
    }
    return {(a, b) for a in ring for b in ring if a != b} - kept


@dataclass(frozen=True, kw_only=True)
class Kill(Fault):
    """SIGKILL to every process of the node; after `duration_us` the node is started again."""

    kind: ClassVar[str] = "kill"


@dataclass(frozen=True, kw_only=True)
class Pause(Fault):
    """SIGSTOP to every process of the node; after `duration_us` SIGCONT."""

    kind: ClassVar[str] = "pause"


@dataclass(frozen=True, kw_only=True)
class ClockJump(Fault):
    """The node's CLOCK_REALTIME is `offset_us` off the host's; its monotonic clock is untouched."""

    kind: ClassVar[str] = "clock"

    offset_us: int

    def describe(self) -> str:
        return f"{super().describe()} {self.offset_us / 1e6:+.3f}s"


KINDS: Final[dict[str, type[Fault]]] = {
    cls.kind: cls for cls in (Partition, Kill, Pause, ClockJump)
}


def fault_from_json(data: dict[str, Any]) -> Fault:
    """The inverse of `Fault.to_json`.

    Raises BadFault for an unknown kind, a missing or an unknown field.
    """
    fields = dict(data)
    kind = fields.pop("kind", None)
    if kind not in KINDS:
        raise BadFault(f"no fault kind {kind!r}; there are {', '.join(KINDS)}")
    try:
        return KINDS[kind](**{name: _frozen(value) for name, value in fields.items()})
    except TypeError as error:
        raise BadFault(f"fault {fields.get('id')}: {error}") from None


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


def links_cut(active: Iterable[Fault]) -> frozenset[Link]:
    """The directed links that some active partition drops: what the network must look like now."""
    return frozenset(link for f in active if isinstance(f, Partition) for link in f.cut)


# The rest of the kinds add themselves to KINDS. Down here, for they build on the classes above;
# and not in the package's own file, for the agent imports the package and must start fast.
from faults import simulated as _simulated  # noqa: E402, F401
