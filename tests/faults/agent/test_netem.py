"""The messages that set netem up, compared byte by byte with those of iproute2.

TC_* are the messages of `tc` of iproute2 6.1.0 on a 64-bit little-endian machine, recorded with
strace, from the family on, for the interface 3: the kernel accepts either. Ours differ as the
comments above them say.
"""

from __future__ import annotations

import errno
import struct
import sys
from collections.abc import Container, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.agent import netem, tc
from faults.agent.errors import Failed
from faults.agent.link_shape import DISTRIBUTIONS, SIGMA, Shape, table
from faults.agent.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Interface,
    Message,
    NetlinkError,
    attributes,
)
from faults.agent.synchronized_start import no_wait

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="little-endian bytes")

TC_ROOT = bytes.fromhex(  # tc qdisc add dev eth0 root handle a90d: htb default 0
    "000000000300000000000da9ffffffff00000000"
    "0800010068746200"
    "1c000200"
    "18000200030000000a000000000000000000000000000000"
)
TC_LEAF = bytes.fromhex(  # ... parent a90d:1 handle a90f: netem limit 20000 delay 50ms 5ms
    # corrupt 10% rate 8mbit
    "000000000300000000000fa901000da900000000"
    "0a0001006e6574656d000000"
    "3c000200"
    "c2eb0b00204e00000000000000000000000000002d310100"
    "0c0004009a99991900000000"
    "1400060040420f00000000000000000000000000"
)
TC_REORDER = bytes.fromhex(  # ... netem limit 20000 delay 5ms 5ms reorder 70% gap 1
    "000000000300000000000fa901000da900000000"
    "0a0001006e6574656d000000"
    "28000200"
    "2d310100204e00000000000001000000000000002d310100"
    "0c000300323333b300000000"
)
TC_FAST = bytes.fromhex("0c00080000e40b540200000014000600ffffffff000000000000000000000000")
"""Of `rate 80gbit`: its two attributes."""
QOPT = 24
HEAD = 20


def options_of(body: bytes) -> bytes:
    return attributes(body[HEAD:])[tc.TCA_OPTIONS]


def netem_of(body: bytes) -> tuple[bytes, dict[int, bytes]]:
    options = options_of(body)
    return options[:QOPT], attributes(options[QOPT:])


def test_the_root_message_is_that_of_tc() -> None:
    message = netem.add_root(3)
    assert message.body == TC_ROOT
    assert message.type == 36 and message.flags == NLM_F_CREATE | NLM_F_EXCL


def test_a_class_limits_nothing() -> None:
    message = netem.add_class(3, 1)
    assert message.type == 40
    assert struct.unpack_from("=BxxxiIII", message.body) == (0, 3, 0xA90D0001, 0xA90D0000, 0)
    said = attributes(options_of(message.body))
    parameters = said[netem.TCA_HTB_PARMS]
    assert len(parameters) == 44  # struct tc_htb_opt
    for at in (0, 12):  # rate and ceiling: of an Ethernet, 2^32 - 1 bytes a second
        assert struct.unpack_from("=BBHhHI", parameters, at) == (0, 1, 0, 0, 0, 0xFFFFFFFF)
    exact = struct.pack("=Q", 12_500_000_000)  # and tc's parameters for 100 Gbit/s
    assert said[netem.TCA_HTB_RATE64] == said[netem.TCA_HTB_CEIL64] == exact


def test_a_leaf_message_is_that_of_tc_with_exact_times() -> None:
    shape = Shape(delay_us=50_000, jitter_us=5_000, corrupt=0.1, rate_bps=8_000_000)
    message = netem.set_leaf(3, 1, shape)
    assert message.type == 36 and message.flags == NLM_F_CREATE | NLM_F_REPLACE
    assert message.body[: HEAD + 12] == TC_LEAF[: HEAD + 12]
    ours, tcs = netem_of(message.body), netem_of(TC_LEAF)
    assert ours[0] == tcs[0]
    assert tcs[1].items() <= ours[1].items()
    assert ours[1][netem.TCA_NETEM_LATENCY64] == struct.pack("=q", 50_000_000)
    assert ours[1][netem.TCA_NETEM_JITTER64] == struct.pack("=q", 5_000_000)
    uniform = struct.unpack("=4096h", ours[1][netem.TCA_NETEM_DELAY_DIST])
    assert uniform[0] == -uniform[-1] == -SIGMA + 2


