"""Faults of processes, resources and data in containers: injected, verified, and healed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from faults.description import Fault
from faults.kinds.amnesia import Amnesia
from faults.kinds.clock import ClockJump
from faults.kinds.clog import Clog
from faults.kinds.corrupt import Corrupt
from faults.kinds.crash_loop import CrashLoop
from faults.kinds.delay import Delay
from faults.kinds.drift import Drift
from faults.kinds.duplicate import Duplicate
from faults.kinds.flapping import Flapping
from faults.kinds.kill import Kill
from faults.kinds.loss import Loss
from faults.kinds.memory import MemoryPressure
from faults.kinds.monotonic import MonotonicJump
from faults.kinds.partition import Partition
from faults.kinds.rate import Rate
from faults.kinds.reorder import Reorder
from faults.kinds.rolling import Rolling
from faults.kinds.slow_cpu import SlowCpu
from faults.kinds.stop import Stop
from faults.kinds.strobe import Strobe
from faults.schedule import Schedule
from harness.run.config import RunConfig
from harness.run.run_sequence import RunResult, execute
from tests.docker.conftest import Quiet

pytestmark = pytest.mark.docker
MS = 1_000
SECOND = 1_000_000


def run(store: Path, faults: Sequence[Fault], time_us: int, **settings: Any) -> RunResult:
    """Three nodes under a schedule written by hand."""
    schedule = Schedule(faults=tuple(faults), duration_us=time_us)
    config = RunConfig.of(
        target="multi-paxos",
        nodes=3,
        time_us=time_us,
        rate=60.0,
        seed=5,
        on="docker",
        **settings,
    )
    return execute(config, store, Quiet(), schedule=schedule)


def found(result: RunResult) -> dict[str, dict[str, Any]]:
    """The faults in the history, by id, each verified after injecting and after healing."""
    faults = {fault["id"]: fault for fault in result.verdict.faults}
    for fault in faults.values():
        assert fault["inject"]["verified"] and fault["heal"]["verified"], fault
    return faults


def test_processes_and_resources(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        [
            Stop(id="stop", start_us=200 * MS, duration_us=500 * MS, nodes=(1,)),
            SlowCpu(id="cpu", start_us=400 * MS, duration_us=2 * SECOND, nodes=(2,), percent=20),
            MemoryPressure(
                id="memory", start_us=900 * MS, duration_us=SECOND, nodes=(3,), spare_kib=20_000
            ),
            CrashLoop(
                id="loop",
                start_us=2_600 * MS,
                duration_us=2 * SECOND,
                nodes=(1,),
                down_us=300 * MS,
                up_us=600 * MS,
            ),
            Rolling(
                id="roll",
                start_us=5_500 * MS,
                duration_us=3 * SECOND,
                nodes=(2, 3, 1),
                down_us=300 * MS,
            ),
        ],
        9_500 * MS,
    )
    assert result.verdict.outcome == "valid", result.verdict.reasons
    faults = found(result)
    assert set(faults) == {"stop", "cpu", "memory", *(f"loop.{i}" for i in (1, 2, 3))} | {
        f"roll.{i}" for i in (1, 2, 3)
    }
    assert faults["stop"]["inject"]["evidence"]["n1"]["graceful"] is True
    assert faults["cpu"]["inject"]["evidence"]["n2"]["kernel_counts_periods"] is True
    assert faults["cpu"]["heal"]["evidence"]["n2"]["kernel_counts_periods"] is False
    rolled = [list(faults[f"roll.{i}"]["inject"]["evidence"]) for i in (1, 2, 3)]
    assert rolled == [["n2"], ["n3"], ["n1"]]


def test_flapping_links_and_nodes_isolated_one_by_one(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        [
            Flapping(
                id="flap",
                start_us=200 * MS,
                duration_us=1_500 * MS,
                nodes=("leader",),
                shape="isolate",
                cut_us=300 * MS,
                open_us=300 * MS,
            ),
            Clog(
                id="clog",
                start_us=2_500 * MS,
                duration_us=1_600 * MS,
                nodes=(1, 2),
                release=(2, 1),
            ),
        ],
        5 * SECOND,
    )
    assert result.verdict.outcome == "valid", result.verdict.reasons
    faults = found(result)
    assert {fault["kind"] for fault in faults.values()} == {"partition"}
    flapping = [fault["what"] for name, fault in faults.items() if name.startswith("flap")]
    assert len(flapping) == 3 and flapping[0] == flapping[1] == flapping[2]


def test_links_that_lose_delay_duplicate_and_reorder_packets(tmp_path: Path) -> None:
    """Each kind alone; and three that overlap, one of them a partition, compose."""
    at = 200 * MS
    slot: dict[str, int] = {"duration_us": 900 * MS}
    result = run(
        tmp_path,
        [
            Loss(id="loss", start_us=at, nodes=(1,), percent=30, **slot),
            Delay(
                id="delay", start_us=at + 2 * SECOND, nodes=(2,), delay_us=30 * MS,
                jitter_us=20 * MS, clients=True, **slot,
            ),
            Corrupt(id="corrupt", start_us=at + 4 * SECOND, nodes=(2,), percent=30, **slot),
            Rate(id="rate", start_us=at + 6 * SECOND, nodes=(3,), kbps=512, **slot),
            Duplicate(id="copy", start_us=at + 8 * SECOND, nodes=(1,), percent=30,
                      spread_us=50 * MS, duration_us=5 * SECOND),
            Reorder(id="disorder", start_us=at + 8 * SECOND, nodes=(2,), percent=30,
                    window_us=50 * MS, duration_us=5 * SECOND),
            Partition(id="cut", start_us=at + 9 * SECOND, nodes=(3,), shape="one-way-in", **slot),
        ],
        14_500 * MS,
    )  # fmt: skip
    assert result.verdict.outcome == "valid", result.verdict.reasons
    faults = found(result)
    measured = {name: faults[name]["inject"]["evidence"]["measured"] for name in ("loss", "delay")}
    assert set(measured["loss"]) == {"n1 to n2", "n1 to n3", "n2 to n1", "n3 to n1"}
    assert all(0 < link["received"] < link["sent"] for link in measured["loss"].values())
    assert all(link["delay_us_min"] >= 29_800 for link in measured["delay"].values())
    assert faults["cut"]["inject"]["evidence"]["measured"]["n1 to n3"]["received"] == 0


def test_a_class_of_messages_is_delayed_lost_duplicated_and_reordered(tmp_path: Path) -> None:
    """Measured with datagrams that contain such a message, and with some that do not."""
    slot: dict[str, Any] = {"duration_us": 2 * SECOND, "nodes": (1, 2, 3)}
    result = run(
        tmp_path,
        [
            Delay(id="late", start_us=200 * MS, **slot, message="Accept", delay_us=60 * MS),
            Loss(id="lost", start_us=900 * MS, **slot, message="Accepted", percent=30),
            Duplicate(id="copy", start_us=1_600 * MS, **slot, message="Accept", percent=30,
                      spread_us=20 * MS),
            Reorder(id="order", start_us=2_300 * MS, **slot, message="Accept", percent=30,
                    window_us=60 * MS),
        ],
        7 * SECOND,
        transport="udp",
    )  # fmt: skip
    assert result.verdict.outcome == "valid", result.verdict.reasons
    faults = found(result)
    measured = faults["late"]["inject"]["evidence"]["measured"]
    late = {link: seen for link, seen in measured.items() if link.endswith(", Accept")}
    assert set(late) == {f"n{a} to n{b}, Accept" for a in (1, 2, 3) for b in (1, 2, 3) if a != b}
    assert all(link["delay_us_min"] >= 59_000 for link in late.values())
    lost = faults["lost"]["inject"]["evidence"]["measured"]["n1 to n2, Accepted"]
    assert 0 < lost["received"] < lost["sent"] and lost["delay_us_p50"] < 60_000


def test_a_node_that_starts_from_empty_data_reports_it(tmp_path: Path) -> None:
    """Also a node that another fault keeps down meanwhile: it starts when the last one ends."""
    result = run(
        tmp_path,
        [
            Amnesia(id="amnesia", start_us=500 * MS, duration_us=800 * MS, nodes=(3,)),
            Kill(id="kill", start_us=700 * MS, duration_us=2 * SECOND, nodes=(3,)),
        ],
        10 * SECOND,  # so that a slow machine has time for the node's second start
    )
    faults = found(result)
    erased = faults["amnesia"]["inject"]["evidence"]["n3"]
    assert erased["files_erased"] > 0 and erased["files_left"] == 0
    assert faults["amnesia"]["heal"]["evidence"]["n3"]["held_down_by"] == ["kill"]
    log = result.folder.node_log(3).read_text()
    assert log.count('"started"') == 2


def test_clock_faults_of_all_kinds_add_up_and_the_node_shows_it(tmp_path: Path) -> None:
    """A jump and a rate at the same time; a restart meanwhile, after which the clock is wrong by
    the same amount."""
    result = run(
        tmp_path,
        [
            Drift(id="rate", start_us=200 * MS, duration_us=2 * SECOND, nodes=(1,), ppm=300_000),
            ClockJump(
                id="jump",
                start_us=600 * MS,
                duration_us=2 * SECOND,
                nodes=(1,),
                offset_us=-60 * SECOND,
            ),
            Kill(id="kill", start_us=1_200 * MS, duration_us=300 * MS, nodes=(1,)),
            Strobe(
                id="strobe",
                start_us=300 * MS,
                duration_us=SECOND,
                nodes=(2,),
                offset_us=5 * SECOND,
                period_us=40 * MS,
            ),
            MonotonicJump(
                id="ahead", start_us=400 * MS, duration_us=SECOND, nodes=(3,), offset_us=90 * SECOND
            ),
        ],
        3 * SECOND,
    )
    assert result.verdict.outcome == "valid", result.verdict.reasons
    faults = found(result)
    rate = faults["rate"]["inject"]["evidence"]["n1"]
    assert rate["ppm"] == 300_000 and "node_says_monotonic_ns" in rate
    jump = faults["jump"]["heal"]["evidence"]["n1"]
    assert jump["wanted_offset_ns"] > 400_000_000  # the offset gained by the rate remains
    assert faults["kill"]["heal"]["evidence"]["n1"]["clock"]["offset_ns"] == -60 * 10**9
    strobe = faults["strobe"]["inject"]["evidence"]["n2"]
    assert strobe["seen_off"] and strobe["seen_right"]
    ahead = faults["ahead"]["heal"]["evidence"]["n3"]
    assert ahead["wanted_monotonic_ns"] == 90 * 10**9
