"""EPaxos replicas whose every step is chosen by the test, and the invariants of its papers.

agreement    an instance is decided with one value: commands (or a no-op) and dependencies
visibility   of two decided instances that interfere, one depends on the other
order        two instances that interfere are executed in one order by all
validity     an instance holds its owner's commands or a no-op
promises     the promise for an instance never decreases within a life
durability   what was answered is decided
"""

from __future__ import annotations

import itertools
from typing import Any

from node_image.protocols.epaxos_instances import COMMITTED, footprint
from node_image.protocols.epaxos_messages import Commit, InstanceId
from node_image.protocols.interface import Command, Decided, Reply
from tests.node_image.interleaving import Interleaving

STEPS = (
    *("deliver",) * 6,
    *("flush",) * 4,
    *("sync",) * 5,
    *("ask",) * 4,
    *("fire",) * 4,
    "drop",
    "double",
    "crash",
)


class Steps(Interleaving):
    """See the top. `keys` and the number of clients decide how much interferes."""

    def __init__(self, protocol: type[Any], nodes: int, *, keys: int = 2, **config: Any) -> None:
        self.decisions: dict[InstanceId, Commit] = {}
        self.begun: dict[InstanceId, tuple[Command, ...]] = {}
        self.executed: dict[int, dict[str, int]] = {}
        self.keys = keys
        super().__init__(protocol, nodes, **config)

    # ---- steps

    def ask(self, which: int, count: int) -> None:
        """A client writes or reads, and sometimes sends the same request to a second node."""
        node = self.config.nodes[which % len(self.config.nodes)]
        for i in range(min(count, 3)):
            self.asked += 1
            client, f = 1 + self.asked // 2, "read" if (which + i) % 4 == 3 else "write"
            key = f"k{(which + i) % self.keys}"
            command = Command(client, 1 + self.asked % 2, f, key, self.asked)
            self._perform(node, self.process[node].request(command, self.now))
            if count == 12:
                other = self.config.nodes[(which + 1) % len(self.config.nodes)]
                self._perform(other, self.process[other].request(command, self.now))

    def fire(self, which: int, count: int) -> None:
        """A node's timer, and some time: rarely enough for a recovery."""
        node = self.config.nodes[which % len(self.config.nodes)]
        self.now += 20_000 * count
        if self.timers[node]:
            self._perform(node, self.process[node].wake("beat", self.now))

    def flush(self, which: int, count: int) -> None:
        """All disks sync, and many messages arrive, in any order."""
        for node in self.config.nodes:
            self.sync(node - 1, 0)
        for i in range(3 * count):
            self.deliver(which + 7 * i, 1)

    def crash(self, which: int, keep: int) -> None:
        self._collect(self.config.nodes[which % len(self.config.nodes)])
        super().crash(which, keep)

    # ---- what is seen

    def _act(self, node: int, effect: Any, *, synced: bool) -> None:
        if isinstance(effect, Decided):
            order = self.executed.setdefault(node, {})
            order.setdefault(str(effect.slot), len(order))
        if isinstance(effect, Reply) and effect.answer.error is not None:
            return
        super()._act(node, effect, synced=synced)

    def _collect(self, node: int) -> None:
        """Compare what this node holds as decided with what all others did."""
        for row in self.process[node].table.rows:
            for instance in row.values():
                if instance.commands and instance.id.owner != node:  # it may not have synced
                    begun = self.begun.setdefault(instance.id, instance.commands)
                    assert begun == instance.commands, f"{instance.id} was begun twice"
                if instance.phase >= COMMITTED:
                    commit = instance.as_commit()._replace(ballot=(0, 0))
                    first = self.decisions.setdefault(instance.id, commit)
                    assert first == commit, f"{first} and {commit}"

    def _check_promise(self, node: int) -> None:
        process = self.process[node]
        seen = getattr(process, "_seen_by_test", {})
        for row in process.table.rows:
            for instance in row.values():
                if instance.phase >= COMMITTED:
                    continue  # perhaps from a snapshot
                assert instance.promised >= seen.get(instance.id, (0, 0)), instance.id
                seen[instance.id] = instance.promised
        process._seen_by_test = seen

    # ---- judging

    def check(self) -> None:
        for node in self.config.nodes:
            self._collect(node)
        super().check()
        self._check_visibility()

    def _check_visibility(self) -> None:
        marks = {
            i: footprint(commit.commands) for i, commit in self.decisions.items() if not commit.noop
        }
        for one, other in itertools.combinations(marks, 2):
            if marks[one].interferes(marks[other]):
                assert self._depends(one, other) or self._depends(other, one), (
                    f"{self.decisions[one]} and {self.decisions[other]} interfere, unordered"
                )
                self._check_order(one, other)

    def _depends(self, one: InstanceId, other: InstanceId) -> bool:
        return self.decisions[one].deps[other.owner - 1] >= other.number

    def _check_order(self, one: InstanceId, other: InstanceId) -> None:
        slots = f"{one.owner}.{one.number}", f"{other.owner}.{other.number}"
        orders = {
            order[slots[0]] < order[slots[1]]
            for order in self.executed.values()
            if slots[0] in order and slots[1] in order
        }
        assert len(orders) <= 1, f"{slots} were executed in both orders"


def play(
    protocol: type[Any], steps: list[tuple[str, int, int]], nodes: int, **config: Any
) -> Steps:
    """Run some steps, and check all invariants."""
    world = Steps(protocol, nodes, snapshot_every=4, **config)
    for name, which, count in steps:
        getattr(world, name)(which, count)
    world.check()
    return world