def test_reordering_sends_the_rest_at_once() -> None:
    """30 % are held back evenly up to 10 ms: netem's `delay 5ms 5ms reorder 70% gap 1`."""
    ours = netem_of(netem.set_leaf(3, 1, Shape(reorder=0.3, reorder_us=10_000)).body)
    tcs = netem_of(TC_REORDER)
    assert ours[0] == tcs[0]
    assert tcs[1].items() <= ours[1].items()


def test_a_rate_beyond_32_bits() -> None:
    ours = netem_of(netem.set_leaf(3, 1, Shape(rate_bps=80_000_000_000)).body)[1]
    assert attributes(TC_FAST).items() <= ours.items()


@given(
    st.integers(0, 60_000_000),
    st.integers(0, 60_000_000),
    st.floats(0, 1),
    st.sampled_from(DISTRIBUTIONS),
)
def test_every_change_names_every_parameter(
    delay: int, jitter: int, corrupt: float, name: str
) -> None:
    """netem keeps parameters that a change leaves out: an earlier corruption, rate or table."""
    shape = Shape(delay_us=delay, jitter_us=jitter, corrupt=corrupt, distribution=name)
    said = netem_of(netem.set_leaf(3, 1, shape).body)[1]
    assert said[netem.TCA_NETEM_CORRUPT] == struct.pack("=II", round(corrupt * (2**32 - 1)), 0)
    assert said[netem.TCA_NETEM_RATE] == bytes(16)
    if jitter:
        packed = struct.pack("=4096h", *table(name))
        assert said[netem.TCA_NETEM_DELAY_DIST] == packed


def test_what_netem_cannot_do_beside_others() -> None:
    assert Shape(delay_us=5, jitter_us=5, corrupt=0.5, rate_bps=5_000).fits_netem
    assert Shape(reorder=0.5, reorder_us=5).fits_netem
    assert not Shape(reorder=0.5, reorder_us=5, delay_us=5).fits_netem
    assert not Shape(duplicate=0.5).fits_netem


def test_removing() -> None:
    assert netem.remove_class(3, 1).type == 41
    root = tc.remove_root(3, netem.ROOT)
    assert (root.type, root.flags) == (37, 0)
    assert struct.unpack_from("=BxxxiIII", root.body) == (0, 3, netem.ROOT, tc.TC_H_ROOT, 0)


class Kernel:
    """In place of a netlink socket: it keeps what it is asked for, and refuses the message of type
    `refused` for the interface `on`."""

    def __init__(self) -> None:
        self.asked: list[Message] = []
        self.refused, self.on = 0, 0

    def ask(self, message: Message) -> None:
        if (message.type, interface_of(message)) == (self.refused, self.on):
            raise NetlinkError(errno.ENOMEM, "refused")
        self.asked.append(message)

    def ask_quietly(self, message: Message, *_: int) -> None:
        self.ask(message)

    def types(self, interface: int) -> list[int]:
        """What it was asked for this interface since the last time."""
        said = [one.type for one in self.asked if interface_of(one) == interface]
        self.asked = [one for one in self.asked if interface_of(one) != interface]
        return said


def interface_of(message: Message) -> int:
    return int(tc.TCMSG.unpack_from(message.body)[1])


QDISC, CLASS, REMOVED_CLASS, FILTER = 36, 40, 41, 44
ALL_NEW = [QDISC, CLASS, QDISC, QDISC, FILTER]
"""Root, class and leaf; the leaf again at the time that was asked for; the classifier."""
SHAPES = {"10.0.0.2": Shape(delay_us=1_000)}


