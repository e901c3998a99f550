"""Registers whose written values are all different, decided by sorting: the reference's version.

`kernel/src/zones.rs` is the same algorithm with a fuller explanation. A *cluster* is a written
value: the operations that wrote it and saw it, and the compare-and-set that replaced it. Clusters
that compare-and-sets tie together are a *block*, whose order inside is forced. Each block has a
zone: from f, its earliest return, to s, its latest call. Block B must come before block A exactly
where f(B) < s(A), so two blocks that must each come before the other cannot be ordered; and if
there are none such, min(f, s) sorts them all.

What this cannot decide is left to the search: a value that is written twice, a compare-and-set that
failed without saying what it saw, an operation that registers do not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from histories.operations import Operation


class Zoned(NamedTuple):
    """`order`, of ids, where the operations can be ordered; else `part`, which cannot be."""

    order: tuple[int, ...] | None
    part: tuple[Operation, ...] = ()


@dataclass
class _Cluster:
    value: Any
    writer: Operation | None = None
    takers: list[Operation] = field(default_factory=list)
    readers: list[Operation] = field(default_factory=list)


class _Unfit(Exception):
    """This monitor cannot decide the history."""


class _Impossible(Exception):
    """These operations cannot be ordered."""

    def __init__(self, *part: Operation | None) -> None:
        self.part = [op for op in part if op is not None]


def zones(initial: Any, operations: Sequence[Operation]) -> Zoned | None:
    """Decide the operations on one register; None where the search has to."""
    register = _Register(initial)
    try:
        register.collect(operations)
        blocks = sorted(register.blocks(), key=lambda block: min(block.f, block.s))
        _compare(register, blocks)
    except _Unfit:
        return None
    except _Impossible as found:
        return Zoned(None, tuple(register.closed(found.part)))
    return Zoned(tuple(op.id for block in blocks for group in block.groups for op in group))


class _Block(NamedTuple):
    """Groups of operations in this order. `first` returned first, `last` was called last; a block
    that begins with the initial value returned before everything (None)."""

    groups: list[list[Operation]]
    first: Operation | None
    last: Operation
    f: int
    s: int


class _Register:
    def __init__(self, initial: Any) -> None:
        self.initial = initial
        self.clusters: dict[Any, _Cluster] = {initial: _Cluster(initial)}

    def cluster(self, value: Any) -> _Cluster:
        return self.clusters.setdefault(value, _Cluster(value))

    def collect(self, operations: Sequence[Operation]) -> None:
        """Assign every operation to its cluster, and leave out those whose effect was never
        seen."""
        contradiction = None
        for op in operations:
            if op.f == "read":
                if op.seen:
                    self.cluster(op.result).readers.append(op)
            elif op.f == "write":
                self._write(op, op.value)
            elif op.f != "cas" or (op.outcome == "mismatch" and not op.seen):
                raise _Unfit
            elif op.outcome == "mismatch":
                self.cluster(op.result).readers.append(op)
                if op.result == op.value[0]:
                    contradiction = op
            elif op.value[0] != op.value[1]:
                self._write(op, op.value[1])
                if op.outcome == "ok":
                    self.cluster(op.value[0]).takers.append(op)
            elif op.outcome == "ok":
                self.cluster(op.value[0]).readers.append(op)
        if contradiction is not None:
            raise _Impossible(contradiction)
        self._confirm()

    def _write(self, op: Operation, value: Any) -> None:
        cluster = self.cluster(value)
        if cluster.writer is not None or value == self.initial:
            raise _Unfit
        cluster.writer = op

    def _confirm(self) -> None:
        """An operation of unknown outcome happened if its value was seen, and is otherwise left
        out."""
        seen = [c for c in self.clusters.values() if c.readers or c.takers]
        confirmed = set()
        while seen:
            cluster = seen.pop()
            writer = cluster.writer
            if cluster.value == self.initial or cluster.value in confirmed:
                continue
            confirmed.add(cluster.value)
            if writer is None:
                raise _Impossible((cluster.readers + cluster.takers)[0])
            if writer.outcome == "info" and writer.f == "cas":
                before = self.cluster(writer.value[0])
                before.takers.append(writer)
                seen.append(before)
        for cluster in self.clusters.values():
            if len(cluster.takers) > 1:
                raise _Impossible(*cluster.takers[:2], cluster.writer)
            unsure = cluster.writer is not None and cluster.writer.outcome == "info"
            if unsure and cluster.value not in confirmed:
                cluster.writer = None

    def blocks(self) -> Iterator[_Block]:
        """Follow every chain of compare-and-sets from where it begins."""
        visited = set()
        for root in list(self.clusters.values()):
            begins = root.value == self.initial or (root.writer and root.writer.f == "write")
            if begins:
                chain = list(self.chain(root))
                visited |= {cluster.value for cluster in chain}
                block = self._block(chain)
                if block is not None:
                    yield block
        for cluster in self.clusters.values():
            if cluster.writer is not None and cluster.value not in visited:
                raise _Impossible(*self._ring(cluster))

    def chain(self, cluster: _Cluster) -> Iterator[_Cluster]:
        """The cluster, and those that compare-and-sets made of it."""
        yield cluster
        while cluster.takers:
            cluster = self.clusters[cluster.takers[0].value[1]]
            yield cluster

    def _block(self, chain: list[_Cluster]) -> _Block | None:
        groups = []
        for cluster in chain:
            groups += [[cluster.writer]] if cluster.writer else []
            groups += [cluster.readers] if cluster.readers else []
        if not groups:
            return None
        last = groups[0][0]
        for group in groups:
            earliest = min(group, key=lambda op: op.ret)
            if earliest.ret < last.call:
                raise _Impossible(last, earliest, *self._between(last, earliest))
            last = max([last, *group], key=lambda op: op.call)
        first = min((op for group in groups for op in group), key=lambda op: op.ret)
        if chain[0].value == self.initial:
            return _Block(groups, None, last, -1, last.call)
        return _Block(groups, first, last, first.ret, last.call)

    def _ring(self, cluster: _Cluster) -> list[Operation]:
        ring: list[Operation] = []
        while cluster.writer is not None and cluster.writer not in ring:
            ring.append(cluster.writer)
            cluster = self.clusters[cluster.writer.value[0]]
        return ring

    def value_of(self, op: Operation) -> Any:
        """The value that the operation saw, or left."""
        if op.f == "write":
            return op.value
        return op.value[1] if op.f == "cas" and op.outcome != "mismatch" else op.result

    def _between(self, a: Operation | None, b: Operation) -> list[Operation]:
        """The writers that lead from one operation of a block to another one; None stands for the
        write of the initial value."""
        values = [self.initial if op is None else self.value_of(op) for op in (a, b)]
        for start, end in (values, values[::-1]):
            chain = []
            for cluster in self.chain(self.clusters[start]):
                chain += [cluster.writer] if cluster.writer else []
                if cluster.value == end:
                    return chain
        return []

    def segment(self, block: _Block) -> list[Operation]:
        ends = [block.last] if block.first is None else [block.first, block.last]
        return ends + self._between(block.first, block.last)

    def closed(self, part: list[Operation]) -> list[Operation]:
        """The part with the writers of the values it saw, and for each operation of unknown outcome
        one operation that saw its value."""
        found: dict[int, Operation] = {}
        waiting = list(part)
        while waiting:
            op = waiting.pop()
            if op.id in found:
                continue
            found[op.id] = op
            chained = op.f == "cas" and op.outcome == "ok"
            value = op.value[0] if chained else self.value_of(op)
            writer = self.clusters[value].writer if value in self.clusters else None
            if writer is not None and (not chained or writer.f == "write"):
                waiting.append(writer)
            if op.outcome == "info":
                own = self.clusters[self.value_of(op)]
                waiting += (own.readers + own.takers)[:1]
        return sorted(found.values(), key=lambda op: op.call)


def _compare(register: _Register, blocks: list[_Block]) -> None:
    """Two blocks that must each come before the other. Among blocks whose zones run forward (f
    before s) only the latest can conflict: an earlier one would have conflicted before."""
    forward: _Block | None = None
    for block in blocks:
        if forward is not None and block.f < forward.s and forward.f < block.s:
            raise _Impossible(*register.segment(forward), *register.segment(block))
        if block.f < block.s:
            forward = block
