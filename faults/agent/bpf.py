"""A classic BPF program that drops a node's packets by their destination.

Classic BPF, not eBPF: a program is a few eight-byte instructions that travel inside one netlink
message, so the agent needs neither the `bpf` system call nor a compiler, and every kernel that
has `clsact` runs it. The accumulator A is loaded from the packet and compared; the value returned
is what `tc` does with the packet.

    v4  A = the packet's protocol; IPv4?
        A = destination;  == peer?  then drop (or toss a coin, and drop)   ... for each peer
    v6  the same with four words; but neighbour discovery passes
        anything else (ARP, for one) passes

ARP and IPv6 neighbour discovery must pass: a one-way cut that also cut the *answers* to "who has
this address" would, once the cache has expired, cut the other direction as well.

A drop "steals" the packet (TC_ACT_STOLEN): the sending stack believes that it has left. After the
usual TC_ACT_SHOT the stack knows that its own host dropped it: a datagram socket with IP_RECVERR
gets ENOBUFS, and TCP sends again every half second instead of backing off, so that connections
recover sooner after a partition than they would from a cut cable (tried: 0.3 s instead of 1.7 s
after a cut of 5 s).

Loads are relative to the network header (SKF_NET_OFF), so the link layer does not matter.
The special offsets are from linux/filter.h; the program's own form from linux/bpf_common.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from typing import NamedTuple

from faults.agent.errors import BadRequest


class Instruction(NamedTuple):
    """`struct sock_filter`: jumps are relative to the next instruction."""

    code: int
    jump_true: int
    jump_false: int
    k: int


LOAD_WORD, LOAD_BYTE = 0x20, 0x30  # BPF_LD|BPF_W|BPF_ABS, BPF_LD|BPF_B|BPF_ABS
JUMP, JUMP_EQUAL, JUMP_AT_LEAST = 0x05, 0x15, 0x35
RETURN = 0x06

NETWORK = 0xFFF0_0000  # SKF_NET_OFF: offsets from the network header
PROTOCOL = 0xFFFF_F000  # SKF_AD_OFF + SKF_AD_PROTOCOL
RANDOM = 0xFFFF_F000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM: 32 fresh random bits

PASS = 0xFFFF_FFFF  # TC_ACT_UNSPEC: the next filter decides; without one the packet passes
DROP = 4  # TC_ACT_STOLEN

IPV4, IPV6 = 0x0800, 0x86DD
ICMPV6 = 58
NEIGHBOUR_DISCOVERY = (133, 138)  # types 133..137
LENGTH_MAX = 4096  # BPF_MAXINSNS

PASSES_ALL = (Instruction(RETURN, 0, 0, PASS),)


def drop_program(loss: Mapping[str, float]) -> tuple[Instruction, ...]:
    """The program that drops packets to each address with its probability (1.0: always).

    Raises BadRequest for what is no address, no probability, or more than fits a program.
    """
    four: list[Instruction] = []
    six: list[Instruction] = []
    for text, probability in loss.items():
        address = _packed(text)
        if len(address) == 4:
            four += _match_v4(address, _drop(text, probability))
        else:
            six += _match_v6(address, _drop(text, probability))
    if not four and not six:
        return PASSES_ALL
    four = [Instruction(LOAD_WORD, 0, 0, NETWORK + 16), *four, Instruction(RETURN, 0, 0, PASS)]
    program = (
        Instruction(LOAD_WORD, 0, 0, PROTOCOL),
        Instruction(JUMP_EQUAL, 1, 0, IPV4),
        Instruction(JUMP, 0, 0, len(four)),
        *four,
        Instruction(JUMP_EQUAL, 1, 0, IPV6),
        Instruction(RETURN, 0, 0, PASS),
        *_pass_neighbour_discovery(),
        *six,
        Instruction(RETURN, 0, 0, PASS),
    )
    if len(program) > LENGTH_MAX:
        raise BadRequest(
            f"{len(loss)} peers need {len(program)} BPF instructions; {LENGTH_MAX} is the most",
            "cut fewer peers",
        )
    return program


def encode(program: tuple[Instruction, ...]) -> bytes:
    """The program as the kernel wants it."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _packed(text: str) -> bytes:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        return socket.inet_pton(family, text)
    except (OSError, TypeError):
        raise BadRequest(
            f"{text!r} is no IP address", "name peers by address, not by host name"
        ) from None


def _drop(address: str, probability: float) -> list[Instruction]:
    """Ends the program: drops the packet with this probability, else passes it."""
    if not 0 < probability <= 1:
        raise BadRequest(f"loss to {address} is {probability}", "give more than 0, at most 1")
    threshold = round(probability * 2**32)
    if threshold >= 2**32:
        return [Instruction(RETURN, 0, 0, DROP)]
    return [
        Instruction(LOAD_WORD, 0, 0, RANDOM),
        Instruction(JUMP_AT_LEAST, 0, 1, max(threshold, 1)),
        Instruction(RETURN, 0, 0, PASS),
        Instruction(RETURN, 0, 0, DROP),
    ]


def _match_v4(address: bytes, then: list[Instruction]) -> list[Instruction]:
    """A holds the destination, and still does after a mismatch."""
    return [Instruction(JUMP_EQUAL, 0, len(then), int.from_bytes(address, "big")), *then]


def _match_v6(address: bytes, then: list[Instruction]) -> list[Instruction]:
    words = struct.unpack(">4I", address)
    block: list[Instruction] = []
    for i, word in enumerate(words):
        rest = 2 * (len(words) - 1 - i) + len(then)  # a mismatch skips what is left of the block
        block += [
            Instruction(LOAD_WORD, 0, 0, NETWORK + 24 + 4 * i),
            Instruction(JUMP_EQUAL, 0, rest, word),
        ]
    return block + then


def _pass_neighbour_discovery() -> list[Instruction]:
    first, end = NEIGHBOUR_DISCOVERY
    return [
        Instruction(LOAD_BYTE, 0, 0, NETWORK + 6),
        Instruction(JUMP_EQUAL, 0, 4, ICMPV6),
        Instruction(LOAD_BYTE, 0, 0, NETWORK + 40),
        Instruction(JUMP_AT_LEAST, 0, 2, first),
        Instruction(JUMP_AT_LEAST, 1, 0, end),
        Instruction(RETURN, 0, 0, PASS),
    ]
