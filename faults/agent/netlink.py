"""The part of rtnetlink needed to use the kernel's traffic control, without a `tc` process.

A fork and exec of `tc` costs milliseconds and jitters; five agents are to act within a few
milliseconds of each other. One message on a socket that is open already takes microseconds, and
replacing a filter is one message, so packets never meet a partial set of rules.

Layouts are from linux/netlink.h and rtnetlink.h: a header, a fixed part, and attributes, each a
length, a type and a value padded to four bytes. The messages of traffic control are in `tc`.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

RTM_NEWLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR = 16, 18, 20, 22
RTM_DELROUTE: Final = 25
RT_TABLE_MAIN, RT_SCOPE_NOWHERE = 254, 255
NLM_F_REQUEST, NLM_F_ACK, NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x100, 0x200, 0x400
NLM_F_DUMP: Final = 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
SOL_NETLINK, NETLINK_EXT_ACK = 270, 11
RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x1, 0x10, 0x100
NESTED: Final = 0x8000  # NLA_F_NESTED
EXISTS: Final = errno.EEXIST

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_TXQLEN, IFLA_STATS64 = 1, 3, 4, 13, 23
IFLA_AF_SPEC, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE = 26, 8, 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
IFF_UP, IFF_LOOPBACK, ARPHRD_ETHER = 0x1, 0x8, 1
TX_DROPPED_AT: Final = 7 * 8  # of struct rtnl_link_stats64

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_IFINFO = struct.Struct("=BxHiII")  # family, hardware type, index, flags, changed flags
_IFADDR = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, lengths, tos, table, protocol, scope, type, flags


class NetlinkError(OSError):
    """The kernel refused; `strerror` has its own message where it gave one."""


class Message(NamedTuple):
    """A request without its header: type, flags, and the bytes that follow."""

    type: int
    flags: int
    body: bytes


@dataclass(frozen=True, order=True)
class Interface:
    """A network interface. `hardware` is its address as text, "" where it is not Ethernet."""

    index: int
    name: str
    up: bool
    loopback: bool
    hardware: str
    mtu: int
    tx_dropped: int


@dataclass(frozen=True)
class Address:
    """An IP address of the interface with this index."""

    index: int
    address: str
    prefix: int


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + bytes(-length % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in `data` by type; an incomplete one is left out."""
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


def prepare_tap(index: int, queue_length: int) -> Message:
    """Bring a TAP device up, with a long queue and without an IPv6 address of its own (it would
    announce itself)."""
    inet6 = attribute(IFLA_INET6_ADDR_GEN_MODE, bytes([IN6_ADDR_GEN_MODE_NONE]))
    body = (
        _IFINFO.pack(0, 0, index, IFF_UP, IFF_UP)
        + attribute(IFLA_TXQLEN, struct.pack("=I", queue_length))
        + attribute(IFLA_AF_SPEC | NESTED, attribute(socket.AF_INET6 | NESTED, inet6))
    )
    return Message(RTM_NEWLINK, 0, body)


def delete_default_route(family: int) -> Message:
    """The first default route of this family. The kernel says ESRCH where there is none."""
    body = _ROUTE.pack(family, 0, 0, 0, RT_TABLE_MAIN, 0, RT_SCOPE_NOWHERE, 0, 0)
    return Message(RTM_DELROUTE, 0, body)


class Netlink:
    """A rtnetlink socket. `ask` sends one request and waits for its answer."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._sequence = 0

    def ask(self, message: Message) -> None:
        """Raises NetlinkError when the kernel refuses."""
        self._send(message, NLM_F_ACK)
        while (answer := parse_answer(self._socket.recv(65536), self._sequence)) is None:
            pass
        if answer.errno:
            raise NetlinkError(answer.errno, answer.text or os.strerror(answer.errno))

    def dump(self, message: Message) -> Iterator[tuple[int, bytes]]:
        """The type and body of each message of the kernel's answer. Raises NetlinkError."""
        self._send(message, NLM_F_DUMP)
        while True:
            for kind, _, sequence, body in _messages(self._socket.recv(1 << 20)):
                if sequence != self._sequence:
                    continue
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    code = -struct.unpack_from("=i", body)[0]
                    raise NetlinkError(code, os.strerror(code))
                yield kind, body

    def interfaces(self) -> list[Interface]:
        """Every interface of this network namespace, by index."""
        request = Message(RTM_GETLINK, 0, _IFINFO.pack(0, 0, 0, 0, 0))
        return sorted(parse_interface(body) for _, body in self.dump(request))

    def addresses(self) -> list[Address]:
        """Every IP address of this network namespace."""
        request = Message(RTM_GETADDR, 0, _IFADDR.pack(0, 0, 0, 0, 0))
        return [parse_address(body) for _, body in self.dump(request)]

    def ask_quietly(self, message: Message, *fine: int) -> None:
        """The same, where these error numbers mean that nothing had to be done."""
        try:
            self.ask(message)
        except NetlinkError as error:
            if error.errno not in fine:
                raise

    def close(self) -> None:
        self._socket.close()

    def _send(self, message: Message, flags: int) -> None:
        self._sequence += 1
        length = _HEADER.size + len(message.body)
        header = _HEADER.pack(
            length, message.type, NLM_F_REQUEST | flags | message.flags, self._sequence, 0
        )
        self._socket.send(header + message.body)


def watch_interfaces() -> socket.socket:
    """A socket that becomes readable when an interface or an address is added, changed or
    removed."""
    watcher = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    watcher.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
    return watcher


def parse_interface(body: bytes) -> Interface:
    """The body of an RTM_NEWLINK message."""
    _, kind, index, flags, _ = _IFINFO.unpack_from(body)
    said = attributes(body[_IFINFO.size :])
    ethernet = kind == ARPHRD_ETHER
    statistics = said.get(IFLA_STATS64, b"").ljust(TX_DROPPED_AT + 8, b"\0")
    return Interface(
        index,
        said.get(IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace"),
        bool(flags & IFF_UP),
        bool(flags & IFF_LOOPBACK),
        said.get(IFLA_ADDRESS, b"").hex(":") if ethernet else "",
        int.from_bytes(said.get(IFLA_MTU, b""), sys.byteorder),
        struct.unpack_from("=Q", statistics, TX_DROPPED_AT)[0],
    )


def parse_address(body: bytes) -> Address:
    """The body of an RTM_NEWADDR message."""
    family, prefix, _, _, index = _IFADDR.unpack_from(body)
    said = attributes(body[_IFADDR.size :])
    raw = said.get(IFA_LOCAL) or said.get(IFA_ADDRESS, b"")
    return Address(index, socket.inet_ntop(family, raw), prefix)


class Answer(NamedTuple):
    errno: int
    text: str


def parse_answer(data: bytes, sequence: int) -> Answer | None:
    """The acknowledgement of request `sequence` in a datagram, or None where it has none."""
    for kind, flags, number, body in _messages(data):
        if kind == NLMSG_ERROR and number == sequence:
            (code,) = struct.unpack_from("=i", body)
            return Answer(-code, _explanation(body[4:], flags))
    return None


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence and body of each message in a datagram."""
    while len(data) >= _HEADER.size:
        length, kind, flags, number, _ = _HEADER.unpack_from(data)
        yield kind, flags, number, data[_HEADER.size : length]
        data = data[max((length + 3) & ~3, _HEADER.size) :]


def _explanation(data: bytes, flags: int) -> str:
    """The kernel's error text: an attribute after the request that it sends back."""
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
