"""Datagrams to all hosts on a network: broadcast, IPv4 multicast, IPv6 multicast.

For probes: a cut that lets these pass is not complete. Each is sent on every interface of the pod.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from faults.agent.links import usable
from faults.agent.netlink import Netlink, NetlinkError

KINDS: Final = ("broadcast", "multicast", "multicast6")
BROADCAST: Final = "255.255.255.255"
GROUP_V4: Final = "239.255.77.99"  # of the administratively scoped block (RFC 2365)
GROUP_V6: Final = "ff12::7799"  # transient, and not beyond the link (RFC 4291)
SO_BINDTODEVICE: Final = 25


def addresses_of(netlink: Netlink) -> dict[str, dict[str, object]]:
    """By interface that leads out of the pod: its hardware address and its IP addresses."""
    numbers = {one.index: one for one in usable(netlink)}
    found: dict[str, dict[str, object]] = {
        one.name: {"hardware": one.hardware, "addresses": []} for one in numbers.values()
    }
    for address in netlink.addresses():
        if one := numbers.get(address.index):
            listed = found[one.name]["addresses"]
            assert isinstance(listed, list)
            listed.append(address.address)
    return found


def join(listener: socket.socket, v6: bool) -> None:
    """Receive the groups on every interface that exists now. Those that cannot be joined are
    skipped."""
    netlink = Netlink()
    try:
        for one in usable(netlink):
            here = struct.pack("=4s4si", socket.inet_aton(GROUP_V4), bytes(4), one.index)
            with suppress(OSError):  # EADDRINUSE: joined before
                listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, here)
            if v6:
                group = socket.inet_pton(socket.AF_INET6, GROUP_V6) + struct.pack("=i", one.index)
                with suppress(OSError):
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
    finally:
        netlink.close()


class GroupSender:
    """Sockets to every kind of group on every interface. Close it."""

    def __init__(self, port: int) -> None:
        self._targets = list(_targets(port))

    def send(self, mark: bytes, nonce: bytes) -> None:
        """One datagram of each kind on each interface; refusals are ignored."""
        for kind, sender, target in self._targets:
            with suppress(OSError):
                sender.sendto(mark + kind.encode() + b" " + nonce, target)

    def close(self) -> None:
        for _, sender, _ in self._targets:
            sender.close()


def _targets(port: int) -> Iterator[tuple[str, socket.socket, tuple[object, ...]]]:
    netlink = Netlink()
    with suppress(NetlinkError):
        for one in usable(netlink):
            device = one.name.encode()
            for kind, address in (("broadcast", BROADCAST), ("multicast", GROUP_V4)):
                sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                sender.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, device)
                yield kind, sender, (address, port)
            with suppress(OSError):  # no IPv6 here
                sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
                yield "multicast6", sender, (GROUP_V6, port, 0, one.index)
    netlink.close()
