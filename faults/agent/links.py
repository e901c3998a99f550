"""The node's links: to which peers its packets are lost on the way out.

Declarative: a request names the whole set, an empty one heals, and the same twice changes nothing.
The drop sits at the egress of the node's own interface, where it is silent: the sender's `send`
succeeds, and TCP backs off, as when a cable is cut further away. Each pod drops what *it* sends, so
a link has a direction, and a cut in both directions is two pods each doing their half.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
import threading
import time
from collections.abc import Mapping
from typing import Any

from faults.agent import netlink
from faults.agent.bpf import PASSES_ALL, Instruction, drop_program
from faults.agent.errors import BadRequest, Failed, Unsupported
from faults.agent.netlink import Netlink, NetlinkError
from faults.agent.synchronized_start import Wait, no_wait

HOW = "clsact+bpf"
SIOCGIFFLAGS, IFF_UP, IFF_LOOPBACK = 0x8913, 0x1, 0x8


def interfaces() -> list[int]:
    """The numbers of the interfaces that are up, but for the loopback."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for number, name in socket.if_nameindex():
            request = struct.pack("16sH14x", name.encode(), 0)
            answer = fcntl.ioctl(probe, SIOCGIFFLAGS, request)
            (flags,) = struct.unpack_from("=H", answer, 16)
            if flags & IFF_UP and not flags & IFF_LOOPBACK:
                found.append(number)
    return found


def wanted_loss(drop_to: object, loss: object) -> dict[str, float]:
    """The request's `drop_to` and `loss`, put together; what is cut is not also lossy."""
    if not isinstance(drop_to, list) or not all(isinstance(a, str) for a in drop_to):
        raise BadRequest(f"drop_to is {drop_to!r}", "give a list of addresses")
    if not isinstance(loss, Mapping):
        raise BadRequest(f"loss is {loss!r}", 'give {"address": probability}')
    for address, probability in loss.items():
        if isinstance(probability, bool) or not isinstance(probability, int | float):
            raise BadRequest(f"loss to {address} is {probability!r}", "give a number up to 1")
    return {str(a): float(p) for a, p in loss.items() if p} | dict.fromkeys(drop_to, 1.0)


class Links:
    """The filters of this network namespace."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._netlink = Netlink()
        self._prepared: set[int] = set()
        self.loss: dict[str, float] = {}

    def set(self, loss: Mapping[str, float], wait: Wait = no_wait) -> dict[str, Any]:
        """After `wait`, packets to each address are lost with its probability, and no others.

        The answer's `began_ns` and `done_ns` enclose the moment at which the kernel took it.
        """
        program = drop_program(loss)
        with self._lock:
            numbers = self._prepare()
            messages = [netlink.set_egress_filter(number, program) for number in numbers]
            wait()
            began_ns = time.monotonic_ns()
            try:
                for message in messages:
                    self._netlink.ask(message)
            except NetlinkError as error:
                raise Failed(f"the kernel refused the filter: {error}", _remedy(error)) from None
            done_ns = time.monotonic_ns()
            self.loss = dict(loss)
        return {"began_ns": began_ns, "done_ns": done_ns, "interfaces": len(numbers)} | self.state()

    def heal(self) -> None:
        """All packets pass again."""
        if self.loss:
            self.set({})

    def probe(self) -> str:
        """Tries the real thing with a program that passes all; says how it is done.

        Raises Unsupported with the kernel's reason.
        """
        try:
            self.set({})
        except Failed as failed:
            raise Unsupported(str(failed), failed.remedy) from None
        return HOW

    def state(self) -> dict[str, Any]:
        return {
            "drop_to": [a for a, p in self.loss.items() if p >= 1],
            "loss": {a: p for a, p in self.loss.items() if p < 1},
        }

    def _prepare(self) -> list[int]:
        numbers = interfaces()
        if not numbers:
            raise Failed(
                "this network namespace has no interface that is up, but for the loopback",
                "connect the agent's container to the run's network",
            )
        for number in numbers:
            if number not in self._prepared:
                self._hang(number, PASSES_ALL)
                self._prepared.add(number)
        return numbers

    def _hang(self, number: int, program: tuple[Instruction, ...]) -> None:
        try:
            self._netlink.ask_quietly(netlink.add_clsact(number), netlink.EXISTS)
            self._netlink.ask(netlink.set_egress_filter(number, program))
        except NetlinkError as error:
            raise Failed(
                f"cannot hang a filter on interface {number}: {error}", _remedy(error)
            ) from None


def _remedy(error: NetlinkError) -> str:
    if error.errno == errno.EPERM:
        return "give the agent's container NET_ADMIN"
    if error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL):
        return "this kernel lacks sch_ingress (clsact) or cls_bpf: load them, or use another kernel"
    return "see the kernel's log"
