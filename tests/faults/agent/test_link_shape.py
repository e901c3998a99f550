"""Shapes as data, the tables of delays, and the wire's decisions for a packet."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.agent.errors import BadRequest
from faults.agent.link_shape import DISTRIBUTIONS, SIGMA, Shape, table, wanted_shapes
from faults.agent.wire_link import ETHERNET, Link


@pytest.mark.parametrize("name", DISTRIBUTIONS[1:])
def test_a_table_has_mean_zero_and_the_deviation_of_one_sigma(name: str) -> None:
    """Pareto's tail is cut at four sigma: its moments are below the theoretical ones."""
    values = table(name)
    assert list(values) == sorted(values)
    assert abs(statistics.fmean(values)) < 0.05 * SIGMA
    assert 0.7 * SIGMA < statistics.pstdev(values) < 1.05 * SIGMA


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from(DISTRIBUTIONS))
def test_a_packet_is_never_due_before_it_came(delay: int, jitter: int, name: str) -> None:
    link = Link(Shape(delay_us=delay, jitter_us=jitter, distribution=name))
    for due in link.due_ns(5, 100):
        assert due >= 5
        if not jitter:
            assert due == 5 + delay * 1000


@given(st.lists(st.integers(60, 1514), min_size=1, max_size=50), st.integers(1000, 10**9))
def test_a_rate_is_kept_under_bursts(sizes: list[int], rate: int) -> None:
    link = Link(Shape(rate_bps=rate))
    dues = [link.due_ns(0, size)[0] for size in sizes]
    assert dues == sorted(dues)
    assert abs(dues[-1] - sum(sizes) * 8 * 10**9 / rate) <= len(sizes)


def test_copies_count_for_the_rate_and_packets_held_back_do_not_delay_others() -> None:
    copied = Link(Shape(rate_bps=8_000_000, duplicate=1.0))
    dues = [due for _ in range(10) for due in copied.due_ns(0, 1000)]
    assert dues == [(i + 1) * 1_000_000 for i in range(20)]
    held = Link(Shape(rate_bps=8_000_000, reorder=0.5, reorder_us=60_000_000))
    quick = [due for (due,) in (held.due_ns(0, 1000) for _ in range(40)) if due <= 40_000_000]
    assert len(quick) > 5, "by chance alone: one in a hundred thousand"


@pytest.mark.parametrize("duplicate", [0.0, 0.8])
def test_packets_that_are_dropped_take_none_of_the_rate(duplicate: float) -> None:
    """Offered is ten times what passes, with room for few: the link is busy all the time, and no
    longer than it takes to send what it holds."""
    link = Link(Shape(rate_bps=64_000, limit=20, duplicate=duplicate, duplicate_us=500_000))
    passing_ns, now_ns = 100 * 8 * 10**9 // 64_000, 0
    held: list[int] = []
    for _ in range(4_000):
        now_ns += passing_ns // 10
        sent = [due for due in held if due <= now_ns]
        held = [due for due in held if due > now_ns]
        for _ in sent:
            link.sent(0)
        held += link.take(now_ns, 100)
        assert link.held == len(held) <= 20
        assert link.busy_until_ns <= now_ns + 21 * passing_ns
    assert link.counts["over_limit"] > 2_000
    most = now_ns // passing_ns
    assert link.counts["passed"] + link.held > (most * 0.9 if not duplicate else most * 0.3)


def test_a_link_without_a_rate_forgets_its_queue() -> None:
    link = Link(Shape(rate_bps=1_000))
    link.take(0, 1_000)
    link.take_shape(Shape(delay_us=5))
    link.take_shape(Shape(rate_bps=10**9))
    assert link.take(0, 1_000) == [8_000]


def test_the_probabilities_are_kept() -> None:
    """4,000 packets, and a tenth: five standard deviations are 95."""
    random.seed(1)
    link = Link(Shape(duplicate=0.1, duplicate_us=10, reorder=0.1, reorder_us=10, corrupt=0.1))
    frame = bytes(range(100))
    for _ in range(4000):
        link.due_ns(0, 100)
        damaged = link.damaged(frame)
        wrong = [i for i in range(100) if damaged[i] != frame[i]]
        assert len(wrong) <= 1 and all(i >= ETHERNET for i in wrong)
    for what in ("duplicated", "held_back", "corrupted"):
        assert 305 < link.counts[what] < 495, what


@given(
    st.builds(
        Shape,
        delay_us=st.integers(0, 10**6),
        jitter_us=st.integers(0, 10**6),
        duplicate=st.floats(0, 1),
        corrupt=st.floats(0, 1),
        distribution=st.sampled_from(DISTRIBUTIONS),
        rate_bps=st.integers(1000, 10**9),
        limit=st.integers(1, 10**6),
    )
)
def test_a_shape_is_its_json(shape: Shape) -> None:
    assert wanted_shapes({"10.0.0.1": shape.to_json()}) == {"10.0.0.1": shape}


def test_classes_of_packets_have_shapes_of_their_own() -> None:
    own = {"delay_us": 7, "loss": 0.5}
    shapes = {"10.0.0.1": {"delay_us": 5, "classes": {"Accept": own, "No": {"loss": 1}}}}
    wanted = wanted_shapes(shapes)
    shape = wanted["10.0.0.1"]
    assert wanted_shapes({"10.0.0.1": shape.to_json()}) == wanted
    assert shape.of(b"..Accept..") == Shape(delay_us=7, loss=0.5)
    assert shape.of(b"..Other..") is shape
    assert not shape.fits_netem and not Shape(loss=0.5).fits_netem
    link = Link(shape)
    lost = sum(not link.due_ns(0, 100, shape.of(b"Accept")) for _ in range(400))
    assert 140 < lost < 260 and lost == link.counts["lost"]
    assert link.due_ns(0, 100, shape.of(b"No")) == []
    assert link.due_ns(0, 100, shape.of(b"Other")) == [5_000]


@pytest.mark.parametrize(
    "classes",
    [7, {"": {}}, {"x" * 65: {}}, {"a": {"no": 1}}, {"a": {"classes": {"b": {"loss": 1}}}}],
)
def test_classes_that_make_no_sense_are_refused(classes: object) -> None:
    with pytest.raises(BadRequest):
        wanted_shapes({"10.0.0.1": {"classes": classes}})


def test_a_shape_that_does_nothing_is_none() -> None:
    assert wanted_shapes({"10.0.0.1": {}, "*": {"delay_us": 0, "limit": 5}}) == {}
