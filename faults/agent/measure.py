"""Measuring the effect of a link on packets: delay, loss, order, copies, rate.

All agents send numbered datagrams to one another at once. Each carries the time at which it was
sent, on the monotonic clock that all containers of a host share; the kernel stamps it on arrival.
So one-way delays are measured directly, per directed link, and a round-trip time is the sum of two.
This shares no code with the mechanisms that shape the links.
"""

from __future__ import annotations

import fcntl
import hashlib
import socket
import statistics
import struct
import sys
import termios
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import Any, Final, NamedTuple

from faults.agent.damaged import ArrivedFrames
from faults.agent.probe import open_port, plain
from faults.agent.traffic import TrafficCounter

PORT_AFTER_PROBES: Final = 1
"""The port is this much above that of the probes."""
COUNT_MAX: Final = 20_000
GAP_US_MAX: Final = 1_000_000
SIZE_LEAST, SIZE_MAX = 64, 1_400
HEADERS: Final = 42
"""Bytes of Ethernet, IPv4 and UDP in front of the datagram's own; IPv6 has 20 more."""
SENDING_S_MAX: Final = 60.0
ROUNDS_KEPT: Final = 8
READING_S_MAX: Final = 1.0
RECEIVE_BUFFER: Final = 8 << 20
SO_TIMESTAMPNS, SO_RCVBUFFORCE = 35, 33
CLOCK_READINGS: Final = 10
TOGETHER_NS: Final = 20_000
MARK: Final = b"antipaxos-metre "
_HEAD = struct.Struct("=16s32sIQI")  # mark, nonce, sequence, sent (ns), sequence
_TIMESPEC = struct.Struct("=qq")


class Arrival(NamedTuple):
    sequence: int
    sent_ns: int
    arrived_ns: int


class Measurer:
    """Listens from the start; `measure` is one round."""

    def __init__(self, probe_port: int) -> None:
        self.port = probe_port + PORT_AFTER_PROBES
        self._lock = threading.Lock()
        self._rounds: OrderedDict[bytes, dict[str, list[Arrival]]] = OrderedDict()
        self._frames: ArrivedFrames | None = None
        self._socket, self._v6 = open_port(self.port)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        with suppress(PermissionError):
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        self._thread = threading.Thread(target=self._listen, name="measurer", daemon=True)
        self._thread.start()

    def measure(
        self,
        peers: Mapping[str, Sequence[str]],
        nonce: str,
        *,
        sources: Mapping[str, Sequence[str]] | None = None,
        count: int,
        gap_us: int,
        size: int,
        listen_ms: float,
        together: int = 1,
        traffic: bool = False,
        text: str = "",
    ) -> dict[str, Any]:
        """Sends `count` datagrams of `size` bytes to each peer, to its addresses in turn, every
        `gap_us`, or `together` of them at once and then none for as many gaps, and listens for
        `listen_ms` more. Each contains `text`, and is as large as that takes. `links`: what came
        from each of `sources` (by default the peers); with `traffic` also how much traffic of any
        kind the link carried meanwhile."""
        key = _key(nonce)
        targets = [
            [(a if ":" in a or not self._v6 else f"::ffff:{a}", self.port) for a in listed]
            for listed in peers.values()
            if listed
        ]
        began_ns = time.monotonic_ns()
        with TrafficCounter() if traffic else nullcontext() as counter:
            self._send(targets, key, count, gap_us, together, size, text.encode())
            sent_ns = time.monotonic_ns()
            self._listen_for(listen_ms)
        listed_sources = peers if sources is None else sources
        links = self._summaries(listed_sources, key, size) if listed_sources else {}
        if counter is not None:
            for name, listed in listed_sources.items():
                links[name]["carried_bytes"] = sum(counter.bytes_from.get(a, 0) for a in listed)
                links[name]["window_us"] = counter.window_us
        return {"began_ns": began_ns, "sent_ns": sent_ns, "sent": count, "links": links}

    def capture(self, sources: Mapping[str, Sequence[str]], nonce: str) -> bool:
        """From now on until the round's result is asked for, capture its datagrams, to count the
        damaged ones. False where the container lacks NET_RAW."""
        self._end_capture()
        addresses = [address for listed in sources.values() for address in listed]
        try:
            self._frames = ArrivedFrames(self.port, MARK, _key(nonce), addresses)
        except PermissionError:
            return False
        return True

    def collect(
        self, sources: Mapping[str, Sequence[str]], nonce: str, *, size: int, listen_ms: float
    ) -> dict[str, Any]:
        """The second half of a round whose datagrams have all been sent: `links`, what has come
        from each source, after listening for `listen_ms`."""
        self._listen_for(listen_ms)
        links = self._summaries(sources, _key(nonce), size)
        return {"done_ns": time.monotonic_ns(), "links": links}

    def _listen_for(self, listen_ms: float) -> None:
        """And until what has come by then is read, which is later on a busy machine."""
        time.sleep(listen_ms / 1000)
        deadline = time.monotonic() + READING_S_MAX
        while _unread(self._socket) and time.monotonic() < deadline:
            time.sleep(0.002)

    def _summaries(
        self, sources: Mapping[str, Sequence[str]], key: bytes, size: int
    ) -> dict[str, dict[str, Any]]:
        with self._lock:
            came = self._rounds.pop(key, {})  # the round is over: what comes later is of no use
        arrivals = {
            name: [one for a in listed for one in came.get(a, [])]
            for name, listed in sources.items()
        }
        links = {name: summary(arrived, size) for name, arrived in arrivals.items()}
        if self._frames is not None and self._frames.key == key:
            numbers = self._end_capture()
            for name, listed in sources.items():
                captured = {n for a in listed for n in numbers.get(a, ())}
                damaged = captured - {one.sequence for one in arrivals[name]}
                links[name]["damaged"] = sum(number < COUNT_MAX for number in damaged)
        return links

    def _end_capture(self) -> dict[str, set[int]]:
        frames, self._frames = self._frames, None
        return frames.close() if frames is not None else {}

    def close(self) -> None:
        """Stops listening."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _send(
        self,
        targets: list[list[tuple[str, int]]],
        key: bytes,
        count: int,
        gap_us: int,
        together: int,
        size: int,
        text: bytes,
    ) -> None:
        padding = text.ljust(size - _HEAD.size, b"\0")
        started_ns = time.monotonic_ns()
        for sequence in range(count):
            due_ns = started_ns + (sequence - sequence % together) * gap_us * 1000
            if (left_ns := due_ns - time.monotonic_ns()) > 0:
                time.sleep(left_ns / 1e9)
            for addresses in targets:
                target = addresses[sequence % len(addresses)]
                head = _HEAD.pack(MARK, key, sequence, time.monotonic_ns(), sequence)
                with suppress(OSError):
                    self._socket.sendto(head + padding, target)

    def _listen(self) -> None:
        while True:
            try:
                data, said, _, source = self._socket.recvmsg(SIZE_MAX + 1, 64)
            except ConnectionError:
                continue
            except OSError:
                return
            if len(data) < _HEAD.size:
                continue
            mark, key, sequence, sent_ns, _ = _HEAD.unpack_from(data)
            if mark == MARK and sequence < COUNT_MAX:
                arrival = Arrival(sequence, sent_ns, _arrived_ns(said))
                self._note(key, plain(source[0]), arrival)

    def _note(self, key: bytes, address: str, arrival: Arrival) -> None:
        with self._lock:
            arrivals = self._rounds.setdefault(key, {}).setdefault(address, [])
            if len(arrivals) < 4 * COUNT_MAX:
                arrivals.append(arrival)
            while len(self._rounds) > ROUNDS_KEPT:
                self._rounds.popitem(last=False)


def _key(nonce: str) -> bytes:
    """By which the datagrams of a round are known, also with a bit flipped: keys of two rounds
    differ in many."""
    return hashlib.sha256(nonce.encode()).digest()


def _unread(listening: socket.socket) -> int:
    """Bytes that have come and have not been read."""
    try:
        answer = fcntl.ioctl(listening, termios.FIONREAD, bytes(4))
    except (OSError, ValueError):  # it was closed
        return 0
    return int.from_bytes(answer, sys.byteorder)


def _arrived_ns(said: Sequence[tuple[int, int, bytes]]) -> int:
    """The kernel's time stamp, which is on the wall clock, converted to the monotonic one."""
    for level, kind, data in said:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) >= _TIMESPEC.size:
            seconds, ns = _TIMESPEC.unpack_from(data)
            now_ns, wall_ns = _both_clocks()
            return now_ns - max(0, wall_ns - int(seconds * 1_000_000_000 + ns))
    return time.monotonic_ns()


