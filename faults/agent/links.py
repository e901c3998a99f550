"""The node's links: from and to which peers packets are lost.

Declarative: a request names the whole set, an empty one heals, and repeating one changes nothing.
A pod drops what *it* sends, at its own egress, silently: the sender's `send` succeeds, and TCP
backs off, as when a cable is cut elsewhere in the network. And it drops what it receives, by
source, at its ingress: that is what cuts broadcast and multicast, and packets in flight. So a link
has a direction, a cut of one direction is one pod's egress and the other's ingress, and for a cut
in both directions each of the two pods does both.

The rules are on every interface but the loopback, and on one that is added later at once.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Collection, Container, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from faults.agent import tc
from faults.agent.bpf import PASSES_ALL, Program, drop_program, receive_program
from faults.agent.errors import AgentError, BadRequest, Failed, Unsupported
from faults.agent.netlink import EXISTS, Interface, Netlink, NetlinkError, watch_interfaces
from faults.agent.synchronized_start import Wait, no_wait

HOW: Final = "clsact+bpf"
TAP_PREFIX: Final = "apx-wire"
"""Names of the wire's own devices begin so; no rule is ever put on them."""
DIRECTIONS: Final = {"egress": tc.EGRESS, "ingress": tc.INGRESS}
WAYS: Final = tuple(DIRECTIONS.values())
GONE: Final = (errno.ENODEV, errno.ENOENT, errno.EINVAL)
"""The kernel's errors for an interface or a filter that no longer exists."""


def outward(netlink: Netlink) -> list[Interface]:
    """The interfaces that lead out of the pod, up or down."""
    return [
        one
        for one in netlink.interfaces()
        if not one.loopback and not one.name.startswith(TAP_PREFIX)
    ]


def usable(netlink: Netlink, changed: Container[int] = ()) -> list[Interface]:
    """Of these the ones that are up, and those of `changed`: one of them that is down keeps its
    filters and qdiscs, and may come up again at any moment."""
    return [one for one in outward(netlink) if one.up or one.index in changed]


class Clsacts:
    """The qdiscs to which filters are attached. Cuts and shapes use the same one of an interface;
    whoever leaves it last removes it, where this process has added it."""

    def __init__(self) -> None:
        self._made: set[int] = set()

    def attach(self, netlink: Netlink, interface: int) -> None:
        """Makes sure that filters can be attached."""
        try:
            netlink.ask(tc.add_clsact(interface))
        except NetlinkError as error:
            if error.errno != EXISTS:
                raise
        else:
            self._made.add(interface)

    def has(self, netlink: Netlink, interface: int, parents: Collection[int], own: int) -> bool:
        """Whether the filters of priority `own` are there, which somebody else may remove."""
        with suppress(NetlinkError):  # without the qdisc
            return all(own in tc.filter_priorities(netlink, interface, p) for p in parents)
        return False

    def leave(self, netlink: Netlink, interface: int, parents: Collection[int], own: int) -> None:
        """Removes the filters of priority `own`; and the qdisc, if it has no others and was not
        there before."""
        for parent in parents:
            netlink.ask_quietly(tc.remove_filter(interface, parent, own), *GONE)
        used = any(tc.filter_priorities(netlink, interface, p) for p in WAYS)
        if interface in self._made and not used:
            netlink.ask_quietly(tc.remove_clsact(interface), *GONE)
            self._made.discard(interface)


@dataclass(frozen=True)
class LinkRules:
    """Probability of loss by address: of what is sent, and of what is received.

    `alone`: of everything received from there, since its sender has no agent that drops it.
    `silent`: the address resolution of these is cut as well.
    """

    sent: Mapping[str, float] = field(default_factory=dict)
    received: Mapping[str, float] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()
    alone: Mapping[str, float] = field(default_factory=dict)

    @property
    def programs(self) -> dict[str, Program]:
        """By direction. Raises BadRequest."""
        return {
            "egress": drop_program(self.sent),
            "ingress": receive_program(self.received, sorted(self.silent), self.alone),
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "drop_to": [a for a, p in self.sent.items() if p >= 1],
            "loss": {a: p for a, p in self.sent.items() if p < 1},
            "drop_from": [a for a, p in self.received.items() if p >= 1],
            "loss_from": {a: p for a, p in self.received.items() if p < 1},
            "loss_in": dict(self.alone),
            "passes": [] if self.silent else ["arp", "ipv6 neighbour discovery"],
        }


NO_RULES: Final = LinkRules()


def wanted_rules(request: Mapping[str, Any]) -> LinkRules:
    """The request's `drop_to`, `loss`, `drop_from`, `loss_from`, `loss_in` and `cut_neighbours`.

    What is cut is not also lossy. Address resolution is cut only where both directions are: a
    one-way cut needs its answers. Raises BadRequest.
    """
    sent = _wanted_loss(request, "drop_to", "loss")
    received = _wanted_loss(request, "drop_from", "loss_from")
    silent = request.get("cut_neighbours", False)
    if not isinstance(silent, bool):
        raise BadRequest(f"cut_neighbours is {silent!r}", "give true or false")
    both_ways = {a for a, p in sent.items() if p >= 1 and received.get(a, 0) >= 1}
    alone = _wanted_loss(request, "", "loss_in")
    return LinkRules(sent, received, frozenset(both_ways if silent else ()), alone)


