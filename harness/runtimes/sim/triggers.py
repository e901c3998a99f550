"""The slow path: nodes whose every send is looked at, for weather and for faults that lie in wait.

A node is *watched* while some of its links have weather, an `Aimed` fault waits for it, or the run
is traced; and only its steps count that hold a message of a class which one of these is after.
`carry_out` does here what `World.carry_out` does, one message at a time, and draws exactly the same
from the same streams where nothing strikes: watching changes nothing by itself.

An aimed fault strikes in the middle of a step. After a kill the rest of the step never happens:
a broadcast may have reached some and not others, which is what such a fault is for. After a pause
the rest happens when the node goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from faults.kinds.aimed import Aimed
from harness.runtimes.sim.event_queue import EFFECTS, Sent
from harness.runtimes.sim.node import Link, SimNode
from node_image.protocols.interface import Broadcast, Decided, Persist, Reply, Send

if TYPE_CHECKING:
    from harness.runtimes.sim.injector import Hands
    from harness.runtimes.sim.world import World

ANYTHING: Final = ""
"""As in a fault that names no class of messages."""
REPLY: Final = "Reply"


class Ambush:
    def __init__(self, world: World, hands: Hands) -> None:
        self._world = world
        self._hands = hands
        self._waiting: dict[str, Aimed] = {}
        self._counts: dict[str, int] = {}
        self._struck: dict[str, SimNode] = {}

    # ------------------------------------------------------------------ laying and lifting

    def lay(self, fault: Aimed) -> dict[str, Any]:
        self._waiting[fault.id] = fault
        self._counts[fault.id] = 0
        world = self._world
        self._hands.later(world.now_us + fault.duration_us, self._missed, fault)
        return {}

    def _missed(self, _: Any, fault: Aimed) -> None:
        """The window is over and nothing came by: that is a result, not a failure."""
        if self._waiting.pop(fault.id, None) is not None:
            self.refresh_watch()
            seen = {"struck": False, "seen": self._counts[fault.id]}
            self._hands.report(fault, "inject", seen, True)

    def lift(self, fault: Aimed) -> dict[str, Any]:
        self._let_go(None, fault)
        return {}

    def _let_go(self, _: Any, fault: Aimed) -> None:
        """The node that was struck may go on: at the fault's end, or when it was held enough."""
        node = self._struck.pop(fault.id, None)
        if node is None:
            return
        nodes, links = self._hands.nodes, self._hands.links
        nodes.release(fault.id, node)
        nodes.go_on(fault.id, node)
        links.uncut(fault)

    def is_laid(self, fault: Aimed) -> bool:
        return fault.id in self._waiting

    def is_lifted(self, fault: Aimed) -> bool:
        return fault.id not in self._waiting and fault.id not in self._struck

    def refresh_watch(self) -> None:
        """Work out again which nodes are watched, and for which classes of messages."""
        for node in self._world.nodes.values():
            names = set(self._wanted(node))
            node.watched = bool(names)
            node.watched_for = None if ANYTHING in names else frozenset(names)

    def _wanted(self, node: SimNode) -> Iterator[str]:
        """The names of the messages that something lies in wait for here."""
        if self._world.trace is not None:
            yield ANYTHING
        for fault in self._waiting.values():
            if not fault.nodes or node.id in fault.nodes:
                yield REPLY if fault.moment == "before-reply" else fault.message
        for link in node.links.values():
            if link.weather is not None:
                yield from (fault.message for fault in link.weather.faults)

    def cares_for(self, node: SimNode, effects: list[Any]) -> bool:
        """Is there something among these effects that a watched node is watched for?"""
        names = node.watched_for
        if names is None:
            return True
        for effect in effects:
            kind = type(effect)
            if kind is Send or kind is Broadcast:
                if type(effect.message).__name__ in names:
                    return True
            elif kind is Reply and REPLY in names:
                return True
        return False

    # ------------------------------------------------------------------ striking

    def _sees(self, node: SimNode, moment: str, message: str) -> None:
        """Something happened at a node: strike it, if that was what a fault waited for."""
        for fault in list(self._waiting.values()):
            if (
                fault.moment == moment
                and (not fault.nodes or node.id in fault.nodes)
                and (not fault.message or fault.message == message)
            ):
                self._counts[fault.id] += 1
                if self._counts[fault.id] == fault.count:
                    self._strike(fault, node)
                    return

    def _strike(self, fault: Aimed, node: SimNode) -> None:
        del self._waiting[fault.id]
        hands = self._hands
        evidence: dict[str, Any] = {"struck": True, "node": node.id, "action": fault.action}
        if fault.action == "isolate":
            evidence |= hands.links.isolate(fault.id, node.id)
            verified = not node.open_links
        elif fault.action == "pause":
            hands.nodes.stop(fault.id, node)
            verified = node.paused
        else:
            power = fault.action == "power"
            evidence |= hands.nodes.hold_down(fault.id, node, power=power)
            verified = not node.up
        self._struck[fault.id] = node
        if fault.hold_us:
            hands.later(self._world.now_us + fault.hold_us, self._let_go, fault)
        self.refresh_watch()
        hands.report(fault, "inject", evidence, verified)

    # ------------------------------------------------------------------ effects, one by one

    def carry_out(self, node: SimNode, effects: list[Any], now_us: int) -> None:
        world, barrier_us = self._world, node.disk.barrier_us
        for i, effect in enumerate(effects):
            kind = effect.__class__
            if kind is Broadcast or kind is Send:
                if not self._send_all(node, effects, i, barrier_us, now_us):
                    return
            elif kind is Reply:
                if self._waiting and (effect.client, effect.seq) in node.waiting:
                    self._sees(node, "before-reply", REPLY)
                    if not node.running:
                        self._put_off(node, effects[i:], now_us)
                        return
                world.reply(node, effect, barrier_us, now_us)
            elif kind is Decided:
                node.decided.append(effect)
                node.decided_us.append(now_us)
            elif kind is Persist:
                barrier_us = node.disk.persist(effect[0], now_us)
            else:
                barrier_us = world.other_effect(node, effect, barrier_us, now_us)

    def _send_all(
        self, node: SimNode, effects: list[Any], i: int, barrier_us: int, now_us: int
    ) -> bool:
        """Send what effect `i` wants sent; False if the node was struck meanwhile."""
        effect = effects[i]
        if effect.__class__ is Broadcast:
            message, after_sync = effect
            links = list(node.links.values())
        else:
            to, message, after_sync = effect
            if to not in node.links:
                self._world.send(node, to, message, after_sync, barrier_us, now_us)
                return True
            links = [node.links[to]]
        departs_us = barrier_us if after_sync and barrier_us > now_us else now_us
        for sent, link in enumerate(links, 1):
            self._send(node, link, message, departs_us, now_us)
            if self._waiting:
                self._sees(node, "after-send", type(message).__name__)
                if not node.running:
                    rest = [Send(left.target.id, message, after_sync) for left in links[sent:]]
                    self._put_off(node, rest + effects[i + 1 :], now_us)
                    return False
        return True

    def _put_off(self, node: SimNode, effects: list[Any], now_us: int) -> None:
        """What a paused process has not done yet it does when it goes on; a dead one never.

        Before anything else: also before what is due at this very microsecond, and is stashed
        with the sequence that it got when it was sent.
        """
        if node.paused:
            node.stash.append((now_us, -1, EFFECTS, node, effects, 0))

    def _send(
        self, node: SimNode, link: Link, message: tuple[Any, ...], departs_us: int, now_us: int
    ) -> None:
        """One message over one link, through its weather."""
        world = self._world
        if link.cut:
            self._note(departs_us, None, node, link, message)
            return
        delay_us = link.delay()
        held = departs_us > now_us
        if link.weather is None and world.trace is None:
            at_us = world.in_order(link, departs_us + delay_us, held=held)
            world.put_message(at_us, node, link.target, message, departs_us if held else 0)
            return
        fates = [(0, True)] if link.weather is None else link.weather.fates(message)
        if not fates:
            self._note(departs_us, None, node, link, message)
        for extra_us, ordered in fates:
            at_us = departs_us + delay_us + extra_us
            if ordered:
                at_us = world.in_order(link, at_us, held=held)
            world.put_message(at_us, node, link.target, message, departs_us if held else 0)
            self._note(departs_us, at_us, node, link, message)

    def _note(
        self,
        departs_us: int,
        arrives_us: int | None,
        node: SimNode,
        link: Link,
        message: tuple[Any, ...],
    ) -> None:
        trace = self._world.trace
        if trace is not None:
            trace.append(Sent(departs_us, arrives_us, node.id, link.target.id, message))
