"""Datagrams of a measurement are recognized although a bit of them is wrong."""

from __future__ import annotations

import random
import socket
import struct

import pytest

from faults.agent.damaged import Recognizer
from faults.agent.measure import _key

PORT, MARK, KEY = 7800, b"m" * 16, b"k" * 32
SOURCES = {4: ["10.0.0.1", "10.0.0.2"], 6: ["fd98::1", "fd98::2"]}


def frame(version: int, sender: int, number: int) -> bytes:
    """A datagram of the round over Ethernet."""
    hardware = bytes(6) + bytes([2, 0, 0, 0, 0, sender])
    source = SOURCES[version][sender]
    if version == 4:
        ip = b"\x08\x00" + bytes(12) + socket.inet_pton(socket.AF_INET, source) + bytes(4)
    else:
        ip = b"\x86\xdd" + bytes(8) + socket.inet_pton(socket.AF_INET6, source) + bytes(16)
    udp = struct.pack(">HHHH", 1, PORT, 0, 0)
    return hardware + ip + udp + MARK + KEY + struct.pack("=IQI", number, 0, number)


@pytest.mark.parametrize("version", [4, 6])
def test_every_flipped_bit_leaves_a_datagram_recognizable(version: int) -> None:
    addresses = SOURCES[version]
    captured = Recognizer(PORT, MARK, KEY, addresses)
    for sender in (0, 1):
        captured.note(frame(version, sender, 1_000))
    whole = frame(version, 0, 7)
    for at in range(14 * 8, len(whole) * 8):  # all after the header of Ethernet
        captured.numbers[addresses[0]].clear()
        changed = bytearray(whole)
        changed[at // 8] ^= 1 << at % 8
        captured.note(bytes(changed))
        assert 7 in captured.numbers[addresses[0]], f"bit {at % 8} of byte {at // 8}"
    assert captured.numbers[addresses[1]] == {1_000}


def test_other_packets_are_not_counted() -> None:
    captured = Recognizer(PORT, MARK, KEY, SOURCES[4])
    rng = random.Random(1)
    for size in range(200):
        captured.note(rng.randbytes(size))
    captured.note(frame(4, 0, 7).replace(KEY, b"o" * 32))
    captured.note(frame(4, 0, 7).replace(MARK, b"x" * 16))
    assert captured.numbers == {}


def test_datagrams_of_another_round_are_told_apart_by_many_bits() -> None:
    """Late ones are not damaged ones of this round."""
    first, second = (int.from_bytes(_key(nonce)) for nonce in ("m6", "m7"))
    assert (first ^ second).bit_count() > 8
