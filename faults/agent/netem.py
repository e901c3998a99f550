"""Shaping by the kernel's own `netem`, with one netem qdisc per destination.

root   htb: packets that belong to no class pass at once, so other links are not affected
class  one per destination, with a rate that does not limit
leaf   netem, with the parameters of the destination's shape
filter one classic-BPF program that returns each destination's class

A change of a shape replaces the leaf's parameters in place: packets that it holds keep their times.
When a link's shaping ends, packets that its netem still holds are lost (the wire sends them on).
An interface whose root qdisc was configured by others is not changed; then the wire is used.
Layouts are from linux/pkt_sched.h; the numbers in a netem message are probabilities times 2^32 - 1,
ticks of 64 ns beside exact nanoseconds, and bytes per second.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from typing import Any, Final

from faults.agent import tc
from faults.agent.bpf import class_program
from faults.agent.errors import Failed, Unsupported
from faults.agent.link_shape import Shape, table
from faults.agent.links import TAP_PREFIX, usable
from faults.agent.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    Netlink,
    NetlinkError,
    attribute,
)
from faults.agent.synchronized_start import Wait
from faults.agent.tc import TCMSG
from faults.agent.wire import Tap

RTM_NEWTCLASS, RTM_DELTCLASS = 40, 41
ROOT: Final = 0xA90D_0000
"""The handle of our root qdisc: an unusual one, which identifies it as ours."""
LEAVES: Final = 0xA90E
"""The handles of the leaves: this plus the number of the class, as the upper half."""
NETEM_MAX: Final = 0x1000

TCA_HTB_PARMS, TCA_HTB_INIT, TCA_HTB_RATE64, TCA_HTB_CEIL64 = 1, 2, 6, 7
HTB_VERSION, HTB_RATE2QUANTUM, LINKLAYER_ETHERNET = 3, 10, 1
HTB_BYTES_PER_S: Final = 12_500_000_000
HTB_BURST_TICKS: Final = 156_250  # 10 ms
HTB_QUANTUM: Final = 200_000

TCA_NETEM_DELAY_DIST, TCA_NETEM_REORDER, TCA_NETEM_CORRUPT = 2, 3, 4
TCA_NETEM_RATE, TCA_NETEM_RATE64, TCA_NETEM_LATENCY64, TCA_NETEM_JITTER64 = 6, 8, 10, 11
_NETEM = struct.Struct("=IIIIII")  # latency ticks, limit, loss, gap, duplicate, jitter ticks
_RATESPEC = struct.Struct("=BBHhHI")
_U32_MAX: Final = 0xFFFF_FFFF


def share(probability: float) -> int:
    """A probability in netem's representation."""
    return round(probability * _U32_MAX)


def netem_options(shape: Shape) -> bytes:
    """TCA_OPTIONS of a netem qdisc. The shape must fit netem (`Shape.fits_netem`).

    netem reorders by sending a share of the packets at once and delaying the others, so the share
    that is *not* held back goes at once, and the others wait for a uniform time up to `reorder_us`.
    """
    if shape.reorder:
        delay_ns = jitter_ns = shape.reorder_us * 500
    else:
        delay_ns, jitter_ns = shape.delay_us * 1000, shape.jitter_us * 1000
    gap = 1 if shape.reorder else 0
    options = _NETEM.pack(_ticks(delay_ns), shape.limit, 0, gap, 0, _ticks(jitter_ns))
    options += attribute(TCA_NETEM_LATENCY64, struct.pack("=q", delay_ns))
    options += attribute(TCA_NETEM_JITTER64, struct.pack("=q", jitter_ns))
    if shape.reorder:
        options += attribute(TCA_NETEM_REORDER, struct.pack("=II", share(1 - shape.reorder), 0))
    if jitter_ns:
        values = table(shape.distribution)
        packed = struct.pack(f"={len(values)}h", *values)
        options += attribute(TCA_NETEM_DELAY_DIST, packed)
    # Also where there is none: a change keeps attributes that are not given.
    options += attribute(TCA_NETEM_CORRUPT, struct.pack("=II", share(shape.corrupt), 0))
    rate = shape.rate_bps // 8
    options += attribute(TCA_NETEM_RATE, struct.pack("=IiIi", min(rate, _U32_MAX), 0, 0, 0))
    if rate > _U32_MAX:
        options += attribute(TCA_NETEM_RATE64, struct.pack("=Q", rate))
    return options


def add_root(interface: int) -> Message:
    """Add our root qdisc, where there is only the kernel's default one."""
    init = struct.pack("=IIIII", HTB_VERSION, HTB_RATE2QUANTUM, 0, 0, 0)
    body = TCMSG.pack(0, interface, ROOT, tc.TC_H_ROOT, 0)
    described = attribute(tc.TCA_KIND, b"htb\0") + attribute(
        tc.TCA_OPTIONS, attribute(TCA_HTB_INIT, init)
    )
    return Message(tc.RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, body + described)


def add_class(interface: int, number: int) -> Message:
    """Add the class of a destination; its rate does not limit."""
    rate = _RATESPEC.pack(0, LINKLAYER_ETHERNET, 0, 0, 0, _U32_MAX)
    burst = struct.pack("=IIIII", HTB_BURST_TICKS, HTB_BURST_TICKS, HTB_QUANTUM, 0, 0)
    exact = struct.pack("=Q", HTB_BYTES_PER_S)
    options = (
        attribute(TCA_HTB_PARMS, rate + rate + burst)
        + attribute(TCA_HTB_RATE64, exact)
        + attribute(TCA_HTB_CEIL64, exact)
    )
    body = TCMSG.pack(0, interface, ROOT | number, ROOT, 0)
    described = attribute(tc.TCA_KIND, b"htb\0") + attribute(tc.TCA_OPTIONS, options)
    return Message(RTM_NEWTCLASS, NLM_F_CREATE | NLM_F_REPLACE, body + described)