@pytest.fixture
def interfaces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Their numbers; a test may add some. Negative: it is down."""
    numbers = [2]

    def usable(_: object, changed: Container[int] = ()) -> Sequence[Interface]:
        there = {abs(n): n > 0 for n in numbers}
        return [
            Interface(n, f"eth{n}", up, False, "", 1500, 0)
            for n, up in there.items()
            if up or n in changed
        ]

    monkeypatch.setattr(netem, "usable", usable)
    return numbers


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def shaper(kernel: Kernel) -> netem.Netem:
    made = netem.Netem()
    made._netlink.close()
    made._netlink = kernel  # type: ignore[assignment]
    return made


def test_an_interface_added_later_gets_its_classes(
    shaper: netem.Netem, kernel: Kernel, interfaces: list[int]
) -> None:
    shaper.set(SHAPES, no_wait)
    assert kernel.types(2) == ALL_NEW
    interfaces.append(7)
    shaper.refresh()
    assert kernel.types(7) == ALL_NEW
    interfaces.remove(7)
    shaper.refresh()
    interfaces.append(7)
    shaper.refresh()
    assert kernel.types(7) == ALL_NEW, "a new one with the number of one that is gone"


def test_addresses_of_one_host_share_a_class(
    shaper: netem.Netem, kernel: Kernel, interfaces: list[int]
) -> None:
    both, alone = {**SHAPES, "fd00::2": SHAPES["10.0.0.2"]}, {"fd00::2": Shape(delay_us=7)}
    shaper.set(both, no_wait, dict.fromkeys(both, "10.0.0.2"))
    assert kernel.types(2) == ALL_NEW
    interfaces.append(7)
    shaper.refresh()
    assert kernel.types(7) == ALL_NEW
    kernel.types(2)
    shaper.set({**SHAPES, **alone}, no_wait)
    assert kernel.types(2) == [CLASS, QDISC, QDISC, QDISC, FILTER], "and then no more"


def test_an_interface_that_is_down_is_healed_too(
    shaper: netem.Netem, kernel: Kernel, interfaces: list[int]
) -> None:
    interfaces.append(3)
    shaper.set(SHAPES, no_wait)
    assert kernel.types(2) == kernel.types(3) == ALL_NEW
    interfaces[:] = [2, -3]
    shaper.refresh()
    shaper.set({}, no_wait)
    assert kernel.types(3) == [FILTER, REMOVED_CLASS]
    shaper.close()
    assert kernel.types(3) == [37]


def test_healing_after_a_refusal_removes_what_was_set_before_it(
    shaper: netem.Netem, kernel: Kernel, interfaces: list[int]
) -> None:
    interfaces.append(3)
    kernel.refused, kernel.on = FILTER, 3
    with pytest.raises(Failed):
        shaper.set(SHAPES, no_wait)
    assert kernel.types(2) == ALL_NEW
    kernel.refused, kernel.on = 0, 0
    shaper.set({}, no_wait)
    assert kernel.types(2) == [FILTER, REMOVED_CLASS]
    shaper.set({}, no_wait)
    assert kernel.types(2) == [FILTER], "nothing is removed twice"


def test_a_change_adds_and_removes_only_what_differs(
    shaper: netem.Netem, kernel: Kernel, interfaces: list[int]
) -> None:
    shaper.set(SHAPES, no_wait)
    kernel.types(2)
    shaper.set({**SHAPES, "10.0.0.3": Shape(delay_us=5)}, no_wait)
    assert kernel.types(2) == [CLASS, QDISC, QDISC, QDISC, FILTER]
    shaper.set(SHAPES, no_wait)
    assert kernel.types(2) == [QDISC, FILTER, REMOVED_CLASS]
    shaper.close()
    assert kernel.types(2) == [37]
    shaper.set({}, no_wait)
    assert kernel.asked == []
