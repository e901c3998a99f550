"""Just enough rtnetlink to hang one BPF filter on an interface, without a `tc` process.

A fork and exec of `tc` costs milliseconds and jitters; five agents are to act within a few
milliseconds of each other. One message on a socket that is open already takes microseconds, and
replacing a filter is one message, so the packets never meet a half-made set of rules.

Layouts are from linux/netlink.h, rtnetlink.h and pkt_sched.h: a header, a fixed part, and
attributes, each a length, a type and a value padded to four bytes.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Final, NamedTuple

from faults.agent.bpf import Instruction, encode

RTM_NEWQDISC, RTM_DELQDISC, RTM_NEWTFILTER, RTM_DELTFILTER = 36, 37, 44, 45
NLM_F_REQUEST, NLM_F_ACK, NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x100, 0x200, 0x400
NLMSG_ERROR: Final = 2
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
SOL_NETLINK, NETLINK_EXT_ACK = 270, 11

TC_H_CLSACT: Final = 0xFFFF_FFF1
CLSACT_HANDLE: Final = 0xFFFF_0000
EGRESS: Final = 0xFFFF_FFF3  # TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)
ETH_P_ALL: Final = 0x0003
PRIORITY: Final = 100  # leaves room before and after for filters of other faults
FILTER_HANDLE: Final = 1

TCA_KIND, TCA_OPTIONS = 1, 2
TCA_BPF_OPS_LEN, TCA_BPF_OPS, TCA_BPF_NAME, TCA_BPF_FLAGS = 4, 5, 7, 8
TCA_BPF_FLAG_ACT_DIRECT: Final = 1

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_TCMSG = struct.Struct("=BxxxiIII")  # family, interface, handle, parent, info


class NetlinkError(OSError):
    """The kernel said no; `strerror` has its own words where it gave some."""


class Message(NamedTuple):
    """A request without its header: what, how, and the bytes that follow."""

    type: int
    flags: int
    body: bytes


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + bytes(-length % 4)


def add_clsact(interface: int) -> Message:
    """The qdisc that only classifies: it queues nothing, and leaves the one that does in place."""
    body = _TCMSG.pack(0, interface, CLSACT_HANDLE, TC_H_CLSACT, 0)
    return Message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, body + attribute(TCA_KIND, b"clsact\0"))


def remove_clsact(interface: int) -> Message:
    """Takes the qdisc away, and every filter that hangs on it."""
    return Message(RTM_DELQDISC, 0, _TCMSG.pack(0, interface, CLSACT_HANDLE, TC_H_CLSACT, 0))


def set_egress_filter(interface: int, program: tuple[Instruction, ...]) -> Message:
    """Our filter at the interface's egress is this program from now on, whatever it was before."""
    protocol = socket.htons(ETH_P_ALL)
    body = _TCMSG.pack(0, interface, FILTER_HANDLE, EGRESS, PRIORITY << 16 | protocol)
    options = (
        attribute(TCA_BPF_OPS_LEN, struct.pack("=H", len(program)))
        + attribute(TCA_BPF_OPS, encode(program))
        + attribute(TCA_BPF_FLAGS, struct.pack("=I", TCA_BPF_FLAG_ACT_DIRECT))
    )
    attributes = attribute(TCA_KIND, b"bpf\0") + attribute(TCA_OPTIONS, options)
    return Message(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE, body + attributes)


class Netlink:
    """A socket to the kernel's routing side. `ask` sends one request and waits for its answer."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._sequence = 0

    def ask(self, message: Message) -> None:
        """Raises NetlinkError when the kernel refuses."""
        self._sequence += 1
        flags = NLM_F_REQUEST | NLM_F_ACK | message.flags
        length = _HEADER.size + len(message.body)
        header = _HEADER.pack(length, message.type, flags, self._sequence, 0)
        self._socket.send(header + message.body)
        while (answer := parse_answer(self._socket.recv(65536), self._sequence)) is None:
            pass
        if answer.errno:
            raise NetlinkError(answer.errno, answer.text or os.strerror(answer.errno))

    def ask_quietly(self, message: Message, *fine: int) -> None:
        """The same, where these error numbers mean that it was so already."""
        try:
            self.ask(message)
        except NetlinkError as error:
            if error.errno not in fine:
                raise

    def close(self) -> None:
        self._socket.close()


class Answer(NamedTuple):
    errno: int
    text: str


def parse_answer(data: bytes, sequence: int) -> Answer | None:
    """The acknowledgement of request `sequence` in a datagram, or None when it is not there."""
    while len(data) >= _HEADER.size:
        length, kind, flags, number, _ = _HEADER.unpack_from(data)
        if kind == NLMSG_ERROR and number == sequence:
            (code,) = struct.unpack_from("=i", data, _HEADER.size)
            return Answer(-code, _explanation(data[_HEADER.size + 4 : length], flags))
        data = data[max((length + 3) & ~3, _HEADER.size) :]
    return None


def _explanation(data: bytes, flags: int) -> str:
    """The kernel's own sentence: an attribute behind the request that it sends back."""
    if not flags & NLM_F_ACK_TLVS or len(data) < _HEADER.size:
        return ""
    echoed = _HEADER.size
    if not flags & NLM_F_CAPPED:
        echoed = (struct.unpack_from("=I", data)[0] + 3) & ~3
    while echoed + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, echoed)
        if kind & 0x3FFF == 1:  # NLMSGERR_ATTR_MSG
            return data[echoed + 4 : echoed + length].rstrip(b"\0").decode(errors="replace")
        echoed += max((length + 3) & ~3, 4)
    return ""


EXISTS: Final = errno.EEXIST