def remove_class(interface: int, number: int) -> Message:
    """Remove a class with its leaf."""
    return Message(RTM_DELTCLASS, 0, TCMSG.pack(0, interface, ROOT | number, ROOT, 0))


def set_leaf(interface: int, number: int, shape: Shape) -> Message:
    """Create the netem below a class, or change it in place."""
    body = TCMSG.pack(0, interface, LEAVES + number << 16, ROOT | number, 0)
    described = attribute(tc.TCA_KIND, b"netem\0") + attribute(tc.TCA_OPTIONS, netem_options(shape))
    return Message(tc.RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, body + described)


def _ticks(ns: int) -> int:
    return min(ns >> 6, _U32_MAX)


class Netem:
    """The netem qdiscs of this network namespace."""

    def __init__(self) -> None:
        self._netlink = Netlink()
        self._numbers: dict[str, int] = {}
        self._shapes: dict[str, Shape] = {}
        self._leads: dict[str, str] = {}
        self._classes: dict[int, set[int]] = {}
        """By interface that has our root: the numbers of its classes, also after an error."""

    def probe(self) -> str:
        """Shapes a device of our own. Raises Unsupported."""
        tap = Tap(self._netlink, f"{TAP_PREFIX}-try")
        try:
            for message in (
                add_root(tap.index),
                add_class(tap.index, 1),
                set_leaf(tap.index, 1, Shape(delay_us=1000)),
            ):
                self._netlink.ask(message)
        except NetlinkError as error:
            raise Unsupported(
                f"no netem: {error}", "load the kernel modules sch_netem and sch_htb"
            ) from None
        finally:
            tap.close()
        return "netem"

    def is_free(self) -> bool:
        """Whether every interface has its default root qdisc, or already ours."""
        return all(
            root.handle in (0, ROOT)
            for one in usable(self._netlink)
            for root in tc.qdiscs(self._netlink, one.index)
            if root.parent == tc.TC_H_ROOT
        )

    def set(
        self, shapes: Mapping[str, Shape], wait: Wait, leads: Mapping[str, str] | None = None
    ) -> None:
        """After `wait` these links are shaped, and no others; `leads`: see `Shaper.set`. Raises
        Failed."""
        if not shapes and not self._classes:
            wait()
            return
        interfaces = [one.index for one in usable(self._netlink, self._classes)]
        numbers = self._number(shapes, leads or {})
        of_class = {number: shapes[address] for address, number in numbers.items()}
        program = class_program({address: ROOT | n for address, n in numbers.items()})
        try:
            for index in interfaces:
                self._prepare(index, of_class)
            wait()
            for index in interfaces:
                for number, shape in of_class.items():
                    self._netlink.ask(set_leaf(index, number, shape))
                self._netlink.ask(tc.set_classifier(index, ROOT, program))
            for index in interfaces:
                for number in self._classes[index] - set(numbers.values()):
                    self._netlink.ask_quietly(remove_class(index, number), errno.ENOENT)
                    self._classes[index].discard(number)
        except NetlinkError as error:
            raise Failed(f"the kernel refused netem: {error}", "see its log") from None
        self._numbers, self._shapes, self._leads = numbers, dict(shapes), dict(leads or {})

    def refresh(self) -> None:
        """The same on interfaces that have come since."""
        present = {one.index for one in usable(self._netlink, self._classes)}
        for index in self._classes.keys() - present:
            del self._classes[index]
        if self._shapes and present - self._classes.keys():
            self.set(self._shapes, lambda: None, self._leads)

    def close(self) -> None:
        """Remove our qdiscs; the kernel restores its default one."""
        for index in sorted(self._classes):
            gone = (errno.ENOENT, errno.ENODEV, errno.EINVAL)
            self._netlink.ask_quietly(tc.remove_root(index, ROOT), *gone)
        self._classes.clear()
        self._numbers, self._shapes, self._leads = {}, {}, {}

    def state(self) -> dict[str, Any]:
        return {address: shape.to_json() for address, shape in self._shapes.items()}

    def _number(self, shapes: Mapping[str, Shape], leads: Mapping[str, str]) -> dict[str, int]:
        """A link keeps its class for as long as it is shaped. Addresses of one lead share it."""
        free = iter(n for n in range(1, NETEM_MAX) if n not in self._numbers.values())
        found: dict[str, int] = {}
        for address in shapes:
            number = found.get(leads.get(address, address))
            if number is None:
                known = self._numbers.get(address)
                number = known if known and known not in found.values() else next(free)
            found[address] = number
        return found

    def _prepare(self, index: int, wanted: Mapping[int, Shape]) -> None:
        """Root, classes and leaves, before any packet is sent to them."""
        if index not in self._classes:
            self._netlink.ask_quietly(add_root(index), errno.EEXIST)
            self._classes[index] = set()
        for number, shape in wanted.items():
            if number not in self._classes[index]:
                self._netlink.ask(add_class(index, number))
                self._classes[index].add(number)
                self._netlink.ask(set_leaf(index, number, shape))