def _both_clocks() -> tuple[int, int]:
    """The monotonic and the wall clock at the same time: read again where this thread was
    interrupted in between, which would move an arrival into the past."""
    for _ in range(CLOCK_READINGS):
        before_ns, wall_ns, after_ns = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        if after_ns - before_ns < TOGETHER_NS:
            break
    return (before_ns + after_ns) // 2, wall_ns


def summary(arrivals: Sequence[Arrival], size: int) -> dict[str, Any]:
    """The effect of a link, from the packets that arrived over it, in the order of arrival.

    received: different packets; duplicates: further copies; reordered: packets that arrived after a
    later one; delay_us: one way; rate_bps: of Ethernet frames, from the first to the last one;
    took_us: from the first one's sending to the last one's arrival, but for copies;
    copies_late_us: how much later than the first of them the latest copy came;
    first_sent_ns, last_sent_ns: when the first and the last one of those that came were sent.
    """
    seen: dict[int, int] = {}
    highest, reordered, delays, copies_late_ns = -1, 0, [], 0
    for one in arrivals:
        if one.sequence in seen:
            copies_late_ns = max(copies_late_ns, one.arrived_ns - seen[one.sequence])
            continue
        seen[one.sequence] = one.arrived_ns
        delays.append((one.arrived_ns - one.sent_ns) // 1000)
        reordered += one.sequence < highest
        highest = max(highest, one.sequence)
    found = {
        "received": len(seen),
        "duplicates": len(arrivals) - len(seen),
        "reordered": reordered,
    }
    if not delays:
        return found
    times = [one.arrived_ns for one in arrivals]
    span_ns = max(times) - min(times)
    bits = (len(arrivals) - 1) * (size + HEADERS) * 8
    percentiles = statistics.quantiles(delays * 2, n=100, method="inclusive")
    return {
        **found,
        "delay_us": {
            "min": min(delays),
            "p50": round(percentiles[49]),
            "p90": round(percentiles[89]),
            "p99": round(percentiles[98]),
            "max": max(delays),
            "mean": round(statistics.fmean(delays)),
            "deviation": round(statistics.pstdev(delays)),
        },
        "took_us": (max(seen.values()) - min(one.sent_ns for one in arrivals)) // 1000,
        "copies_late_us": copies_late_ns // 1000,
        "first_sent_ns": min(one.sent_ns for one in arrivals),
        "last_sent_ns": max(one.sent_ns for one in arrivals),
        "rate_bps": bits * 1_000_000_000 // span_ns if span_ns else None,
    }
