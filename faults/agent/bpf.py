"""Classic BPF programs that decide about packets by their source or destination.

Classic BPF, not eBPF: a program is a few eight-byte instructions that travel inside one netlink
message, so the agent needs neither the `bpf` system call nor a compiler, and every kernel that
has `clsact` runs it. The accumulator A is loaded from the packet and compared; the value returned
is what `tc` does with the packet.

    head   A = the packet's protocol; goes to one of the sections below
    four   A = IPv4 address;        == peer?  then its action               ... for each peer
    six    the same with four words; neighbour discovery has rules of its own
    arp    passes, unless the sender is a peer whose address resolution is cut as well
    mac    what no rule above has matched, whatever its protocol, by hardware address

Two programs make a cut of a directed link: the sender's egress drops by destination, and the
receiver's ingress drops by source. The second one is what cuts broadcast and multicast, which have
many receivers and so cannot be dropped at the sender.

By default ARP and IPv6 neighbour discovery pass: a one-way cut that also cut the *answers* to "who
has this address" would, once the cache has expired, cut the other direction as well.

A drop "steals" the packet (TC_ACT_STOLEN): to the sending stack it has left the
host. The usual TC_ACT_SHOT reports the drop to the stack: a datagram socket with IP_RECVERR
gets ENOBUFS, and TCP sends again every half second instead of backing off, so that connections
recover sooner after a partition than they would from a cut cable (measured: 0.3 s instead of 1.7 s
after a cut of 5 s).

Loads are relative to the network header (SKF_NET_OFF), so the link layer does not matter.
The special offsets are from linux/filter.h; the program's own form from linux/bpf_common.h.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from faults.agent.errors import BadRequest


class Instruction(NamedTuple):
    """`struct sock_filter`: jumps are relative to the next instruction."""

    code: int
    jump_true: int
    jump_false: int
    k: int


Program: TypeAlias = tuple[Instruction, ...]
Code: TypeAlias = list[Instruction]

LOAD_WORD, LOAD_HALF, LOAD_BYTE = 0x20, 0x28, 0x30  # BPF_LD|BPF_ABS and the size
JUMP, JUMP_EQUAL, JUMP_AT_LEAST = 0x05, 0x15, 0x35
RETURN = 0x06

NETWORK = 0xFFF0_0000  # SKF_NET_OFF: offsets from the network header
HARDWARE = 0xFFE0_0000  # SKF_LL_OFF: offsets from the link-layer header
PROTOCOL = 0xFFFF_F000  # SKF_AD_OFF + SKF_AD_PROTOCOL
PACKET_TYPE = 0xFFFF_F000 + 4  # SKF_AD_OFF + SKF_AD_PKTTYPE
RANDOM = 0xFFFF_F000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM: 32 fresh random bits

PASS = 0xFFFF_FFFF  # TC_ACT_UNSPEC: the next filter decides; without one the packet passes
DROP = 4  # TC_ACT_STOLEN
NO_MATCH, MATCH = 0, 0xFFFF_FFFF  # of a classifier that is not in direct-action mode

IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
ICMPV6 = 58
ARP_SENDER = 14  # where the sender's IPv4 address is in an ARP packet
TO_THIS_HOST = 0  # PACKET_HOST: neither broadcast nor multicast
NEIGHBOUR_DISCOVERY = (133, 138)  # types 133..137
LENGTH_MAX = 4096  # BPF_MAXINSNS
MAPPED: Final = bytes(10) + b"\xff\xff"
"""How an IPv6 address begins that stands for an IPv4 address."""
ANY_OTHER: Final = "*"
"""Used in place of an address: every destination that is not named."""

PASSES_ALL: Final[Program] = (Instruction(RETURN, 0, 0, PASS),)
MATCHES_NONE: Final[Program] = (Instruction(RETURN, 0, 0, NO_MATCH),)


class Side(Enum):
    """Which address of a packet is compared: its offsets in the IPv4, IPv6 and Ethernet headers."""

    SOURCE = (12, 8, 6)
    DESTINATION = (16, 24, 0)


def drop_program(loss: Mapping[str, float]) -> Program:
    """The program that drops packets to each address with its probability (1.0: always).

    For the egress. Addresses are IPv4, IPv6, or hardware addresses such as 02:42:ac:11:00:02;
    ANY_OTHER stands for all IP addresses that are not named.
    Raises BadRequest for an invalid address or probability, and for more peers than fit a program.
    """
    actions = {address: _drop(address, share) for address, share in loss.items()}
    rest = actions.pop(ANY_OTHER, None)
    return _by_address(Side.DESTINATION, actions, PASS, rest=rest)


def receive_program(
    loss: Mapping[str, float],
    silent: Collection[str] = (),
    alone: Mapping[str, float] | None = None,
) -> Program:
    """The program for the ingress, by source address.

    With probability 1 all that comes from the address is dropped; with less, only broadcast and
    multicast are: unicast packets to this host were subject to loss at the sender already. Address
    resolution by the sources in `silent` is dropped too. `alone` are senders without an agent: a
    share of everything from them is lost here. Raises BadRequest.
    """
    actions = {address: _drop(address, share) for address, share in (alone or {}).items()}
    actions |= {
        address: _drop(address, share)
        if share >= 1
        else [
            Instruction(LOAD_WORD, 0, 0, PACKET_TYPE),
            Instruction(JUMP_EQUAL, 0, 1, TO_THIS_HOST),
            Instruction(RETURN, 0, 0, PASS),
            *_drop(address, share),
        ]
        for address, share in loss.items()
    }
    rest = actions.pop(ANY_OTHER, None)
    return _by_address(Side.SOURCE, actions, PASS, silent, rest)


def class_program(classes: Mapping[str, int]) -> Program:
    """The classifier that gives each destination its class; ANY_OTHER stands for all others.

    Address resolution belongs to no class: it is never delayed. Raises BadRequest.
    """
    rest = [Instruction(RETURN, 0, 0, classes.get(ANY_OTHER, NO_MATCH))]
    actions = {
        address: [Instruction(RETURN, 0, 0, number)]
        for address, number in classes.items()
        if address != ANY_OTHER
    }
    if not classes:
        return MATCHES_NONE
    return _by_address(Side.DESTINATION, actions, NO_MATCH, rest=rest)


def encode(program: Program) -> bytes:
    """The program as the kernel wants it."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def packed(text: str) -> bytes:
    """4, 16 or 6 bytes: an IPv4, IPv6 or hardware address. Raises BadRequest.

    An IPv4-mapped address is the IPv4 address: packets to and from it are IPv4.
    """
    if isinstance(text, str) and re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", text):
        return bytes.fromhex(text.replace(":", ""))
    try:
        family = socket.AF_INET6 if ":" in text else socket.AF_INET
        found = socket.inet_pton(family, text)
    except (OSError, TypeError, ValueError):
        raise BadRequest(
            f"{text!r} is not an IP address", "name peers by address, not by host name"
        ) from None
    return found.removeprefix(MAPPED) if len(found) == 16 else found


