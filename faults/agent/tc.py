"""The kernel's traffic control, as netlink messages: qdiscs, classes, filters and one action.

Layouts and numbers are from linux/pkt_sched.h, pkt_cls.h and tc_act/tc_mirred.h. What belongs to
`netem` alone is in `faults.agent.netem`.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from faults.agent.bpf import Program, encode
from faults.agent.netlink import (
    NESTED,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    Netlink,
    attribute,
    attributes,
)

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER = 44, 45, 46

TC_H_ROOT: Final = 0xFFFF_FFFF
TC_H_CLSACT: Final = 0xFFFF_FFF1
CLSACT_HANDLE: Final = 0xFFFF_0000
INGRESS: Final = 0xFFFF_FFF2  # TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)
EGRESS: Final = 0xFFFF_FFF3  # TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)
ETH_P_ALL: Final = 0x0003
DROP_PRIORITY: Final = 100  # leaves room before and after for filters of others
WIRE_PRIORITY: Final = 200
FILTER_HANDLE: Final = 1

TCA_KIND, TCA_OPTIONS = 1, 2
TCA_BPF_ACT, TCA_BPF_OPS_LEN, TCA_BPF_OPS, TCA_BPF_FLAGS = 1, 4, 5, 8
TCA_BPF_FLAG_ACT_DIRECT: Final = 1
TCA_ACT_KIND, TCA_ACT_OPTIONS = 1, 2
TCA_MIRRED_PARMS, TCA_EGRESS_REDIR, TC_ACT_STOLEN = 2, 1, 4

TCMSG = struct.Struct("=BxxxiIII")  # family, interface, handle, parent, info
_MIRRED = struct.Struct("=IIiiiiI")  # index, capabilities, action, 2 counts, what, interface


class Qdisc(NamedTuple):
    """An existing queueing discipline. `handle` is 0 for the kernel's default one."""

    interface: int
    kind: str
    handle: int
    parent: int


def add_clsact(interface: int) -> Message:
    """The qdisc that only classifies: it queues nothing, and does not replace the root qdisc."""
    body = TCMSG.pack(0, interface, CLSACT_HANDLE, TC_H_CLSACT, 0)
    return Message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, body + attribute(TCA_KIND, b"clsact\0"))


def remove_clsact(interface: int) -> Message:
    """Removes the qdisc, and every filter that is attached to it."""
    return Message(RTM_DELQDISC, 0, TCMSG.pack(0, interface, CLSACT_HANDLE, TC_H_CLSACT, 0))


def set_drop_filter(interface: int, direction: int, program: Program) -> Message:
    """Sets or replaces the filter at EGRESS or INGRESS."""
    options = _bpf(program) + attribute(TCA_BPF_FLAGS, struct.pack("=I", TCA_BPF_FLAG_ACT_DIRECT))
    return _filter(interface, direction, DROP_PRIORITY, options)


def set_redirect(interface: int, target: int, program: Program) -> Message:
    """Packets that the program matches at the egress of `interface` leave by `target` instead."""
    parameters = _MIRRED.pack(0, 0, TC_ACT_STOLEN, 0, 0, TCA_EGRESS_REDIR, target)
    action = attribute(TCA_ACT_KIND, b"mirred\0") + attribute(
        TCA_ACT_OPTIONS | NESTED, attribute(TCA_MIRRED_PARMS, parameters)
    )
    options = attribute(TCA_BPF_ACT, attribute(1, action)) + _bpf(program)
    return _filter(interface, EGRESS, WIRE_PRIORITY, options)


def set_classifier(interface: int, qdisc: int, program: Program) -> Message:
    """The program's result is the class, of the qdisc with this handle, that a packet goes to."""
    return _filter(interface, qdisc, DROP_PRIORITY, _bpf(program))


def remove_filter(interface: int, parent: int, priority: int) -> Message:
    """Removes all filters of this priority."""
    info = priority << 16 | socket.htons(ETH_P_ALL)
    return Message(RTM_DELTFILTER, 0, TCMSG.pack(0, interface, 0, parent, info))


def remove_root(interface: int, handle: int) -> Message:
    """Removes the root qdisc with this handle; the kernel restores its default one."""
    return Message(RTM_DELQDISC, 0, TCMSG.pack(0, interface, handle, TC_H_ROOT, 0))


def qdiscs(netlink: Netlink, interface: int) -> list[Qdisc]:
    """The qdiscs of an interface."""
    request = Message(RTM_GETQDISC, 0, TCMSG.pack(0, interface, 0, 0, 0))
    found = (parse_qdisc(body) for kind, body in netlink.dump(request) if kind == RTM_NEWQDISC)
    return [qdisc for qdisc in found if qdisc.interface == interface]


def parse_qdisc(body: bytes) -> Qdisc:
    """The body of an RTM_NEWQDISC message."""
    _, interface, handle, parent, _ = TCMSG.unpack_from(body)
    kind = attributes(body[TCMSG.size :]).get(TCA_KIND, b"").rstrip(b"\0").decode()
    return Qdisc(interface, kind, handle, parent)


def filter_priorities(netlink: Netlink, interface: int, parent: int) -> set[int]:
    """The priorities at which filters are attached there."""
    request = Message(RTM_GETTFILTER, 0, TCMSG.pack(0, interface, 0, parent, 0))
    return set(_priorities(netlink, request))


def _priorities(netlink: Netlink, request: Message) -> Iterator[int]:
    for kind, body in netlink.dump(request):
        if kind == RTM_NEWTFILTER:
            yield TCMSG.unpack_from(body)[4] >> 16


def _bpf(program: Program) -> bytes:
    return attribute(TCA_BPF_OPS_LEN, struct.pack("=H", len(program))) + attribute(
        TCA_BPF_OPS, encode(program)
    )


def _filter(interface: int, parent: int, priority: int, options: bytes) -> Message:
    info = priority << 16 | socket.htons(ETH_P_ALL)
    body = TCMSG.pack(0, interface, FILTER_HANDLE, parent, info)
    described = attribute(TCA_KIND, b"bpf\0") + attribute(TCA_OPTIONS, options)
    return Message(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE, body + described)
