"""The filter's program, run by a small interpreter against packets made here."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.agent import bpf
from faults.agent.bpf import DROP, PASS, Instruction, drop_program
from faults.agent.errors import BadRequest

ARP = 0x0806
NEIGHBOUR_SOLICITATION, ECHO = 135, 128
ADDRESSES_V4 = st.ip_addresses(v=4).map(str)
ADDRESSES_V6 = st.ip_addresses(v=6).map(lambda a: a.exploded)
ADDRESSES = st.one_of(ADDRESSES_V4, ADDRESSES_V6)


def run(
    program: tuple[Instruction, ...],
    protocol: int,
    network: bytes,
    coins: Iterator[int] | None = None,
) -> int:
    """What the kernel's interpreter would return: `network` is the packet from its IP header on.

    Like the kernel, it refuses jumps out of the program, and ends with 0 on a load from outside.
    """
    a, at = 0, 0
    for _ in range(len(program)):
        code, jump_true, jump_false, k = program[at]
        at += 1
        if code in (bpf.LOAD_WORD, bpf.LOAD_BYTE):
            size = 4 if code == bpf.LOAD_WORD else 1
            offset = k - bpf.NETWORK
            if k == bpf.PROTOCOL:
                a = protocol
            elif k == bpf.RANDOM:
                assert coins is not None
                a = next(coins)
            elif offset + size > len(network):
                return 0
            else:
                a = int.from_bytes(network[offset : offset + size], "big")
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


@given(st.sets(ADDRESSES, max_size=5), st.binary(max_size=60))
def test_arp_and_other_protocols_pass_whatever_they_hold(cut: set[str], data: bytes) -> None:
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
        ({"n2": 1.0}, "'n2' is no IP address"),
        ({"10.0.0.256": 1.0}, "no IP address"),
        ({"10.0.0.1": 0.0}, "loss to 10.0.0.1 is 0.0"),
        ({"10.0.0.1": 1.5}, "loss to 10.0.0.1 is 1.5"),
        ({f"10.{i >> 8}.{i & 255}.1": 1.0 for i in range(2_100)}, "4096 is the most"),
    ],
)
def test_nonsense_is_refused(loss: dict[str, float], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        drop_program(loss)