def _by_address(
    side: Side,
    actions: Mapping[str, Code],
    default: int,
    silent: Collection[str] = (),
    rest: Code | None = None,
) -> Program:
    """`actions` end the program. `rest` is for IP packets to other addresses; else `default`."""
    if not actions and not silent and rest is None:
        return (Instruction(RETURN, 0, 0, default),)
    four, six, hardware = (_blocks(side, actions, size) for size in (4, 16, 6))
    drop = [Instruction(RETURN, 0, 0, DROP)]
    silenced = dict.fromkeys(silent, drop)
    last = [Instruction(RETURN, 0, 0, default)]
    discovery = [*_blocks(Side.SOURCE, silenced, 16), *last]
    arp = _blocks(Side.SOURCE, silenced, 4)
    if arp:
        arp = [Instruction(LOAD_WORD, 0, 0, NETWORK + ARP_SENDER), *arp]
    sections = {
        "four": [Instruction(LOAD_WORD, 0, 0, NETWORK + side.value[0]), *four],
        "six": [*_neighbour_discovery(discovery), *six],
        "arp": [*arp, *last],
        "mac": [*hardware, *last],
    }
    program = _join(sections, rest)
    if len(program) > LENGTH_MAX:
        raise BadRequest(
            f"{len(actions)} peers need {len(program)} BPF instructions; {LENGTH_MAX} is the most",
            "name fewer peers",
        )
    return program


