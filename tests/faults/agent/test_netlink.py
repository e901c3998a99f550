"""Netlink messages as bytes, and the kernel's answers read."""

from __future__ import annotations

import errno
import os
import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from faults.agent import netlink, tc
from faults.agent.bpf import PASSES_ALL, drop_program, encode
from faults.agent.netlink import Answer, Interface, attributes, parse_answer


@given(st.integers(0, 0x3FFF), st.binary(max_size=200))
def test_attributes_are_padded_to_four_bytes(kind: int, value: bytes) -> None:
    data = netlink.attribute(kind, value)
    assert len(data) % 4 == 0
    assert attributes(data) == {kind: value}


def test_the_filter_is_attached_with_the_program_in_direct_action_mode() -> None:
    program = drop_program({"10.0.0.3": 1.0, "fd00::1": 0.5})
    message = tc.set_drop_filter(7, tc.EGRESS, program)
    family, interface, handle, parent, info = struct.unpack_from("=BxxxiIII", message.body)
    assert (family, interface, handle, parent) == (0, 7, 1, 0xFFFF_FFF3)
    assert info >> 16 == tc.DROP_PRIORITY
    assert info & 0xFFFF == int.from_bytes(b"\x00\x03", "little" if _little() else "big")
    outer = attributes(message.body[20:])
    assert outer[tc.TCA_KIND] == b"bpf\0"
    options = attributes(outer[tc.TCA_OPTIONS])
    assert options[tc.TCA_BPF_OPS] == encode(program)
    assert struct.unpack("=H", options[tc.TCA_BPF_OPS_LEN]) == (len(program),)
    assert struct.unpack("=I", options[tc.TCA_BPF_FLAGS]) == (1,)
    assert message.flags & netlink.NLM_F_REPLACE and not message.flags & netlink.NLM_F_EXCL


def test_the_qdisc_is_created_once() -> None:
    message = tc.add_clsact(3)
    assert message.flags & netlink.NLM_F_EXCL
    assert attributes(message.body[20:])[tc.TCA_KIND] == b"clsact\0"


def test_an_interface_is_read() -> None:
    body = struct.pack("=BxHiII", 0, netlink.ARPHRD_ETHER, 7, netlink.IFF_UP, 0)
    body += netlink.attribute(netlink.IFLA_IFNAME, b"eth0\0")
    body += netlink.attribute(netlink.IFLA_MTU, struct.pack("=I", 1500))
    body += netlink.attribute(netlink.IFLA_ADDRESS, bytes.fromhex("0242ac110002"))
    body += netlink.attribute(netlink.IFLA_STATS64, struct.pack("=8Q", 0, 0, 0, 0, 0, 0, 0, 9))
    wanted = Interface(7, "eth0", True, False, "02:42:ac:11:00:02", 1500, 9)
    assert netlink.parse_interface(body) == wanted


def test_an_address_is_read() -> None:
    body = struct.pack("=BBBBi", socket.AF_INET6, 64, 0, 0, 7)
    body += netlink.attribute(netlink.IFA_ADDRESS, socket.inet_pton(socket.AF_INET6, "fd00::5"))
    assert netlink.parse_address(body) == netlink.Address(7, "fd00::5", 64)


def _little() -> bool:
    return struct.pack("=H", 1) == b"\1\0"


def answer(sequence: int, code: int, text: str = "", *, capped: bool = True) -> bytes:
    """An NLMSG_ERROR as the kernel writes it: the code, the request's header, its error text."""
    request = struct.pack("=IHHII", 24, 44, 5, sequence, 0) + (b"" if capped else bytes(8))
    flags = netlink.NLM_F_CAPPED * capped
    words = b""
    if text:
        flags |= netlink.NLM_F_ACK_TLVS
        words = netlink.attribute(3, b"\0\0\0\0") + netlink.attribute(1, text.encode() + b"\0")
    body = struct.pack("=i", -code) + request + words
    return struct.pack("=IHHII", 16 + len(body), netlink.NLMSG_ERROR, flags, sequence, 0) + body


def test_an_acknowledgement_is_found_among_others() -> None:
    data = answer(4, errno.EEXIST) + answer(5, 0)
    assert parse_answer(data, 5) == Answer(0, "")
    assert parse_answer(data, 4) == Answer(errno.EEXIST, "")
    assert parse_answer(data, 6) is None
    assert parse_answer(b"", 6) is None


def test_the_kernels_error_text_is_kept() -> None:
    for capped in (True, False):
        data = answer(5, errno.EINVAL, "Specified qdisc not found", capped=capped)
        assert parse_answer(data, 5) == Answer(errno.EINVAL, "Specified qdisc not found")


@given(st.binary(max_size=120))
def test_no_bytes_block_or_break_the_reader(data: bytes) -> None:
    try:
        parse_answer(data, 5)
    except struct.error:
        assert len(data) >= 16  # cut off in the middle of an answer


def test_a_program_that_passes_everything_is_not_attached() -> None:
    assert len(encode(PASSES_ALL)) == 8
    assert os.strerror(errno.EPERM) in str(
        netlink.NetlinkError(errno.EPERM, "Operation not permitted")
    )
