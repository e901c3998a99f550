"""The filter's program, run by a small interpreter against packets made here."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.agent import bpf
from faults.agent.bpf import (
    ANY_OTHER,
    DROP,
    NO_MATCH,
    PASS,
    Instruction,
    class_program,
    drop_program,
    receive_program,
)
from faults.agent.errors import BadRequest

ARP = bpf.ARP
SIZES = {bpf.LOAD_WORD: 4, bpf.LOAD_HALF: 2, bpf.LOAD_BYTE: 1}
BROADCAST, MULTICAST = 1, 2
NEIGHBOUR_SOLICITATION, ECHO = 135, 128
ADDRESSES_V4 = st.ip_addresses(v=4).map(str)
ADDRESSES_V6 = st.ip_addresses(v=6).filter(lambda a: not a.ipv4_mapped).map(lambda a: a.exploded)
ADDRESSES = st.one_of(ADDRESSES_V4, ADDRESSES_V6)


def run(
    program: tuple[Instruction, ...],
    protocol: int,
    network: bytes,
    coins: Iterator[int] | None = None,
    *,
    hardware: bytes = bytes(14),
    packet_type: int = 0,
) -> int:
    """What the kernel's interpreter would return: `network` is the packet from its IP header on,
    `hardware` its Ethernet header.

    Like the kernel, it refuses jumps out of the program, and ends with 0 on a load from outside.
    """
    a, at = 0, 0
    for _ in range(len(program)):
        code, jump_true, jump_false, k = program[at]
        at += 1
        if code in SIZES:
            size = SIZES[code]
            area, offset = (
                (network, k - bpf.NETWORK) if k >= bpf.NETWORK else (hardware, k - bpf.HARDWARE)
            )
            if k == bpf.PROTOCOL:
                a = protocol
            elif k == bpf.RANDOM:
                assert coins is not None
                a = next(coins)
            elif k == bpf.PACKET_TYPE:
                a = packet_type
            elif offset + size > len(area):
                return 0
            else:
                a = int.from_bytes(area[offset : offset + size], "big")
        elif code == bpf.JUMP:
            at += k
        elif code == bpf.JUMP_EQUAL:
            at += jump_true if a == k else jump_false
        elif code == bpf.JUMP_AT_LEAST:
            at += jump_true if a >= k else jump_false
        else:
            assert code == bpf.RETURN
            return k
        assert at < len(program)
    raise AssertionError("a loop")


def packet(address: str, next_header: int = 17, kind: int = 0) -> tuple[int, bytes]:
    """Protocol and bytes of a packet to this address."""
    if ":" in address:
        packed = socket.inet_pton(socket.AF_INET6, address)
        head = struct.pack(">IHBB16s", 6 << 28, 8, next_header, 64, bytes(16)) + packed
        return bpf.IPV6, head + bytes([kind]) + bytes(7)
    packed = socket.inet_pton(socket.AF_INET, address)
    return bpf.IPV4, b"\x45" + bytes(15) + packed + bytes(8)


def fate(program: tuple[Instruction, ...], address: str, coin: int = 0) -> int:
    return run(program, *packet(address), iter([coin]))


@given(st.sets(ADDRESSES, max_size=40), st.sets(ADDRESSES, max_size=10))
def test_exactly_the_named_peers_are_cut(cut: set[str], others: set[str]) -> None:
    program = drop_program(dict.fromkeys(sorted(cut), 1.0))
    assert all(fate(program, address) == DROP for address in cut)
    assert all(fate(program, address) == PASS for address in others - cut)


@given(ADDRESSES_V4, ADDRESSES_V4)
def test_an_ipv4_mapped_address_is_the_ipv4_address(a: str, b: str) -> None:
    """A program with one socket for both families sends IPv4 packets to it."""
    program = drop_program({f"::ffff:{a}": 1.0})
    assert fate(program, a) == DROP
    assert fate(program, b) == (DROP if a == b else PASS)


@given(ADDRESSES, st.floats(1e-9, 1, exclude_min=True), st.integers(0, 2**32 - 1))
def test_loss_drops_below_its_share_of_the_random_word(a: str, p: float, coin: int) -> None:
    expected = DROP if coin < max(1, round(p * 2**32)) else PASS
    assert fate(drop_program({a: p}), a, coin) == expected


@given(st.sets(ADDRESSES, min_size=2, max_size=6), st.integers(0, 2**32 - 1))
def test_every_peer_has_its_own_loss(addresses: set[str], coin: int) -> None:
    shares = {a: (i + 1) / len(addresses) for i, a in enumerate(sorted(addresses))}
    program = drop_program(shares)
    for address, share in shares.items():
        assert (fate(program, address, coin) == DROP) == (coin < round(share * 2**32))


def received(address: str, next_header: int = 17, kind: int = 0) -> tuple[int, bytes]:
    """Protocol and bytes of a packet *from* this address, to any destination."""
    if ":" in address:
        source = socket.inet_pton(socket.AF_INET6, address)
        head = struct.pack(">IHBB", 6 << 28, 8, next_header, 64) + source + bytes(16)
        return bpf.IPV6, head + bytes([kind]) + bytes(7)
    return bpf.IPV4, b"\x45" + bytes(11) + socket.inet_aton(address) + bytes(12)


def arp_from(address: str) -> bytes:
    return bytes(14) + socket.inet_aton(address) + bytes(10)


@given(st.sets(ADDRESSES, max_size=20), st.sets(ADDRESSES, max_size=10), st.integers(0, 2))
def test_all_that_comes_from_a_cut_peer_is_dropped(
    cut: set[str], others: set[str], packet_type: int
) -> None:
    program = receive_program(dict.fromkeys(sorted(cut), 1.0))
    for address in cut | others:
        wanted = DROP if address in cut else PASS
        assert run(program, *received(address), packet_type=packet_type) == wanted


@given(ADDRESSES, st.floats(1e-6, 0.999), st.integers(0, 2**32 - 1))
def test_from_a_lossy_peer_only_broadcast_and_multicast_are_lost_here(
    address: str, share: float, coin: int
) -> None:
    """Unicast packets to this host were subject to loss at the sender already."""
    program = receive_program({address: share})
    lost = DROP if coin < max(1, round(share * 2**32)) else PASS
    for packet_type, wanted in ((0, PASS), (BROADCAST, lost), (MULTICAST, lost)):
        assert run(program, *received(address), iter([coin]), packet_type=packet_type) == wanted


def test_address_resolution_is_cut_for_named_peers_only() -> None:
    cut = ["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"]
    program = receive_program(dict.fromkeys(cut, 1.0), ["10.0.0.1", "fd00::1"])
    solicitation = (bpf.ICMPV6, NEIGHBOUR_SOLICITATION)
    assert run(program, ARP, arp_from("10.0.0.1")) == DROP
    assert run(program, ARP, arp_from("10.0.0.2")) == PASS
    assert run(program, *received("fd00::1", *solicitation)) == DROP
    assert run(program, *received("fd00::2", *solicitation)) == PASS
    assert run(program, *received("fd00::2", bpf.ICMPV6, ECHO)) == DROP


@given(st.binary(min_size=6, max_size=6), st.binary(min_size=6, max_size=6), ADDRESSES)
def test_a_hardware_address_covers_every_protocol_but_address_resolution(
    peer: bytes, other: bytes, address: str
) -> None:
    name = peer.hex(":")
    out, into = drop_program({name: 1.0}), receive_program({name: 1.0})
    for hardware in (peer, other):
        wanted = DROP if hardware == peer else PASS
        to, come = hardware + bytes(8), bytes(6) + hardware + bytes(2)
        for protocol, data in (packet(address), (0x88CC, b"")):
            assert run(out, protocol, data, hardware=to) == wanted
            assert run(into, protocol, data, hardware=come) == wanted
        assert run(out, ARP, bytes(28), hardware=to) == PASS


@given(st.dictionaries(ADDRESSES, st.integers(1, 2**32 - 1), max_size=20), ADDRESSES)
def test_each_destination_has_its_class(classes: dict[str, int], other: str) -> None:
    program = class_program(classes)
    for address in {*classes, other}:
        assert fate(program, address) == classes.get(address, NO_MATCH)
    assert run(program, ARP, bytes(28)) == NO_MATCH


@given(st.dictionaries(ADDRESSES, st.integers(1, 9), max_size=5), ADDRESSES)
def test_the_class_of_all_others(classes: dict[str, int], other: str) -> None:
    program = class_program(classes | {ANY_OTHER: 77})
    assert fate(program, other) == classes.get(other, 77)
    assert run(program, ARP, bytes(28)) == NO_MATCH
    solicitation = packet("fd00::77", bpf.ICMPV6, NEIGHBOUR_SOLICITATION)
    assert run(program, *solicitation) == NO_MATCH


@given(st.sets(ADDRESSES, max_size=5), st.binary(max_size=60))
def test_arp_and_other_protocols_pass_whatever_they_contain(cut: set[str], data: bytes) -> None:
    program = drop_program(dict.fromkeys(sorted(cut), 1.0))
    assert run(program, ARP, data) == PASS
    assert run(program, 0x88CC, data) == PASS


@given(ADDRESSES_V6, st.integers(0, 255))
def test_neighbour_discovery_passes_and_other_icmp_does_not(address: str, kind: int) -> None:
    program = drop_program({address: 1.0})
    result = run(program, *packet(address, bpf.ICMPV6, kind))
    assert result == (PASS if 133 <= kind <= 137 else DROP)
    assert run(program, *packet(address, 17, kind)) == DROP


@given(st.binary(max_size=39))
def test_a_cut_off_packet_is_never_dropped(data: bytes) -> None:
    program = drop_program({"10.0.0.1": 1.0, "fd00::1": 1.0})
    assert run(program, bpf.IPV6, data) in (0, PASS)
    assert run(program, bpf.IPV4, data[:19]) in (0, PASS)


def test_nothing_to_drop_is_one_instruction() -> None:
    assert drop_program({}) == bpf.PASSES_ALL
    assert run(bpf.PASSES_ALL, bpf.IPV4, b"") == PASS


@pytest.mark.parametrize("peers", [300, 1_900])
def test_jumps_reach_over_many_peers(peers: int) -> None:
    """Conditional jumps are one byte; the way around the IPv4 part is not."""
    many = {f"10.{i >> 8}.{i & 255}.1": 1.0 for i in range(peers)} | {"fd00::1": 1.0}
    program = drop_program(many)
    assert fate(program, "fd00::1") == DROP
    assert fate(program, f"10.{(peers - 1) >> 8}.{(peers - 1) & 255}.1") == DROP
    assert fate(program, "fd00::2") == PASS
    assert all(0 <= i.jump_true < 256 and 0 <= i.jump_false < 256 for i in program)


def test_the_encoding_is_the_kernels() -> None:
    assert bpf.encode((Instruction(0x15, 1, 2, 0x0A000001),)) == bytes.fromhex("150001020100000a")


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ({"n2": 1.0}, "'n2' is not an IP address"),
        ({"10.0.0.256": 1.0}, "not an IP address"),
        ({"10.0.0.1": 0.0}, "loss to 10.0.0.1 is 0.0"),
        ({"10.0.0.1": 1.5}, "loss to 10.0.0.1 is 1.5"),
        ({f"10.{i >> 8}.{i & 255}.1": 1.0 for i in range(2_100)}, "4096 is the most"),
    ],
)
def test_invalid_input_is_refused(loss: dict[str, float], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        drop_program(loss)


@given(ADDRESSES_V4, ADDRESSES_V4)
def test_all_other_addresses_can_be_named_and_address_resolution_passes(a: str, b: str) -> None:
    all_sent, all_received = drop_program({ANY_OTHER: 1.0}), receive_program({ANY_OTHER: 1.0})
    for program, side in ((all_sent, 16), (all_received, 12)):
        packet = bytearray(40)
        packet[side : side + 4] = socket.inet_aton(a)
        assert run(program, bpf.IPV4, bytes(packet)) == DROP
        assert run(program, ARP, bytes(packet)) == PASS
    named = drop_program({a: 1.0}) if a != b else drop_program({})
    packet = bytearray(40)
    packet[16:20] = socket.inet_aton(b)
    assert run(named, bpf.IPV4, bytes(packet)) == PASS
    half = drop_program({a: 1.0, ANY_OTHER: 0.5})
    packet[16:20] = socket.inet_aton(a)
    assert run(half, bpf.IPV4, bytes(packet), iter(())) == DROP