def _join(sections: dict[str, Code], rest: Code | None) -> Program:
    """The head and the sections, in order. IP that matched nothing goes on to `rest`, or to "mac".

    Conditional jumps reach 255 instructions only, so they step over an unconditional one.
    """
    after_six = len(sections["arp"])
    after_four = 1 + len(sections["six"]) + after_six
    if rest is None:
        tail_four = [Instruction(JUMP, 0, 0, after_four)]
        tail_six = [Instruction(JUMP, 0, 0, after_six)]
    else:
        tail_four = tail_six = rest
    bodies = [
        [*sections["four"], *tail_four],
        [*sections["six"], *tail_six],
        sections["arp"],
        sections["mac"],
    ]
    head: Code = [Instruction(LOAD_WORD, 0, 0, PROTOCOL)]
    skipped = 0
    for i, protocol in enumerate((IPV4, IPV6, ARP)):
        to_come = 2 * (2 - i) + 1  # the rest of the head after this jump
        head += [
            Instruction(JUMP_EQUAL, 0, 1, protocol),
            Instruction(JUMP, 0, 0, to_come + skipped),
        ]
        skipped += len(bodies[i])
    head.append(Instruction(JUMP, 0, 0, skipped))
    return tuple(head + [one for body in bodies for one in body])


def _blocks(side: Side, actions: Mapping[str, Code], size: int) -> Code:
    """One block for each address of `size` bytes: compare, and on a match end with its action."""
    matchers: dict[int, Callable[[Side, bytes, Code], Code]] = {
        4: _match_v4,
        16: _match_v6,
        6: _match_hardware,
    }
    code: Code = []
    for text, action in actions.items():
        if len(address := packed(text)) == size:
            code += matchers[size](side, address, action)
    return code


def _drop(address: str, probability: float) -> Code:
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


def _match_v4(side: Side, address: bytes, then: Code) -> Code:
    """A holds the address, and still does after a mismatch."""
    return [Instruction(JUMP_EQUAL, 0, len(then), int.from_bytes(address, "big")), *then]


def _match_v6(side: Side, address: bytes, then: Code) -> Code:
    words = struct.unpack(">4I", address)
    block: Code = []
    for i, word in enumerate(words):
        rest = 2 * (len(words) - 1 - i) + len(then)  # a mismatch skips the rest of the block
        block += [
            Instruction(LOAD_WORD, 0, 0, NETWORK + side.value[1] + 4 * i),
            Instruction(JUMP_EQUAL, 0, rest, word),
        ]
    return block + then


def _match_hardware(side: Side, address: bytes, then: Code) -> Code:
    high, low = struct.unpack(">HI", address)
    return [
        Instruction(LOAD_HALF, 0, 0, HARDWARE + side.value[2]),
        Instruction(JUMP_EQUAL, 0, 2 + len(then), high),
        Instruction(LOAD_WORD, 0, 0, HARDWARE + side.value[2] + 2),
        Instruction(JUMP_EQUAL, 0, len(then), low),
        *then,
    ]


def _neighbour_discovery(decide: Code) -> Code:
    """Where the packet is one, `decide` (which ends the program); otherwise continues after it."""
    first, end = NEIGHBOUR_DISCOVERY
    over = len(decide)
    return [
        Instruction(LOAD_BYTE, 0, 0, NETWORK + 6),
        Instruction(JUMP_EQUAL, 1, 0, ICMPV6),
        Instruction(JUMP, 0, 0, over + 4),
        Instruction(LOAD_BYTE, 0, 0, NETWORK + 40),
        Instruction(JUMP_AT_LEAST, 0, 1, first),
        Instruction(JUMP_AT_LEAST, 0, 1, end),
        Instruction(JUMP, 0, 0, over),
        *decide,
    ]
