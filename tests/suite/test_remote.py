"""A night over a real Dask cluster of several processes, and what travels between its machines."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.search.executors.dask import DaskExecutor
from harness.suite import remote
from harness.suite.execution import Executors, carry_out
from harness.suite.jobs import JobResult
from harness.suite.night import begin
from harness.suite.plan import read_suite
from harness.suite.remote import RemoteResult, packed, received, remote_job, unpack
from histories.folder import RunFolder
from tests.suite.jobs import job

distributed = pytest.importorskip("distributed")

SIMULATED = """
[suite]
store = "nights"
[[cells]]
name = "planted"
targets = ["multi-paxos"]
mutants = ["B6"]
seeds = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
time = "4s"
"""
REAL = """
[[cells]]
name = "real"
on = "docker"
targets = ["multi-paxos"]
nodes = [3]
faults = ["kill"]
seeds = [7]
time = "2s"
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers that simulate, and one that has an engine; each in a process of its own."""
    workers: dict[Any, Any] = {
        name: {
            "cls": distributed.Nanny,
            "options": {"nthreads": 1, "resources": resources, "host": "127.0.0.1"},
        }
        for name, resources in (("a", {}), ("b", {}), ("c", {"ENGINE": 1}))
    }
    options = {"dashboard": False, "port": 0, "host": "127.0.0.1"}
    scheduler = {"cls": distributed.Scheduler, "options": options}
    with distributed.SpecCluster(scheduler=scheduler, workers=workers, silence_logs=50) as made:
        made.wait_for_workers(3)
        yield made


def processes(cluster: Any) -> dict[str, int]:
    """The process of each worker, by its name."""
    with distributed.Client(cluster.scheduler_address) as client:
        pids = client.run(os.getpid)
        info = client.scheduler_info(n_workers=-1)["workers"]
        return {info[address]["name"]: pid for address, pid in pids.items()}


def night_of(tmp_path: Path, text: str, cluster: Any, watch: Any = lambda _: None) -> Any:
    path = tmp_path / "nightly.toml"
    path.write_text(text)
    night = begin(read_suite(path), "one")
    simulated = DaskExecutor(cluster.scheduler_address)
    engines = DaskExecutor(cluster.scheduler_address, engines=True)
    try:
        carry_out(
            night, watch, executors=Executors(simulated=simulated, engines=engines, remote=True)
        )
    finally:
        simulated.close()
        engines.close()
    return night


def test_a_night_over_workers_of_which_one_is_killed(tmp_path: Path, cluster: Any) -> None:
    victim = processes(cluster)["a"]
    killed: list[int] = []

    def watch(_: JobResult) -> None:
        if not killed:
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)

    night = night_of(tmp_path, SIMULATED, cluster, watch)
    outcomes = [result.outcome for _, result in night.pairs()]
    assert killed and len(outcomes) == 12 and "error" not in outcomes and "invalid" in outcomes
    for _, result in night.pairs():  # only folders of failures come back, and they are whole
        assert (result.folder is None) == (result.outcome == "valid")
        if result.folder is not None:
            assert Path(result.folder).parent == night.folder / "runs"
            assert RunFolder.open(Path(result.folder)).read_json("verdict.json")


@pytest.mark.docker
def test_runs_in_containers_go_to_the_worker_that_has_an_engine(
    tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.suite.execution.run_in_child", None)  # never on this machine
    night = night_of(tmp_path, SIMULATED.replace("seeds = [0", "seeds = [20") + REAL, cluster)
    (real,) = [result for job, result in night.pairs() if job.on == "docker"]
    assert real.outcome == "valid", real
    assert real.operations > 0 and real.folder is None
    assert len(night.results) == 13 and not night.left


def where(number: int) -> Any:
    """The name of the worker that carried this out."""
    time.sleep(0.2)
    return distributed.get_worker().name


def test_simulations_prefer_workers_without_an_engine(cluster: Any) -> None:
    cluster.wait_for_workers(3)  # one may be starting again: another test has killed it
    simulated = DaskExecutor(cluster.scheduler_address)
    engines = DaskExecutor(cluster.scheduler_address, engines=True)
    try:
        assert engines.engines() == 1
        assert "c" not in {o.result for o in simulated.map(where, range(8))}
        assert {o.result for o in engines.map(where, range(2))} == {"c"}
    finally:
        simulated.close()
        engines.close()


def test_what_is_under_way_is_given_up(cluster: Any) -> None:
    engines = DaskExecutor(cluster.scheduler_address, engines=True)
    try:
        threading.Timer(0.5, engines.stop).start()
        started = time.monotonic()
        assert not list(engines.map(time.sleep, [30.0]))
        assert time.monotonic() - started < 15
    finally:
        engines.close()


def test_a_worker_of_another_version_that_joins_later_is_refused() -> None:
    from harness.search.executors.dask import WrongVersion, _SameVersion  # noqa: PLC0415

    with pytest.raises(WrongVersion, match=r"a worker runs antipaxos .*, and this is 99\.9"):
        _SameVersion(where, "99.9")(0)


def test_folders_travel_whole_and_stay_inside(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "nodes").mkdir(parents=True)
    (source / "history.jsonl").write_text("1\n")
    (source / "nodes" / "n1.log").write_bytes(b"\x00\xff")
    data = packed(source)
    assert data is not None and packed(tmp_path / "nothing") is None
    unpack(data, tmp_path / "copy")
    assert (tmp_path / "copy" / "nodes" / "n1.log").read_bytes() == b"\x00\xff"
    parcel = remote_job(job(recorded=str(source)))
    assert parcel.recorded == data


def test_a_folder_that_cannot_be_unpacked_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = JobResult(
        identity="c#1", cell="c", seed=1, outcome="invalid", seconds=1.0, folder="/there/run"
    )
    for data in (b"no archive", _archive(tmp_path)):
        monkeypatch.setattr(remote, "FOLDER_BYTES_MAX", 10)
        got = received(job(), RemoteResult(result, data), tmp_path)
        assert got.outcome == "error" and "cannot be unpacked" in got.sentence
    result = received(job(), RemoteResult(result), tmp_path)
    assert result.outcome == "invalid" and result.folder is None


def _archive(tmp_path: Path) -> bytes:
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "file").write_text("x" * 100)
    data = packed(tmp_path / "big")
    assert data is not None
    return data
