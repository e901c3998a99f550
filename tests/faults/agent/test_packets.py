"""Which packets count as sent by the node."""

from __future__ import annotations

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from faults.agent.packets import PACKET_OUTGOING, is_ours, matches

PORT = 7001


def frame(data: bytes, port: int = PORT, options: int = 0, padding: int = 0) -> bytes:
    """A TCP segment over IPv4 over Ethernet."""
    tcp = struct.pack(">HHIIBBHHH", port, 9, 0, 0, (5 + options) << 4, 0, 0, 0, 0)
    segment = tcp + bytes(4 * options) + data
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 0, 0, 64, 6, 0, b"1111", b"2222")
    return bytes(12) + b"\x08\x00" + ip + segment + bytes(padding)


def frame_v6(data: bytes, port: int) -> bytes:
    """The same over IPv6."""
    segment = frame(data, port)[34:]
    ip = struct.pack(">IHBB", 6 << 28, len(segment), 6, 64) + bytes(32)
    return bytes(12) + b"\x86\xdd" + ip + segment + bytes(3)


@given(st.binary(max_size=60))
def test_a_segment_over_ipv6_counts_as_well(data: bytes) -> None:
    assert matches(frame_v6(data, PORT), b"", PORT) == bool(data)
    assert matches(frame_v6(data, PORT + 1), b"", PORT) == 0


@given(st.binary(max_size=60), st.integers(0, 10), st.integers(0, 20))
def test_a_segment_counts_when_it_holds_data_and_comes_from_the_port(
    data: bytes, options: int, padding: int
) -> None:
    """An acknowledgement alone does not, even with Ethernet padding after it."""
    assert matches(frame(data, PORT, options, padding), b"", PORT) == bool(data)
    assert matches(frame(data, PORT + 1, options, padding), b"", PORT) == 0


def test_a_pattern_is_counted_as_often_as_it_occurs() -> None:
    two = frame(b'..["Accept",1]..["Accept",2]["Accepted",3]', 7000)
    assert matches(two, b'["Accept",', None) == 2
    assert matches(two, b'["Accept",', 7000) == 2
    assert matches(two, b'["Accept",', PORT) == 0


@given(st.binary(max_size=80))
def test_arbitrary_frames_are_no_error(data: bytes) -> None:
    matches(data, b"x", None)
    matches(data, b"", PORT)
    matches(bytes(12) + b"\x08\x00" + data, b"", PORT)
    matches(bytes(12) + b"\x86\xdd" + data, b"", PORT)


def test_only_outgoing_packets_of_the_pod_count() -> None:
    assert is_ours(("eth0", 3, PACKET_OUTGOING, 1, b""))
    assert not is_ours(("eth0", 3, socket.PACKET_HOST, 1, b""))
    assert not is_ours(("lo", 3, PACKET_OUTGOING, 772, b""))
    assert is_ours(("apx-wire2", 3, PACKET_OUTGOING, 1, b"")), (
        "to the wire, which sends it on unseen"
    )
