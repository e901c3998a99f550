"""The instances that one EPaxos replica knows, and which of them interfere.

Every node owns a row of instances, numbered from 1. Of each row a replica knows

    base            done                  top
     |  executed, held  |  some executed, some open, some unknown  |
    ...-----------------------------------------------------------------> numbers

Instances up to `base` are executed and forgotten: the state machine holds their effects. All up to
`done` are executed. `top` is the highest that any node has mentioned.

**Dependencies** are a tuple with one number for each owner, "all of its instances up to this one".
So they stay small however many commands interfere; what they name besides is harmless, since in
the end only instances that interfere are put in order (`epaxos_execution`).

**Interference.** Two commands interfere when their order can be seen: both touch one key and one of
them changes it, or both belong to one client's session (which remembers the last command that it
applied). A command leaves a footprint of tokens that it reads or writes: keys, as strings, and
sessions, as numbers. `Interference` remembers for each token the last instance of each owner, and
`OpenInstances` all that are still to be executed.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from node_image.protocols.ballots import ZERO
from node_image.protocols.epaxos_messages import Commit, InstanceId, InstanceVote
from node_image.protocols.interface import Command, Json, NodeId

UNSEEN: Final = 0
"""Nothing is recorded here, except perhaps a promise, or the content of a Validate."""
PRE_ACCEPTED: Final = 1
ACCEPTED: Final = 2
COMMITTED: Final = 3
EXECUTED: Final = 4

Token: TypeAlias = str | int
Vector: TypeAlias = tuple[int, ...]
NO_TOKENS: Final[frozenset[Token]] = frozenset()
READS: Final = frozenset(("read", "noop"))


class Footprint(NamedTuple):
    """What some commands touch, in order, and the same as sets."""

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
    """For every token, the last instance of every owner that wrote it, and that read it."""

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
        """`deps`, raised to all that was noted and interferes with this footprint."""
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

    `commands` are the owner's, () while unknown: an instance decides them or a no-op, nothing else.
    `init` are the dependencies they began with. `deps` and `noop` are what was recorded (phase
    PRE_ACCEPTED), voted for in ballot `voted` (ACCEPTED), or decided. Nothing here happens in a
    ballot below `promised`. `since_us` and `due_us`: since when it is open, and when this replica
    would recover it. `saved`: its commands are on this disk. The rest is for execution: see
    `epaxos_execution`.
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
        """Whether something with these dependencies comes after this instance."""
        return deps[self.place] >= self.id.number

    def interferes(self, marks: Footprint) -> bool:
        return self.marks is not None and self.marks.interferes(marks)

    def noop_is_final(self) -> bool:
        """Whether it is decided that nothing happens here."""
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
    """Of one owner: which instances, not executed yet, write and read each token, in order."""

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
        """Of those up to this number that interfere with these marks, the last: for every token
        the last that writes it, and, for a writer, those that have read it since. All others come
        before these, because an owner's instance depends on its earlier ones that interfere."""
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
    """All rows. Plain data; the protocol decides when to move the marks."""

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
        """Up to here the commands of all instances are known, or will not be needed."""
        self.seen = Interference(self.width)
        """Everything that was ever known here."""
        self.gone = Interference(self.width)
        """What is forgotten: all that is left of it, besides the state machine's state."""
        self.dropped = self.zero
        """Up to here even that may have been dropped, so all of it counts as interfering."""

    def marks(self, commands: Sequence[Command]) -> Footprint:
        """What the order of these commands can be seen by."""
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
        """The instance, made if it was unknown. Not for one that is forgotten."""
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
        """From now on whatever interferes with these commands depends on them."""
        if instance.marks is None:
            self.open[instance.place].add(marks, instance.id.number)
        instance.commands = commands
        instance.marks = marks
        if init:
            instance.init = init
        self.seen.note(marks, instance.place, instance.id.number)

    def interfering(self, instance: Instance, marks: Footprint, deps: Sequence[int]) -> Vector:
        """`deps`, raised to what interferes here, or may have; but not to later instances of the
        same owner, which began, one and all, with this one among what they depend on."""
        found = self.seen.before(marks, deps)
        _raise(found, self.dropped)
        found[instance.place] = min(found[instance.place], instance.id.number - 1)
        return tuple(found)

    def drop(self, stable: Vector) -> None:
        """Nothing will be executed again up to there, anywhere: it needs no order any more."""
        self.seen.drop_up_to(stable)
        self.gone.drop_up_to(stable)
        self.dropped = tuple(map(max, self.dropped, stable))

    def first_unknown(self, place: int, upto: int) -> int:
        """The first instance of the owner, up to this one, that may turn out to interfere with
        anything: its commands are not known here. 0 if there is none."""
        row, number = self.rows[place], max(self.known[place], self.done[place])
        while number < upto and (other := row.get(number + 1)) is not None:
            if other.marks is None and not other.noop_is_final():
                break
            number += 1
        self.known[place] = number
        return number + 1 if number < upto else 0

    def close(self, instance: Instance) -> None:
        """It is executed, or a no-op: nothing waits for it any more."""
        if instance.marks is not None:
            self.open[instance.place].remove(instance.marks, instance.id.number)

    def put_back(self, instance: Instance) -> None:
        """Hold an instance that is not executed in the state that has been restored."""
        instance.phase = min(instance.phase, COMMITTED)
        self.rows[instance.place][instance.id.number] = instance
        if instance.marks is not None:
            self.seen.note(instance.marks, instance.place, instance.id.number)
            if not instance.noop_is_final():
                self.open[instance.place].add(instance.marks, instance.id.number)

    def restart(self, base: Sequence[int], gone: Interference, dropped: Vector) -> None:
        """Hold nothing but what is left of the instances up to `base`."""
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
        """The instances held that come after these marks, row by row, in order."""
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
