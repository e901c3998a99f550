"""Netlink messages as bytes, and the kernel's answers read."""

from __future__ import annotations

import errno
import os
import struct

from hypothesis import given
from hypothesis import strategies as st

from faults.agent import netlink
from faults.agent.bpf import PASSES_ALL, drop_program, encode
from faults.agent.netlink import Answer, parse_answer


def attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while data:
        length, kind = struct.unpack_from("=HH", data)
        assert length >= 4
        found[kind] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


@given(st.integers(0, 0xFFFF), st.binary(max_size=200))
def test_attributes_are_padded_to_four_bytes(kind: int, value: bytes) -> None:
    data = netlink.attribute(kind, value)
    assert len(data) % 4 == 0
    assert attributes(data) == {kind: value}


def test_the_filter_hangs_at_egress_with_the_program_in_direct_action_mode() -> None:
    program = drop_program({"10.0.0.3": 1.0, "fd00::1": 0.5})
    message = netlink.set_egress_filter(7, program)
    family, interface, handle, parent, info = struct.unpack_from("=BxxxiIII", message.body)
    assert (family, interface, handle, parent) == (0, 7, 1, 0xFFFF_FFF3)
    assert info >> 16 == netlink.PRIORITY
    assert info & 0xFFFF == int.from_bytes(b"\x00\x03", "little" if _little() else "big")
    outer = attributes(message.body[20:])
    assert outer[netlink.TCA_KIND] == b"bpf\0"
    options = attributes(outer[netlink.TCA_OPTIONS])
    assert options[netlink.TCA_BPF_OPS] == encode(program)
    assert struct.unpack("=H", options[netlink.TCA_BPF_OPS_LEN]) == (len(program),)
    assert struct.unpack("=I", options[netlink.TCA_BPF_FLAGS]) == (1,)
    assert message.flags & netlink.NLM_F_REPLACE and not message.flags & netlink.NLM_F_EXCL


def test_the_qdisc_is_made_once() -> None:
    message = netlink.add_clsact(3)
    assert message.flags & netlink.NLM_F_EXCL
    assert attributes(message.body[20:])[netlink.TCA_KIND] == b"clsact\0"


def _little() -> bool:
    return struct.pack("=H", 1) == b"\1\0"


def answer(sequence: int, code: int, text: str = "", *, capped: bool = True) -> bytes:
    """An NLMSG_ERROR as the kernel writes it: the code, the request's header, its own words."""
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


def test_the_kernels_own_words_are_kept() -> None:
    for capped in (True, False):
        data = answer(5, errno.EINVAL, "Specified qdisc not found", capped=capped)
        assert parse_answer(data, 5) == Answer(errno.EINVAL, "Specified qdisc not found")


@given(st.binary(max_size=120))
def test_no_bytes_hang_or_break_the_reader(data: bytes) -> None:
    try:
        parse_answer(data, 5)
    except struct.error:
        assert len(data) >= 16  # cut off in the middle of an answer


def test_a_program_that_passes_all_is_as_good_as_none() -> None:
    assert len(encode(PASSES_ALL)) == 8
    assert os.strerror(errno.EPERM) in str(
        netlink.NetlinkError(errno.EPERM, "Operation not permitted")
    )
