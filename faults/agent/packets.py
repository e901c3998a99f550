"""Waiting until the node has sent a certain packet, by capturing its outgoing packets.

A packet socket captures what is sent on every interface but the loopback. A packet that the wire
shapes is captured when it is redirected to the wire's device: no socket sees that it is sent on,
past all queues (`wire.py`), so it counts once. A pattern is searched in the bytes after the
Ethernet header; a message that is split over two packets in the middle of the pattern is missed.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import Any, Final

from faults.agent.errors import BadRequest, Unsupported
from faults.agent.request import Answer, Request, number

ETH_P_ALL: Final = 0x0003
PACKET_OUTGOING: Final = 4
PACKET_MAX: Final = 1 << 16
BUFFER: Final = 4 << 20
LOOK_EVERY_S: Final = 0.05
ETHERNET: Final = 14
IPV4, IPV6 = b"\x08\x00", b"\x86\xdd"
TCP, TCP_HEADER = 6, 20


def await_packets(request: Request, closing: threading.Event) -> Answer:
    """pattern: text that must be in a packet, "" for any; source_port: of TCP, whose packets must
    hold data; count: how many times; within_s. `seen`: how many there were; `matched`: whether
    those were enough; `done_ns`: when the last of them was seen."""
    pattern, port = request.get("pattern", ""), request.get("source_port")
    if not isinstance(pattern, str) or (port is not None and not isinstance(port, int)):
        raise BadRequest(f"pattern {pattern!r}, source_port {port!r}", "give a text and a number")
    if not pattern and port is None:
        raise BadRequest("neither a pattern nor a source_port", "give one of them")
    wanted = int(number(request, "count", 1, 1_000_000, 1))
    deadline = time.monotonic() + number(request, "within_s", 0, 3_600, 10)
    seen, done_ns = 0, 0
    with _packet_socket() as packets:
        while seen < wanted and time.monotonic() < deadline and not closing.is_set():
            try:
                data, address = packets.recvfrom(PACKET_MAX)
            except TimeoutError:
                continue
            if is_ours(address):
                seen += matches(data, pattern.encode(), port)
                done_ns = time.monotonic_ns()
    return {"seen": seen, "matched": seen >= wanted, "done_ns": done_ns or time.monotonic_ns()}


def can_see_packets() -> str:
    """How packets are captured. Raises Unsupported."""
    _packet_socket().close()
    return "a packet socket"


def _packet_socket() -> socket.socket:
    try:
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    except PermissionError:
        raise Unsupported("may not capture packets", "give the agent's container NET_RAW") from None
    packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    packets.settimeout(LOOK_EVERY_S)
    return packets


def is_ours(address: Any) -> bool:
    """Whether a packet is outgoing, by its socket address: also to the wire's device."""
    name, kind = address[0], address[2]
    return bool(kind == PACKET_OUTGOING and name != "lo")


def matches(frame: bytes, pattern: bytes, port: int | None) -> int:
    """How often the pattern occurs in a frame; with a port, only in TCP data from that port, and
    without a pattern 1 where there is any data."""
    if port is not None:
        data = tcp_data(frame, port)
        return data.count(pattern) if pattern else int(bool(data))
    return frame[ETHERNET:].count(pattern)


def tcp_data(frame: bytes, port: int) -> bytes:
    """The data of a TCP segment from this port; empty for any other packet, and for one with IPv6
    extension headers."""
    segment = _tcp_segment(frame)
    if len(segment) < TCP_HEADER or int.from_bytes(segment[:2], "big") != port:
        return b""
    return segment[4 * (segment[12] >> 4) :]


def _tcp_segment(frame: bytes) -> bytes:
    """Without padding after it."""
    kind, packet = frame[12:14], frame[ETHERNET:]
    if kind == IPV4 and len(packet) >= 20 and packet[9] == TCP:
        return packet[4 * (packet[0] & 15) : int.from_bytes(packet[2:4], "big")]
    if kind == IPV6 and len(packet) >= 40 and packet[6] == TCP:
        return packet[40 : 40 + int.from_bytes(packet[4:6], "big")]
    return b""
