"""The wire: delays, reorders, duplicates, corrupts and slows packets where the kernel cannot.

A filter at the egress of the node's interface redirects (`mirred`) the packets to certain
destinations to a TAP device. A thread of this process reads them there, holds each for as long as
its link's shape says, and sends it on by a packet socket, past all queues and filters
(PACKET_QDISC_BYPASS), so that it does not come back.

It is a thread and not a process, since a fault of the node is a signal to every process of the pod
(`kill(-1)`), which a process of the wire would not survive; and it is Python, since that is fast
enough and a machine that runs the image may have no compiler: one thread forwards 20,000 packets a
second, also on a busy machine with two processors, with delays exact to half a millisecond
(`python -m benchmarks.faults`).

A filter without its wire drops every packet. If the thread ends by an error it removes the filters;
if the process dies, the pod dies with it (it is process 1), or else the guard removes them.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from faults.agent import tc
from faults.agent.bpf import ANY_OTHER, MATCH, class_program, packed
from faults.agent.errors import AgentError, Failed, Unsupported
from faults.agent.link_shape import Shape
from faults.agent.links import TAP_PREFIX, Clsacts, usable
from faults.agent.netlink import Interface, Netlink, NetlinkError, prepare_tap
from faults.agent.priority import raise_priority
from faults.agent.synchronized_start import Wait
from faults.agent.wire_link import ETHERNET, Link

TUN: Final = "/dev/net/tun"
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20
IPV4, IPV6 = b"\x08\x00", b"\x86\xdd"
QUEUE_LENGTH: Final = 10_000
"""Packets that may wait in the TAP device while the thread is not scheduled."""
BATCH: Final = 64
"""Packets that are read before due packets are checked for again."""
SWITCH_INTERVAL_S: Final = 0.0005
"""How long another thread of this process may keep the interpreter (Python's own is 5 ms)."""
FLUSH_S: Final = 5.0
ANY: Final = b"*"


class Tap:
    """A TAP device, removed when it is closed, and the socket to the interface behind it."""

    def __init__(self, netlink: Netlink, name: str, behind: Interface | None = None) -> None:
        """Raises Unsupported where none can be made."""
        self.file = _open_tun()
        try:
            request = struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI)
            fcntl.ioctl(self.file, TUNSETIFF, request)
            self.index = socket.if_nametoindex(name)
            netlink.ask(prepare_tap(self.index, QUEUE_LENGTH))
        except OSError as error:
            os.close(self.file)
            raise Unsupported(
                f"cannot make a TAP device: {error.strerror}", "give the container NET_ADMIN"
            ) from None
        self.name = name
        self.header = ETHERNET if behind is None or behind.hardware else 0
        """Bytes before a packet's IP header: none on the interface of a tunnel."""
        self.fit(behind.mtu if behind else 1500)
        self.output = _packet_socket(behind.name) if behind else None

    def fit(self, mtu: int) -> None:
        """Of a longer frame only the beginning would be read."""
        self.frame_size = mtu + 64

    def close(self) -> None:
        """Closing the descriptor removes the device."""
        os.close(self.file)
        if self.output is not None:
            self.output.close()


def _open_tun() -> int:
    try:
        return os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Unsupported(
            f"cannot open {TUN}: {error.strerror}",
            f"load the kernel module tun, and start the agent's container with --device {TUN}",
        ) from None


def _packet_socket(interface: str) -> socket.socket:
    output = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    output.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    output.setblocking(False)
    output.bind((interface, 0))
    return output


