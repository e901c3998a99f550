"""In which order committed instances are executed: the graph of dependencies, and its components.

What is committed is a set of commands for every instance, and what it depends on; the protocol
keeps one invariant about them (see `epaxos`): **of two instances that interfere, at least one
depends on the other.** So the graph of committed instances, with an edge from each to those that it
depends on and interferes with, is the same everywhere, and everywhere is executed the same way:
a strongly connected component at a time, those it depends on first (Tarjan, "Depth-first search and
linear graph algorithms", 1972), and the instances of one component in a fixed total order. An
instance waits until everything that it reaches is committed.

A dependency means "all of that owner's instances up to this one", and so names many that do not
interfere. These are left out of the graph, and need not even be committed: it is enough to know
their commands, because an instance decides its owner's commands or a no-op, and nothing else.
Neither are there edges to all that do interfere: an owner's instance depends on its earlier ones
that interfere with it, so an edge to the last of them is enough (`OpenInstances`).

**The order within a component** is that of `rank`: how much an instance depends on, then owner and
number. No sequence number has to be agreed on for this. The one of the original paper keeps the
order of real time where an owner answers as soon as an instance is committed; here a client is
answered when its command is executed. By then all that its instance reaches is committed, so a
command that is proposed afterwards cannot be in its component, and depends on it (the argument is
that of Atlas: Enes et al., "State-machine replication for planet-scale systems", EuroSys 2020).

**Waiting.** An instance that cannot be executed waits for one other, its blocker, found on the way;
so does everything that was on the way to it. When the blocker is committed, or its commands become
known, those who wait for it look again. A blocked instance stops every search that meets it, so a
long queue behind a dead owner's instance costs nothing while it grows.
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
"""Where an instance leads; or, instead, what it has to wait for."""


class InstanceExecution:
    """Executes committed instances, in an order that is the same everywhere.

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
        """The instance is committed, or its commands have become known: go on from there."""
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
        """Execute `root` and all that it reaches, component by component; stop at a blocker."""
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
        """What `instance` depends on and interferes with, and is not executed: of every owner the
        last, from which all earlier ones are reached."""
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
        """All these lead to `blocker`; a search that reaches them need not go further."""
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
        """The top of the stack, down to `root`, is a component, and depends on nothing open."""
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
        """A total order: no two instances have the same owner and number."""
        return sorted(component, key=lambda i: (self.rank(i), i.id))

    def rank(self, instance: Instance) -> int:
        return sum(instance.deps)

    def _execute_instance(self, instance: Instance) -> None:
        self._table.mark_executed(instance)
        self.executed += 1
        self.history.append(instance)
        if instance.announced:  # executed once before, in a state that a snapshot has replaced
            for command in instance.commands if not instance.noop else ():
                self._ctx.machine.apply(command)
            return
        instance.announced = True
        owner, number = instance.id
        self._clients.execute(f"{owner}.{number}", instance.voted, decided_commands(instance))


def decided_commands(instance: Instance) -> tuple[Command, ...]:
    return (NOOP,) if instance.noop else instance.commands
