"""The order in which committed instances are executed: the dependency graph and its components.

For every instance its commands and its dependencies are committed, and the protocol keeps one
invariant (see `epaxos`): **of two instances that interfere, at least one depends on the other.** So
the graph of committed instances, with an edge from each one to those that it depends on and
interferes with, is the same on all replicas, and all execute it in the same way: one strongly
connected component at a time, after the components that it depends on (Tarjan, "Depth-first search
and linear graph algorithms", 1972), and the instances of a component in a fixed total order. An
instance waits until all instances reachable from it are committed.

A dependency means "all of that owner's instances up to this one", so it includes instances that do
not interfere. These are not in the graph, and need not be committed: it is enough to know their
commands, because an instance decides either its owner's commands or a no-op. Edges to all
interfering instances are not needed either: an owner's instance depends on its earlier interfering
instances, so an edge to the last of them is enough (`OpenInstances`).

**The order within a component** is by `rank` (the number of instances that an instance depends on),
then by owner and number. This needs no agreed sequence number. In the original paper the sequence
number preserves the real-time order, because an owner answers as soon as an instance is committed.
Here a client is answered when its command is executed. By then everything reachable from its
instance is committed, so a command proposed afterwards cannot be in its component, and depends on
it (the argument is from Atlas: Enes et al., "State-machine replication for planet-scale systems",
EuroSys 2020).

**Waiting.** An instance that cannot be executed waits for one blocker that the search has found,
and so do all instances on the path to it. When the blocker is committed, or its commands become
known, the waiting instances are searched again. A search stops at any blocked instance, so a long
queue behind a dead owner's instance costs nothing while it grows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TypeAlias

from node_image.protocols.clients import Clients
from node_image.protocols.context import Context
from node_image.protocols.epaxos_instances import (
    COMMITTED,
    EXECUTED,
    Instance,
    InstanceTable,
)
from node_image.protocols.epaxos_messages import InstanceId
from node_image.protocols.interface import (
    NOOP,
    Command,
)

Edges: TypeAlias = "list[Instance] | InstanceId"
"""The edges of an instance, or the instance that it has to wait for."""


class InstanceExecution:
    """Executes committed instances, in the same order on all replicas.

    `waiters`: by blocker, the committed instances that wait for it. `history`: the executed
    instances that are still held, in the order of execution. `executed`: how many there were.
    """

    def __init__(self, context: Context, clients: Clients, table: InstanceTable) -> None:
        self._ctx = context
        self._clients = clients
        self._table = table
        self.waiters: dict[InstanceId, list[Instance]] = {}
        self.history: deque[Instance] = deque()
        self.executed = 0

    # ------------------------------------------------------------------ what can be executed now

    def settled(self, instance: Instance) -> None:
        """The instance is committed, or its commands became known: continue what waited for it."""
        waiting = self.waiters.pop(instance.id, None)
        if waiting is None:
            self.execute_from((instance,))
            return
        for waiter in waiting:
            waiter.blocked = None
        self.execute_from((instance, *waiting))

    def execute_from(self, roots: Iterable[Instance]) -> None:
        for root in roots:
            if root.phase == COMMITTED and root.blocked is None:
                self._explore(root)

    def _explore(self, root: Instance) -> None:
        """Execute `root` and everything reachable from it, by component; stop at a blocker."""
        edges = self.edges_of(root)
        if isinstance(edges, InstanceId):
            self._wait_for(edges, [root])
            return
        root.index = root.low = visited = 1
        stack = [root]
        path = [(root, iter(edges))]
        while path:
            node, following = path[-1]
            for child in following:
                if child.phase == EXECUTED:
                    continue
                if child.index:
                    node.low = min(node.low, child.index)
                    continue
                visited += 1
                child.index = child.low = visited
                stack.append(child)
                edges = child.blocked or self.edges_of(child)
                if isinstance(edges, InstanceId):
                    self._wait_for(edges, stack)
                    return
                path.append((child, iter(edges)))
                break
            else:
                path.pop()
                if path:
                    path[-1][0].low = min(path[-1][0].low, node.low)
                if node.low == node.index:
                    self._execute_component(stack, node)

    def edges_of(self, instance: Instance) -> Edges:
        """The unexecuted instances that `instance` depends on and interferes with: of every owner
        the last, from which all earlier ones are reachable."""
        marks = instance.marks
        if instance.noop or marks is None:
            return []
        found: list[Instance] = []
        table = self._table
        for place, upto in enumerate(instance.deps):
            if upto <= table.done[place]:
                continue
            unknown = table.first_unknown(place, upto)
            if unknown:
                return InstanceId(table.nodes[place], unknown)
            row = table.rows[place]
            for number in table.open[place].before(marks, upto):
                other = row.get(number)
                if other is None or other.phase != COMMITTED:
                    return InstanceId(table.nodes[place], number)
                found.append(other)
        return found

    def _wait_for(self, blocker: InstanceId, instances: list[Instance]) -> None:
        """All of these reach `blocker`; a search stops at them."""
        waiting = self.waiters.setdefault(blocker, [])
        for instance in instances:
            instance.index = instance.low = 0
            if instance.blocked is None:
                instance.blocked = blocker
                waiting.append(instance)
        place = self._table.places[blocker.owner]
        self._table.top[place] = max(self._table.top[place], blocker.number)

    # ------------------------------------------------------------------ executing

    def _execute_component(self, stack: list[Instance], root: Instance) -> None:
        """The stack from `root` to the top is a component that depends on nothing open."""
        component = [stack.pop()]
        while component[-1] is not root:
            component.append(stack.pop())
        if len(component) > 1:
            component = self.in_order(component)
            self._ctx.count("components")
        for instance in component:
            instance.index = instance.low = 0
            self._execute_instance(instance)

    def in_order(self, component: list[Instance]) -> list[Instance]:
        """The total order: no two instances have the same owner and number."""
        return sorted(component, key=lambda i: (self.rank(i), i.id))

    def rank(self, instance: Instance) -> int:
        return sum(instance.deps)

    def _execute_instance(self, instance: Instance) -> None:
        self._table.mark_executed(instance)
        self.executed += 1
        self.history.append(instance)
        if instance.announced:  # executed before, in a state that a snapshot replaced
            for command in instance.commands if not instance.noop else ():
                self._ctx.machine.apply(command)
            return
        instance.announced = True
        owner, number = instance.id
        self._clients.execute(f"{owner}.{number}", instance.voted, decided_commands(instance))


def decided_commands(instance: Instance) -> tuple[Command, ...]:
    return (NOOP,) if instance.noop else instance.commands
