"""Searches over a real local Dask cluster of several processes, on loopback."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from harness.errors import HarnessError, UsageError
from harness.search.executors import executor_for
from harness.search.swarm import SweepPlan
from harness.search.sweep import sweep

distributed = pytest.importorskip("distributed")
PLAN = SweepPlan(protocol="raft", fixed={"time_us": 1_000_000})


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(host="127.0.0.1", silence_logs=50, **options) as made:
        made.wait_for_workers(2)
        yield made


def outcomes(result: Any) -> tuple[int, int, int, int]:
    return result.done, result.invalid, result.operations, result.simulated_us


def test_a_sweep_gives_the_same_results_as_on_one_machine(cluster: Any) -> None:
    here = sweep(PLAN, range(12))
    with executor_for(1, cluster.scheduler_address) as executor:
        there = sweep(PLAN, range(12), executor=executor)
    assert outcomes(here) == outcomes(there) and there.done == 12


def slow_pid(number: int) -> int:
    """The process that ran this."""
    time.sleep(0.3)
    return os.getpid()


def test_a_worker_that_dies_loses_nothing(cluster: Any) -> None:
    with executor_for(1, cluster.scheduler_address) as executor:
        work = executor.map(slow_pid, range(10))
        first = next(work).result
        assert first is not None and first != os.getpid()
        timer = threading.Timer(0.1, os.kill, (first, signal.SIGKILL))
        timer.start()
        rest = list(work)
        timer.join()
    assert [outcome.item for outcome in rest] == list(range(1, 10))
    assert all(outcome.lost is None and outcome.result for outcome in rest)


def test_workers_of_another_version_are_refused(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.search.executors import dask  # noqa: PLC0415

    monkeypatch.setattr(dask, "__version__", "99.9")
    with (
        pytest.raises(UsageError, match=r"runs antipaxos .*, and this is 99\.9"),
        executor_for(1, cluster.scheduler_address),
    ):
        pass


def test_runs_in_containers_need_a_worker_that_has_an_engine(cluster: Any) -> None:
    from harness.search.executors.dask import DaskExecutor  # noqa: PLC0415

    with pytest.raises(UsageError, match="has an engine"):
        DaskExecutor(cluster.scheduler_address, engines=True)


def test_a_missing_scheduler_is_reported_in_one_sentence() -> None:
    with (
        pytest.raises(HarnessError, match="no Dask scheduler answers"),
        executor_for(1, "tcp://127.0.0.1:9"),
    ):
        pass
