"""The instances that an EPaxos replica knows, and which of them interfere.

Every node owns a row of instances, numbered from 1. For each row a replica keeps

    base            done                  top
     |  executed, held  |  some executed, some open, some unknown  |
    ...-----------------------------------------------------------------> numbers

Instances up to `base` are executed and forgotten: the state machine holds their effects. All up to
`done` are executed. `top` is the highest that any node has mentioned.

**Dependencies** are a tuple with one number for each owner: "all of its instances up to this one".
So their size does not depend on how many commands interfere. Instances that they include without
interference are harmless, since only interfering instances are ordered (`epaxos_execution`).

**Interference.** Two commands interfere if their order is visible: both access one key and one of
them changes it, or both belong to one client's session (which remembers the last command that was
applied). The footprint of a command is the set of tokens that it reads or writes: keys, as strings,
and sessions, as numbers. `Interference` keeps for each token the last instance of each owner, and
`OpenInstances` all instances that are not executed yet.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from node_image.protocols.ballots import ZERO
from node_image.protocols.epaxos_messages import Commit, InstanceId, InstanceVote
from node_image.protocols.interface import Command, Json, NodeId

UNSEEN: Final = 0
"""Nothing is recorded, except perhaps a promise, or the content of a Validate."""
PRE_ACCEPTED: Final = 1
ACCEPTED: Final = 2
COMMITTED: Final = 3
EXECUTED: Final = 4

Token: TypeAlias = str | int
Vector: TypeAlias = tuple[int, ...]
NO_TOKENS: Final[frozenset[Token]] = frozenset()
READS: Final = frozenset(("read", "noop"))


class Footprint(NamedTuple):
    """The tokens that some commands access, in order, and the same as sets."""

    writes: tuple[Token, ...]
    reads: tuple[Token, ...]
    write_set: frozenset[Token]
    read_set: frozenset[Token]

    def interferes(self, other: Footprint) -> bool:
        return not (
            self.write_set.isdisjoint(other.write_set)
            and self.write_set.isdisjoint(other.read_set)
            and self.read_set.isdisjoint(other.write_set)
        )


def footprint(commands: Sequence[Command]) -> Footprint:
    """The tokens of some commands."""
    if len(commands) == 1:
        return _footprint_of_one(commands[0])
    writes: dict[Token, None] = {}
    reads: dict[Token, None] = {}
    for client, _, f, key, _ in commands:
        if f not in READS:
            writes[key] = None
            if client != 0:
                writes[client] = None
        elif f == "read":
            reads[key] = None
    return Footprint(tuple(writes), tuple(reads), frozenset(writes), frozenset(reads))


def _footprint_of_one(command: Command) -> Footprint:
    client, _, f, key, _ = command
    if f == "read":
        return Footprint((), (key,), NO_TOKENS, frozenset((key,)))
    if f in READS:
        return Footprint((), (), NO_TOKENS, NO_TOKENS)
    writes = (key, client) if client != 0 else (key,)
    return Footprint(writes, (), frozenset(writes), NO_TOKENS)


class Interference:
    """For every token the last instance of every owner that wrote it, and that read it."""

    __slots__ = ("_reads", "_writes", "_zero")

    def __init__(self, width: int) -> None:
        self._zero = [0] * width
        self._writes: dict[Token, list[int]] = {}
        self._reads: dict[Token, list[int]] = {}

    def note(self, marks: Footprint, place: int, number: int) -> None:
        """Instance `number` of the owner at `place` leaves this footprint."""
        for index, tokens in ((self._writes, marks.writes), (self._reads, marks.reads)):
            for token in tokens:
                row = index.get(token)
                if row is None:
                    row = index[token] = self._zero.copy()
                row[place] = max(row[place], number)

    def before(self, marks: Footprint, deps: Sequence[int]) -> list[int]:
        """`deps`, raised to include all noted instances that interfere with this footprint."""
        found = list(deps)
        for token in marks.writes:
            _raise(found, self._writes.get(token))
            _raise(found, self._reads.get(token))
        for token in marks.reads:
            _raise(found, self._writes.get(token))
        return found

    def copy(self) -> Interference:
        twin = Interference(len(self._zero))
        twin._writes = {token: row.copy() for token, row in self._writes.items()}
        twin._reads = {token: row.copy() for token, row in self._reads.items()}
        return twin

    def drop_up_to(self, stable: Sequence[int]) -> None:
        """Forget tokens that no instance beyond `stable` has touched."""
        for index in (self._writes, self._reads):
            old = [t for t, row in index.items() if all(map(int.__le__, row, stable))]
            for token in old:
                del index[token]

    def to_json(self) -> tuple[Json, Json]:
        return (
            [[token, row.copy()] for token, row in self._writes.items()],
            [[token, row.copy()] for token, row in self._reads.items()],
        )

    @staticmethod
    def from_json(width: int, writes: Json, reads: Json) -> Interference:
        index = Interference(width)
        index._writes = {token: list(row) for token, row in writes}
        index._reads = {token: list(row) for token, row in reads}
        return index

    def __len__(self) -> int:
        return len(self._writes) + len(self._reads)


def _raise(found: list[int], row: Sequence[int] | None) -> None:
    if row is not None:
        for place, number in enumerate(row):
            found[place] = max(found[place], number)


class Instance:
    """One instance, as this replica knows it.

    `commands` are the owner's, () while unknown: an instance decides these or a no-op. `init` are
    the owner's initial dependencies. `deps` and `noop` are what was recorded (phase PRE_ACCEPTED),
    voted for in ballot `voted` (ACCEPTED), or decided. Messages of a ballot below `promised` are
    refused. `since_us` is when it was opened, `due_us` when this replica would recover it. `saved`:
    its commands are on this disk. The other fields belong to `epaxos_execution`.
    """

    __slots__ = (
        "announced",
        "blocked",
        "commands",
        "deps",
        "due_us",
        "id",
        "index",
        "init",
        "low",
        "marks",
        "noop",
        "phase",
        "place",
        "promised",
        "saved",
        "since_us",
        "voted",
    )

    def __init__(self, identity: InstanceId, place: int, now_us: int) -> None:
        self.id = identity
        self.place = place
        self.commands: tuple[Command, ...] = ()
        self.marks: Footprint | None = None
        self.init: Vector = ()
        self.deps: Vector = ()
        self.noop = False
        self.phase = UNSEEN
        self.promised = self.voted = ZERO
        self.since_us = now_us
        self.due_us = 0
        self.saved = False
        self.blocked: InstanceId | None = None
        self.announced = False
        self.index = self.low = 0

    def covered_by(self, deps: Sequence[int]) -> bool:
        """Whether these dependencies include this instance."""
        return deps[self.place] >= self.id.number

    def interferes(self, marks: Footprint) -> bool:
        return self.marks is not None and self.marks.interferes(marks)

    def noop_is_final(self) -> bool:
        """Whether it is decided as a no-op."""
        return self.noop and self.phase >= COMMITTED

    def as_vote(self) -> InstanceVote:
        return InstanceVote(
            self.id,
            self.phase,
            self.promised,
            self.voted,
            self.noop,
            self.commands,
            self.init,
            self.deps,
        )

    def as_commit(self) -> Commit:
        commands = () if self.noop else self.commands
        return Commit(self.id, self.voted, self.noop, commands, self.deps)


class OpenInstances:
    """The unexecuted instances of one owner that write, and that read, each token, in order."""

    __slots__ = ("_reads", "_writes")

    def __init__(self) -> None:
        self._writes: dict[Token, list[int]] = {}
        self._reads: dict[Token, list[int]] = {}

    def add(self, marks: Footprint, number: int) -> None:
        for index, tokens in ((self._writes, marks.writes), (self._reads, marks.reads)):
            for token in tokens:
                insort(index.setdefault(token, []), number)

    def remove(self, marks: Footprint, number: int) -> None:
        for index, tokens in ((self._writes, marks.writes), (self._reads, marks.reads)):
            for token in tokens:
                numbers = index.get(token, [])
                if number in numbers:
                    numbers.remove(number)
                    if not numbers:
                        del index[token]

    def before(self, marks: Footprint, upto: int) -> dict[int, None]:
        """Of the instances up to this number that interfere with these marks, the last ones: for
        every token the last that writes it, and, for a writer, those that read it after that. All
        others come before these, since an owner's instance depends on its earlier interfering
        ones."""
        found: dict[int, None] = {}
        for token in marks.writes:
            last = self._last_write(token, upto)
            if last:
                found[last] = None
            reads = self._reads.get(token)
            if reads is not None:
                for number in reads[bisect_right(reads, last) : bisect_right(reads, upto)]:
                    found[number] = None
        for token in marks.reads:
            last = self._last_write(token, upto)
            if last:
                found[last] = None
        return found

    def _last_write(self, token: Token, upto: int) -> int:
        """The number, or 0."""
        writes = self._writes.get(token)
        if writes is None:
            return 0
        place = bisect_right(writes, upto)
        return writes[place - 1] if place else 0


class InstanceTable:
    """All rows. Plain data: the protocol moves the marks."""

    __slots__ = (
        "base",
        "done",
        "dropped",
        "gone",
        "known",
        "nodes",
        "open",
        "places",
        "rows",
        "seen",
        "top",
        "width",
        "zero",
    )

    def __init__(self, nodes: Sequence[NodeId]) -> None:
        self.nodes = tuple(nodes)
        self.width = len(nodes)
        self.places = {node: place for place, node in enumerate(nodes)}
        self.zero: Vector = (0,) * self.width
        self.rows: tuple[dict[int, Instance], ...] = tuple({} for _ in nodes)
        self.base = [0] * self.width
        self.done = [0] * self.width
        self.top = [0] * self.width
        self.open = tuple(OpenInstances() for _ in nodes)
        self.known = [0] * self.width
        """Up to here the commands of all instances are known, or are not needed."""
        self.seen = Interference(self.width)
        """Everything that was ever recorded here."""
        self.gone = Interference(self.width)
        """Of forgotten instances: what remains, besides their effects in the state machine."""
        self.dropped = self.zero
        """Up to here even that may have been dropped, so every instance counts as interfering."""

    def marks(self, commands: Sequence[Command]) -> Footprint:
        """The footprint of these commands."""
        return footprint(commands)

    def get(self, identity: InstanceId) -> Instance | None:
        return self.rows[self.places[identity.owner]].get(identity.number)

    def is_forgotten(self, identity: InstanceId) -> bool:
        return identity.number <= self.base[self.places[identity.owner]]

    def is_executed(self, identity: InstanceId) -> bool:
        if identity.number <= self.done[self.places[identity.owner]]:
            return True
        instance = self.get(identity)
        return instance is not None and instance.phase == EXECUTED

    def obtain(self, identity: InstanceId, now_us: int) -> Instance:
        """The instance, created if unknown. It must not be a forgotten one."""
        place = self.places[identity.owner]
        row, number = self.rows[place], identity.number
        instance = row.get(number)
        if instance is None:
            instance = row[number] = Instance(identity, place, now_us)
            self.top[place] = max(self.top[place], number)
        return instance

    def learn_commands(
        self, instance: Instance, commands: tuple[Command, ...], init: Vector, marks: Footprint
    ) -> None:
        """From now on instances that interfere with these commands depend on them."""
        if instance.marks is None:
            self.open[instance.place].add(marks, instance.id.number)
        instance.commands = commands
        instance.marks = marks
        if init:
            instance.init = init
        self.seen.note(marks, instance.place, instance.id.number)

    def interfering(self, instance: Instance, marks: Footprint, deps: Sequence[int]) -> Vector:
        """`deps`, raised to include what interferes, or may interfere, here; except later instances
        of the same owner, all of which have this one among their initial dependencies."""
        found = self.seen.before(marks, deps)
        _raise(found, self.dropped)
        found[instance.place] = min(found[instance.place], instance.id.number - 1)
        return tuple(found)

    def drop(self, stable: Vector) -> None:
        """No replica will execute instances up to there again: they need no order any more."""
        self.seen.drop_up_to(stable)
        self.gone.drop_up_to(stable)
        self.dropped = tuple(map(max, self.dropped, stable))

    def first_unknown(self, place: int, upto: int) -> int:
        """The first instance of the owner, up to this one, whose commands are unknown here, so that
        it may interfere with anything. 0 if there is none."""
        row, number = self.rows[place], max(self.known[place], self.done[place])
        while number < upto and (other := row.get(number + 1)) is not None:
            if other.marks is None and not other.noop_is_final():
                break
            number += 1
        self.known[place] = number
        return number + 1 if number < upto else 0

    def close(self, instance: Instance) -> None:
        """It is executed, or a no-op: no instance waits for it any more."""
        if instance.marks is not None:
            self.open[instance.place].remove(instance.marks, instance.id.number)

    def put_back(self, instance: Instance) -> None:
        """Keep an instance that is not executed in the restored state."""
        instance.phase = min(instance.phase, COMMITTED)
        self.rows[instance.place][instance.id.number] = instance
        if instance.marks is not None:
            self.seen.note(instance.marks, instance.place, instance.id.number)
            if not instance.noop_is_final():
                self.open[instance.place].add(instance.marks, instance.id.number)

    def restart(self, base: Sequence[int], gone: Interference, dropped: Vector) -> None:
        """Forget all instances; keep what remains of those up to `base`."""
        self.rows = tuple({} for _ in self.nodes)
        self.open = tuple(OpenInstances() for _ in self.nodes)
        self.base, self.done, self.known = list(base), list(base), list(base)
        self.top = list(map(max, self.top, base))
        self.gone, self.seen = gone, gone.copy()
        self.dropped = tuple(map(max, self.dropped, dropped))

    def mark_executed(self, instance: Instance) -> None:
        assert instance.phase >= COMMITTED, "only what is decided is executed"
        self.close(instance)
        instance.phase = EXECUTED
        row, place = self.rows[instance.place], instance.place
        number = self.done[place] + 1
        while (following := row.get(number)) is not None and following.phase == EXECUTED:
            number += 1
        self.done[place] = number - 1

    def beyond(self, marks: Sequence[int]) -> Iterator[Instance]:
        """The instances held after these marks, row by row, in order."""
        for place, row in enumerate(self.rows):
            for number in range(max(marks[place], self.base[place]) + 1, self.top[place] + 1):
                if (instance := row.get(number)) is not None:
                    yield instance

    def forget(self, base: Sequence[int]) -> None:
        """Drop the executed instances up to `base`, keeping what they interfere with."""
        for place, row in enumerate(self.rows):
            for number in range(self.base[place] + 1, base[place] + 1):
                instance = row.pop(number)
                if instance.marks is not None and not instance.noop:
                    self.gone.note(instance.marks, place, number)
            self.base[place] = max(self.base[place], base[place])
