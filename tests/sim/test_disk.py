"""A crash keeps what was fsynced, and loses exactly what was not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.runtimes.sim.disk import Disk


def disk(fsync_us: int = 100) -> Disk:
    return Disk(lambda: fsync_us)


def test_one_fsync_covers_what_was_written_at_the_same_time() -> None:
    d = disk()
    assert d.persist(("a",), 1000) == d.persist(("b",), 1000) == 1100
    assert d.fsyncs == 1


def test_what_comes_while_an_fsync_runs_waits_for_the_next() -> None:
    d = disk()
    assert d.persist(("a",), 1000) == 1100
    assert d.persist(("b",), 1050) == d.persist(("c",), 1099) == 1200
    assert d.persist(("d",), 1150) == 1300
    assert d.fsyncs == 3


def test_a_power_cut_loses_exactly_the_unsynced_and_tears_the_last() -> None:
    d = disk()
    d.persist(("a",), 1000)
    d.persist(("b",), 1050)
    left = d.crash(1150, power=True)
    assert (left.records, left.lost, left.torn) == ([("a",)], 1, True)


def test_a_kill_keeps_what_was_being_written_and_loses_what_was_queued() -> None:
    d = disk()
    d.persist(("a",), 1000)
    d.persist(("b",), 1050)
    left = d.crash(1060, power=False)
    assert (left.records, left.lost) == ([("a",)], 1)


def test_an_idle_disk_loses_nothing() -> None:
    d = disk()
    d.persist(("a",), 1000)
    left = d.crash(1100, power=True)
    assert (left.records, left.lost, left.torn) == ([("a",)], 0, False)


def test_a_checkpoint_takes_effect_when_it_is_durable() -> None:
    d = disk()
    d.persist(("a",), 1000)
    d.checkpoint((("all",),), 2000)
    d.persist(("b",), 2000)
    assert d.records() == [("all",), ("b",)]
    assert d.crash(2050, power=True).records == [("a",)]

    d = disk()
    d.persist(("a",), 1000)
    d.checkpoint((("all",),), 2000)
    assert d.crash(2100, power=True).records == [("all",)]


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 200)), max_size=30),
    st.integers(0, 4000),
    st.booleans(),
)
def test_any_crash_keeps_a_prefix_that_holds_all_that_was_durable(
    steps: list[tuple[int, int]], crash_us: int, power: bool
) -> None:
    times = iter([fsync_us for _, fsync_us in steps] + [50] * 100)
    d = Disk(lambda: next(times))
    now_us, durable = 0, []
    for number, (pause_us, _) in enumerate(steps):
        if now_us + pause_us > crash_us:
            break
        now_us += pause_us
        durable.append(((number,), d.persist((number,), now_us)))
    barriers = [at for _, at in durable]
    assert barriers == sorted(barriers)
    left = d.crash(crash_us, power=power)
    assert left.records == [record for record, _ in durable][: len(left.records)]
    due = sum(at <= crash_us for at in barriers)
    assert len(left.records) == due if power else len(left.records) >= due
    assert left.lost == len(durable) - len(left.records)
    assert d.records() == left.records
