"""Every fault of the simulator is injected, verified and healed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from faults.description import Fault
from faults.kinds import kinds_of
from faults.kinds.aimed import Aimed
from faults.kinds.amnesia import Amnesia
from faults.kinds.clock import ClockJump
from faults.kinds.clog import Clog
from faults.kinds.crash_loop import CrashLoop
from faults.kinds.delay import Delay
from faults.kinds.disk_damage import MODES, DiskDamage
from faults.kinds.disk_full import DiskFull
from faults.kinds.disk_stall import DiskStall
from faults.kinds.drift import Drift
from faults.kinds.duplicate import Duplicate
from faults.kinds.flapping import Flapping
from faults.kinds.kill import Kill
from faults.kinds.loss import Loss
from faults.kinds.monotonic import MonotonicJump
from faults.kinds.partition import Partition
from faults.kinds.pause import Pause
from faults.kinds.power import PowerCut
from faults.kinds.reorder import Reorder
from faults.kinds.rolling import Rolling
from faults.kinds.slow_cpu import SlowCpu
from faults.kinds.slow_disk import SlowDisk
from faults.kinds.stop import Stop
from faults.kinds.strobe import Strobe
from tests.sim.runs import SECOND, evidence, messages, run

TIMES: dict[str, Any] = {"id": "f", "start_us": SECOND, "duration_us": SECOND}
ALL = (1, 2, 3)

FAULTS: list[Fault] = [
    Partition(**TIMES, nodes=("leader",), shape="isolate"),
    Kill(**TIMES, nodes=("leader",)),
    Pause(**TIMES, nodes=("leader",)),
    ClockJump(**TIMES, nodes=(2,), offset_us=3600 * SECOND),
    Loss(**TIMES, nodes=ALL, percent=30, clients=True),
    Delay(**TIMES, nodes=ALL, delay_us=20_000, jitter_us=5_000, clients=True),
    Duplicate(**TIMES, nodes=ALL, percent=50, spread_us=50_000),
    Reorder(**TIMES, nodes=ALL, percent=50, window_us=50_000),
    PowerCut(**TIMES, nodes=ALL),
    SlowDisk(**TIMES, nodes=ALL, fsync_us=50_000),
    DiskStall(**TIMES, nodes=ALL),
    DiskFull(**TIMES, nodes=(2,), left_bytes=300),
    *(DiskDamage(**TIMES, nodes=(3,), mode=mode, seed=1) for mode in MODES),
    Drift(**TIMES, nodes=(1,), ppm=200_000),
    Stop(**TIMES, nodes=("leader",)),
    Amnesia(**TIMES, nodes=(3,)),
    SlowCpu(**TIMES, nodes=("leader",), percent=10),
    Strobe(**TIMES, nodes=(2,), offset_us=-500_000, period_us=50_000),
    MonotonicJump(**TIMES, nodes=("leader",), offset_us=300_000),
    Aimed(**TIMES, nodes=(), moment="after-send", message="Accept", action="kill", count=3),
    Aimed(**TIMES, nodes=(), moment="before-reply", action="isolate"),
    Aimed(**TIMES, nodes=(), moment="after-send", action="pause"),
    Aimed(**TIMES, nodes=("leader",), moment="before-reply", action="power"),
]


COMPOSITES: list[Fault] = [
    CrashLoop(**TIMES, nodes=("leader",), down_us=100_000, up_us=200_000),
    Rolling(**TIMES, nodes=(3, 1, 2), down_us=200_000),
    Flapping(**TIMES, nodes=("leader",), shape="isolate", cut_us=200_000, open_us=200_000),
    Clog(**TIMES, nodes=(1, 3), release=(3, 1)),
]


def test_every_kind_is_tested() -> None:
    assert {fault.kind for fault in [*FAULTS, *COMPOSITES]} == set(kinds_of("sim"))


@pytest.mark.parametrize("fault", COMPOSITES, ids=lambda f: f.kind)
def test_a_composite_affects_the_same_nodes_in_each_of_its_steps(fault: Fault) -> None:
    done = run(fault)
    assert done.outcome == "valid", done.sentence
    begun = [e.value for e in done.events if e.f == "inject" and e.type == "invoke"]
    assert len(begun) == len(fault.steps()) > 1
    for number, value in enumerate(begun, 1):
        assert value["id"] == f"f.{number}"
        assert evidence(done, f"f.{number}", "inject")["verified"]
        assert evidence(done, f"f.{number}", "heal")["verified"]
    struck = [tuple(value["nodes"]) for value in begun]
    if "leader" in fault.nodes:
        assert len(set(struck)) == 1 and struck[0] != ("leader",)
    else:
        assert struck == [(n,) for n in fault.nodes]


def test_a_stopped_node_keeps_its_data_and_one_with_amnesia_does_not() -> None:
    stopped = evidence(run(Stop(**TIMES, nodes=ALL)), "f", "inject")["evidence"]
    assert all(seen["lost"] == 0 and seen["kept"] > 0 for seen in stopped.values())
    done = run(Amnesia(**TIMES, nodes=(3,)))
    assert evidence(done, "f", "inject")["evidence"]["n3"]["erased"] > 0
    assert evidence(done, "f", "heal")["evidence"]["n3"] == {"up": True, "recovered": 0}


def test_a_slow_processor_slows_and_a_monotonic_jump_ends_timeouts() -> None:
    slow = run(SlowCpu(**TIMES, nodes=ALL, percent=2))
    assert slow.stats.outcomes["ok"] < run().stats.outcomes["ok"]
    jump = MonotonicJump(**TIMES, nodes=(1,), offset_us=5 * SECOND)
    seen = evidence(run(jump), "f", "inject")["evidence"]
    assert seen == {"n1": {"gained_us": 5 * SECOND}}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.describe())
def test_faults_are_verified_when_injected_and_healed_and_a_correct_cluster_survives(
    fault: Fault,
) -> None:
    done = run(fault)
    assert evidence(done, "f", "inject")["verified"]
    assert evidence(done, "f", "heal")["verified"]
    assert done.outcome == "valid", done.sentence
    assert done.stats.outcomes["ok"] > 50


@pytest.mark.parametrize(
    "fault",
    [f for f in FAULTS if f.kind in ("loss", "delay", "duplicate", "reorder")],
    ids=lambda f: f.kind,
)
def test_link_faults_report_how_many_messages_they_affected(fault: Fault) -> None:
    assert evidence(run(fault), "f", "heal")["evidence"]["struck"] > 20


@pytest.mark.parametrize(
    "fault", [f for f in FAULTS if f.kind == "aimed"], ids=lambda f: f.describe()
)
def test_an_aimed_fault_takes_effect_at_its_trigger(fault: Fault) -> None:
    seen = evidence(run(fault), "f", "inject")["evidence"]
    assert seen["struck"] is True and seen["node"] in ALL


def test_an_aimed_fault_whose_trigger_never_occurs_reports_it() -> None:
    fault = Aimed(**TIMES, nodes=(), moment="after-send", message="SnapshotOffer", action="kill")
    done = run(fault)
    assert evidence(done, "f", "inject")["evidence"] == {"struck": False, "seen": 0}
    assert done.outcome == "valid"


def test_a_kill_in_the_middle_of_a_broadcast_reaches_some_and_not_others() -> None:
    fault = Aimed(**TIMES, nodes=(), moment="after-send", message="Accept", action="kill")
    done = run(fault, traced=True)
    struck_us = next(e.time for e in done.events if e.f == "inject" and e.type == "info") // 1000
    last = [
        s for s in messages(done) if type(s.message).__name__ == "Accept" and s.sent_us == struck_us
    ]
    assert len(last) == 1


def test_a_cut_link_delivers_nothing_and_the_others_do() -> None:
    fault = Partition(**TIMES, nodes=(1,), shape="one-way-out")
    done = run(fault, traced=True)
    window = [
        s
        for s in messages(done)
        if _chaos_us(done) + SECOND < s.sent_us < _chaos_us(done) + 2 * SECOND - 1
    ]
    assert {s.arrives_us for s in window if s.source == 1} <= {None}
    assert any(s.arrives_us for s in window if s.target == 1)


def test_a_slow_disk_delays_the_votes() -> None:
    slow = SlowDisk(**TIMES, nodes=ALL, fsync_us=300_000)
    quick, held = run(), run(slow)
    assert held.stats.outcomes["ok"] < quick.stats.outcomes["ok"]


def test_a_stalled_disk_completes_no_fsync_until_it_resumes() -> None:
    done = run(DiskStall(**TIMES, nodes=ALL))
    begin_us, end_us = _chaos_us(done) + SECOND, _chaos_us(done) + 2 * SECOND
    writes = {e.process for e in done.events if e.f == "write" and e.type == "invoke"}
    answered = [
        e.time // 1000
        for e in done.events
        if e.f == "write" and e.type == "ok" and e.process in writes
    ]
    slack_us = 100_000  # what was in progress when the stall began, and its reply
    assert not [us for us in answered if begin_us + slack_us < us < end_us]
    assert [us for us in answered if us > end_us]


def test_a_node_with_a_full_disk_exits_and_restarts_with_what_it_had_synced() -> None:
    done = run(DiskFull(**TIMES, nodes=(2,), left_bytes=300))
    assert evidence(done, "f", "inject")["evidence"] == {"n2": {"up": True, "left_records": 3}}
    healed = evidence(done, "f", "heal")["evidence"]["n2"]
    assert healed["up"] and healed["recovered"] > 0
    crashed = [m for m in done.runtime.world.processes.events if m.node == 2 and m.what == "crash"]
    assert len(crashed) == 1
    assert _chaos_us(done) + SECOND < crashed[0].at_us < _chaos_us(done) + 2 * SECOND
    assert not done.runtime.world.processes.crashes, "it is not a bug of the protocol"


@pytest.mark.parametrize("mode", MODES)
def test_a_damaged_log_is_recovered_completely_from_its_copy(mode: str) -> None:
    done = run(DiskDamage(**TIMES, nodes=(3,), mode=mode, seed=1))
    injected = evidence(done, "f", "inject")["evidence"]["n3"]
    healed = evidence(done, "f", "heal")["evidence"]["n3"]
    assert injected["records"] == injected["kept"] == healed["recovered"] > 10


def test_a_paused_node_processes_what_waited_for_it() -> None:
    done = run(Pause(**TIMES, nodes=(3,)))
    assert evidence(done, "f", "heal")["evidence"]["n3"]["waiting"] > 0


def test_clocks_jump_and_drift_independently() -> None:
    jump = ClockJump(**TIMES, nodes=(2,), offset_us=7 * SECOND)
    seen = evidence(run(jump), "f", "inject")["evidence"]
    assert seen == {"n2": {"offset_us": 7 * SECOND}}
    drift = Drift(**TIMES, nodes=(1,), ppm=-100_000)
    done = run(drift)
    node = done.runtime.world.nodes[1]
    gained_us = node.clock.monotonic(done.simulated_us) - done.simulated_us
    other = done.runtime.world.nodes[2]
    assert node.clock.drift_ppm == other.clock.drift_ppm == 0
    # It ran a tenth too slow for a second, and keeps that offset.
    clean = run().runtime.world.nodes[1]
    assert gained_us - (clean.clock.monotonic(0)) == -100_000


def test_two_faults_on_one_node_end_one_by_one() -> None:
    first = Kill(**TIMES, nodes=(1,))
    second = dataclasses.replace(first, id="g", start_us=1_500_000)
    done = run(first, second)
    starts = [m for m in done.runtime.world.processes.events if m.node == 1 and m.what == "start"]
    assert len(starts) == 2  # once at the beginning, once when the second fault ended
    assert starts[1].at_us >= _chaos_us(done) + 2_500_000
    assert done.outcome == "valid"


def test_a_node_that_a_second_fault_has_just_released_is_still_starting() -> None:
    """(Found in a sweep: the healing of the first fault was taken to have failed.)"""
    first = PowerCut(**TIMES, nodes=(1, 2))
    second = Kill(id="g", start_us=SECOND // 2, duration_us=1_520_000, nodes=(1,))
    done = run(first, second)
    assert done.outcome == "valid" and not done.stats.unverified


def _chaos_us(done: Any) -> int:
    start = done.stats.chaos_start_us
    assert start is not None
    return int(start)