class Wire:
    """`set` says which links are shaped, and how; thread and devices are made when needed."""

    def __init__(self, clsacts: Clsacts | None = None) -> None:
        self._netlink = Netlink()
        self._clsacts = clsacts or Clsacts()
        self._taps: dict[int, Tap] = {}
        self._retired: list[Tap] = []
        """Devices of removed interfaces: closed by the thread, which may be reading from them."""
        self._hooked: set[int] = set()
        self._links: dict[bytes, Link] = {}
        self._leads: dict[str, str] = {}
        self._addresses: frozenset[str] = frozenset()
        self._thread: threading.Thread | None = None
        self._released = threading.Event()
        self._ending = False
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_out, False)
        self._readable = select.epoll()
        """Made early, for a low number: select() has the precision that epoll lacks (it waits whole
        milliseconds), but takes no descriptor from 1024 on, and an agent may hold more files."""
        self._readable.register(self._wake_in, select.EPOLLIN)
        self.failure = ""
        self._untold = ""
        """The last failure, until it is taken."""
        self._dropped, self._overrun = 0, 0
        """Of links that have ended, packets that should have passed and have not been told of;
        and the overrun that has been."""
        self.priority = "none"

    def probe(self) -> str:
        """Makes a device and redirects nothing to it. Raises Unsupported."""
        interfaces = usable(self._netlink)
        tap = Tap(self._netlink, f"{TAP_PREFIX}-try")
        try:
            for one in interfaces[:1]:
                self._clsacts.attach(self._netlink, one.index)
                self._netlink.ask(tc.set_redirect(one.index, tap.index, class_program({})))
                self._unhook(one.index)
                _packet_socket(one.name).close()
        except OSError as error:
            raise Unsupported(
                f"cannot redirect packets to a TAP device: {error}",
                "this kernel lacks act_mirred, or the container NET_RAW",
            ) from None
        finally:
            tap.close()
        return "wire"

    def prepare(self) -> list[Interface]:
        """Make the devices for all interfaces, and the thread. Takes some milliseconds, once."""
        interfaces = usable(self._netlink, self._taps)
        present = {one.index for one in interfaces}
        for index in self._taps.keys() - present:
            self._retired.append(self._taps.pop(index))
            self._hooked.discard(index)
        start = self._thread is None or not self._thread.is_alive()
        if start and self.failure:  # perhaps of a device
            self._close_taps()
        for one in interfaces:
            if one.index not in self._taps:
                tap = Tap(self._netlink, f"{TAP_PREFIX}{one.index}", one)
                self._readable.register(tap.file, select.EPOLLIN)
                self._taps[one.index] = tap
            if start or one.index not in self._hooked:
                self._clsacts.attach(self._netlink, one.index)
                self._hooked.add(one.index)
            elif self._links and not self._is_hooked(one.index):
                self._clsacts.attach(self._netlink, one.index)
                self._untold = f"somebody else has removed the redirection of {one.name}"
        if start:
            sys.setswitchinterval(SWITCH_INTERVAL_S)
            self.failure, self._ending = "", False
            self._thread = threading.Thread(target=self._run, name="wire", daemon=True)
            self._thread.start()
        self._wake()
        return interfaces

    def set(
        self, shapes: Mapping[str, Shape], wait: Wait, leads: Mapping[str, str] | None = None
    ) -> None:
        """After `wait` these links are shaped and no others; packets held of others are sent.
        `leads`: see `Shaper.set`.

        Raises Failed; the filters are then as before, or removed.
        """
        if not shapes and not self._taps:
            wait()
            return
        interfaces = self.prepare()
        before = self._links
        wanted: dict[bytes, Link] = {}
        for address, shape in shapes.items():
            lead = _key((leads or {}).get(address, address))
            wanted[_key(address)] = wanted.get(lead) or self._link_of(address, shape, wanted)
        program = class_program(dict.fromkeys(shapes, MATCH))
        wait()
        for address, shape in shapes.items():
            wanted[_key(address)].take_shape(shape)
        self._links = (
            before | wanted
        )  # before the filters: every redirected packet must have a link
        try:
            for one in interfaces:
                tap = self._taps[one.index]
                self._netlink.ask(tc.set_redirect(one.index, tap.index, program))
        except NetlinkError as error:
            self._unhook_all()
            raise Failed(f"the kernel refused the redirection: {error}", "see its log") from None
        self._addresses = frozenset(shapes)
        self._links, self._leads = wanted, dict(leads or {})
        if gone := set(before.values()) - set(wanted.values()):
            self._release()
            self._dropped += sum(link.take_dropped() for link in gone)

    def _link_of(self, address: str, shape: Shape, taken: Mapping[bytes, Link]) -> Link:
        """The one that this address has, unless others have it now."""
        before = self._links.get(_key(address))
        return Link(shape) if before is None or before in taken.values() else before

    def refresh(self) -> None:
        """The same on interfaces that have come since; and others may have another MTU."""
        present = {one.index: one for one in usable(self._netlink, self._taps)}
        for index in present.keys() & self._taps.keys():
            self._taps[index].fit(present[index].mtu)
        if self._links and present.keys() != self._taps.keys():
            shapes = {a: self._links[_key(a)].shape for a in sorted(self._addresses)}
            self.set(shapes, lambda: None, self._leads)

    def close(self) -> None:
        """Send all held packets; remove thread, filters and devices."""
        self._unhook_all()
        self._links, self._leads, self._addresses = {}, {}, frozenset()
        if self._thread is not None and self._thread.is_alive():
            self._release()
            self._ending = True
            self._wake()
            self._thread.join(FLUSH_S)
        self._thread = None
        self._close_taps()

    def take_failure(self) -> str:
        """Why the thread has ended since this was asked last, "" if it has not: links were not
        shaped from then on, also where it has been started again. Or that a filter was removed, or
        that packets were lost here that should have passed."""
        failure, self._untold = self._untold, ""
        return "; ".join(filter(None, (failure, self._take_dropped())))

    def _take_dropped(self) -> str:
        dropped = self._dropped + sum(link.take_dropped() for link in set(self._links.values()))
        overrun = self._overrun_of_taps() if self._taps else 0
        dropped += max(0, overrun - self._overrun)
        self._dropped, self._overrun = 0, overrun
        return f"{dropped} packets were dropped: too many to hold, or too fast" if dropped else ""

    def _overrun_of_taps(self) -> int:
        devices = {tap.index for tap in self._taps.values()}
        return sum(one.tx_dropped for one in self._netlink.interfaces() if one.index in devices)

    def state(self) -> dict[str, Any]:
        """links: by address the shape, packets held, and counters; priority: of the thread;
        overrun: packets lost because it was too slow; failure: why it ended."""
        links = self._links
        return {
            "links": {
                address: links[_key(address)].to_json()
                for address in sorted(self._addresses)
                if _key(address) in links
            },
            "priority": self.priority,
            "overrun": self._overrun_of_taps(),
            "failure": self.failure,
        }

    def _close_taps(self) -> None:
        for tap in (*self._taps.values(), *self._retired):
            tap.close()
        self._taps.clear()
        self._retired.clear()

    def _is_hooked(self, index: int) -> bool:
        return self._clsacts.has(self._netlink, index, [tc.EGRESS], tc.WIRE_PRIORITY)

    def _unhook_all(self) -> None:
        for index in self._hooked:
            self._unhook(index)
        self._hooked.clear()

    def _unhook(self, index: int, netlink: Netlink | None = None) -> None:
        self._clsacts.leave(netlink or self._netlink, index, [tc.EGRESS], tc.WIRE_PRIORITY)

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._wake_out, b"!")

    def _release(self) -> None:
        self._released.clear()
        self._wake()
        if not self._released.wait(FLUSH_S) and not self.failure:
            raise Failed("the wire's thread does not answer", "end the agent")

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        self.priority = raise_priority()
        try:
            self._carry()
        except Exception as error:  # after any error: no filter may stay without a reader
            self.failure = self._untold = f"the wire ended: {type(error).__name__}: {error}"
            with suppress(AgentError, OSError):
                channel = Netlink()
                for index in list(self._hooked):
                    self._unhook(index, channel)
            self._released.set()

    def _carry(self) -> None:
        held: list[tuple[int, int, bytes, Tap, Link]] = []
        number = 0
        while True:
            left_s = max(0.0, (held[0][0] - time.monotonic_ns()) / 1e9) if held else None
            select.select([self._readable], [], [], left_s)
            taps = {tap.file: tap for tap in [*self._taps.values()]}
            for file, _ in self._readable.poll(0):
                if file in taps:
                    number = self._take(taps[file], held, number)
                elif file == self._wake_in:
                    os.read(self._wake_in, 4096)
                    self._release_removed(held)
                    while self._retired:
                        self._retired.pop().close()
            self._send_due(held)
            if self._ending:
                return

    def _take(self, tap: Tap, held: list[tuple[int, int, bytes, Tap, Link]], number: int) -> int:
        """Reads waiting packets, and holds them. Returns the number of packets so far."""
        links, any_other = self._links, self._links.get(ANY)
        for _ in range(BATCH):
            try:
                frame = os.read(tap.file, tap.frame_size)
            except BlockingIOError:
                break
            link = links.get(_destination(frame, tap.header)) or any_other
            if link is None:
                _send(tap, frame)
                continue
            now_ns = time.monotonic_ns()
            shape = link.shape.of(frame)
            if shape.corrupt:
                frame = link.damaged(frame, shape, tap.header)
            for due_ns in link.take(now_ns, len(frame), shape):
                number += 1
                heapq.heappush(held, (due_ns, number, frame, tap, link))
        return number

    def _send_due(self, held: list[tuple[int, int, bytes, Tap, Link]]) -> None:
        now_ns = time.monotonic_ns()
        while held and held[0][0] <= now_ns:
            due_ns, _, frame, tap, link = heapq.heappop(held)
            if not _send(tap, frame):
                link.counts["send_errors"] += 1
            link.sent(now_ns - due_ns if due_ns else 0)

    def _release_removed(self, held: list[tuple[int, int, bytes, Tap, Link]]) -> None:
        """Packets of links that are not shaped any more are due now, in their order."""
        present = set(self._links.values())
        if any(link not in present for *_, link in held):
            ordered = sorted(held, key=lambda one: one[1])
            held[:] = [
                (due if link in present else 0, number, frame, tap, link)
                for due, number, frame, tap, link in ordered
            ]
            heapq.heapify(held)
        self._send_due(held)
        self._released.set()


def _destination(frame: bytes, header: int) -> bytes:
    """The IP address; empty where the protocol is another one."""
    version = frame[header] >> 4 if len(frame) > header else 0
    if header and frame[12:14] != (IPV4 if version == 4 else IPV6):
        return b""
    if version == 4:
        return frame[header + 16 : header + 20]
    return frame[header + 24 : header + 40] if version == 6 else b""


def _send(tap: Tap, frame: bytes) -> bool:
    try:
        if tap.output is not None:
            tap.output.send(frame)
    except OSError:
        return False
    return True


def _key(address: str) -> bytes:
    return ANY if address == ANY_OTHER else packed(address)