def _wanted_loss(request: Mapping[str, Any], cut: str, lossy: str) -> dict[str, float]:
    dropped, loss = request.get(cut, []), request.get(lossy, {})
    if not isinstance(dropped, list) or not all(isinstance(a, str) for a in dropped):
        raise BadRequest(f"{cut} is {dropped!r}", "give a list of addresses")
    if not isinstance(loss, Mapping):
        raise BadRequest(f"{lossy} is {loss!r}", 'give {"address": probability}')
    for address, probability in loss.items():
        if isinstance(probability, bool) or not isinstance(probability, int | float):
            raise BadRequest(f"{lossy} of {address} is {probability!r}", "give a number up to 1")
    return {str(a): float(p) for a, p in loss.items() if p} | dict.fromkeys(dropped, 1.0)


class Links:
    """The drop filters of this network namespace."""

    def __init__(self, clsacts: Clsacts) -> None:
        self._lock = threading.Lock()
        self._netlink = Netlink()
        self._clsacts = clsacts
        self._attached: set[int] = set()
        self._problems: list[str] = []
        self.rules = NO_RULES

    def set(self, rules: LinkRules, wait: Wait = no_wait) -> dict[str, Any]:
        """After `wait`, packets are lost as the rules say, and no others.

        The answer's `began_ns` and `done_ns` enclose the time at which the kernel applied it.
        """
        programs = rules.programs
        with self._lock:
            interfaces = self._prepare(heals=rules == NO_RULES)
            messages = [
                tc.set_drop_filter(one.index, DIRECTIONS[way], program)
                for one in interfaces
                for way, program in programs.items()
            ]
            wait()
            began_ns = time.monotonic_ns()
            try:
                for message in messages:
                    self._netlink.ask(message)
            except NetlinkError as error:
                raise Failed(f"the kernel refused the filter: {error}", remedy(error)) from None
            done_ns = time.monotonic_ns()
            self.rules = rules
        names = [one.name for one in interfaces]
        return {"began_ns": began_ns, "done_ns": done_ns, "interfaces": names} | self.state()

    def refresh(self) -> None:
        """Apply the rules to interfaces added since. For the thread that watches them."""
        with self._lock:
            if self.rules == NO_RULES:
                return
            programs = self.rules.programs
            present = {one.index for one in usable(self._netlink, self._attached)}
            self._attached &= present
            for index in sorted(present - self._attached):
                self._attach(index, programs)

    def heal(self) -> None:
        """All packets pass again, and everything attached to the interfaces is removed."""
        with self._lock:
            self.rules = NO_RULES
            for index in self._attached:
                self._clsacts.leave(self._netlink, index, WAYS, tc.DROP_PRIORITY)
            self._attached.clear()

    def probe(self) -> str:
        """Attaches programs that pass every packet; returns how it is done.

        Raises Unsupported with the kernel's reason.
        """
        try:
            self.set(NO_RULES)
        except Failed as failed:
            raise Unsupported(str(failed), failed.remedy) from None
        return HOW

    def state(self) -> dict[str, Any]:
        return self.rules.to_json()

    def _prepare(self, *, heals: bool) -> list[Interface]:
        interfaces = usable(self._netlink, self._attached)
        if not any(one.up or heals for one in interfaces):
            raise Failed(
                "this network namespace has no interface that is up, but for the loopback",
                "connect the agent's container to the run's network",
            )
        for one in interfaces:
            known = one.index in self._attached
            if known and self._clsacts.has(self._netlink, one.index, WAYS, tc.DROP_PRIORITY):
                continue
            self._attach(one.index, dict.fromkeys(DIRECTIONS, PASSES_ALL))
            if known and self.rules != NO_RULES:
                self._problems.append(f"somebody else has removed the filters of {one.name}")
        return interfaces

    def take_problems(self) -> list[str]:
        """What was found since this was asked last: cuts that were not in effect for a while."""
        told, self._problems = self._problems, []
        return told

    def _attach(self, index: int, programs: Mapping[str, Program]) -> None:
        try:
            self._clsacts.attach(self._netlink, index)
            for way, program in programs.items():
                self._netlink.ask(tc.set_drop_filter(index, DIRECTIONS[way], program))
        except NetlinkError as error:
            raise Failed(
                f"cannot attach a filter to interface {index}: {error}", remedy(error)
            ) from None
        self._attached.add(index)


def remedy(error: NetlinkError) -> str:
    """What to do about an error of the kernel."""
    if error.errno == errno.EPERM:
        return "give the agent's container NET_ADMIN"
    if error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL):
        return "this kernel lacks sch_ingress (clsact) or cls_bpf: load them, or use another kernel"
    return "see the kernel's log"


class Watcher(threading.Thread):
    """Calls its listeners when an interface is added, changed or removed."""

    def __init__(self, *refresh: Callable[[], None]) -> None:
        super().__init__(name="interfaces", daemon=True)
        self._refresh = refresh
        self.problems: list[str] = []
        """The last ten."""
        self._untold: list[str] = []
        self.start()

    def take_problems(self) -> list[str]:
        """Those since this was asked last."""
        told, self._untold = self._untold, []
        return told

    def run(self) -> None:
        with watch_interfaces() as watcher:
            while True:
                with suppress(OSError):  # the socket's buffer overflowed: refresh in any case
                    watcher.recv(65536)
                for refresh in self._refresh:
                    try:
                        refresh()
                    except (AgentError, OSError) as error:
                        self.problems = [*self.problems[-9:], str(error)]
                        self._untold = [*self._untold[-9:], str(error)]
