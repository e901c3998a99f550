"""What suites cost, and whether they leave anything behind.

    python -m benchmarks.suite throughput    simulated seconds a second with two jobs and with one
    python -m benchmarks.suite overhead      the suite's own time, beside that of its runs
    python -m benchmarks.suite soak          24 hours of simulated runs: memory, files, disk, engine
    python -m benchmarks.suite pictures --store nights --night second --out docs/images

`throughput` runs the same seeds with one job and with two, in turn, several times, and tells each
round; `overhead` is one night without confirming and shrinking. `soak` runs nights in one process,
one after the other, until `--hours` have been simulated, with some runs in containers among them
where asked, and samples what the process and the machine hold after each night. `pictures`
photographs the pages of a store that a suite left, in a headless Chromium.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.machine import describe
from harness.search.executors import local_executor
from harness.suite.execution import Executors, carry_out
from harness.suite.finish import finish
from harness.suite.night import Night, begin
from harness.suite.plan import read_suite

PLAN = """
[suite]
name = "{name}"
store = "nights"
jobs = {jobs}
[[cells]]
name = "{name}"
targets = ["multi-paxos", "raft"]
faults = ["swarm"]
seeds = {seeds}
fresh = {fresh}
{load}
{more}
[findings]
confirm = 0
shrink = "0s"
"""
LOAD = 'time = "10s"'
LIGHT = """
time = "900s"
rate = 1
nodes = 3
[cells.settings]
heartbeat_us = 2_000_000
election_min_us = 5_000_000
election_max_us = 10_000_000
lease_us = 3_750_000
clock_drift_max_us = 250_000
"""
"""Long runs with little traffic: what is simulated is mostly time, with faults in it."""
DOCKER = """
[[cells]]
name = "real"
on = "docker"
targets = ["multi-paxos"]
nodes = [3]
faults = ["kill"]
fresh = {runs}
time = "3s"
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("throughput", "overhead", "soak", "pictures"))
    parser.add_argument("--seeds", type=int, default=60, help="of each of two targets")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hours", type=float, default=24.0, help="simulated, in all")
    parser.add_argument("--nights", type=int, default=8)
    parser.add_argument("--docker", type=int, default=0, help="runs in containers, each night")
    parser.add_argument("--light", action="store_true", help="long runs with little traffic")
    parser.add_argument("--store", type=Path, default=Path("nights"), help="of the pictures")
    parser.add_argument("--night", default="", help="of the pictures")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    if options.what == "pictures":
        pictures(options.store, options.night, options.out)
        return
    print(describe())
    with _store() as store:
        if options.what == "throughput":
            throughput(store, options.seeds, options.rounds)
        elif options.what == "overhead":
            overhead(store, options.seeds)
        else:
            soak(store, options.hours, options.nights, options.docker, light=options.light)


@contextmanager
def _store() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="antipaxos-suite-") as name:
        yield Path(name)


def night_of(
    store: Path,
    name: str,
    *,
    jobs: int = 1,
    seeds: int = 0,
    fresh: int = 0,
    load: str = LOAD,
    more: str = "",
) -> tuple[Night, float]:
    """Run a night without finishing it. Returns the night, and how long it took in seconds."""
    path = store / "suite.toml"
    listed = list(range(seeds))
    text = PLAN.format(name="bench", jobs=jobs, seeds=listed, fresh=fresh, load=load, more=more)
    path.write_text(text)
    night = begin(read_suite(path), name)
    started = time.monotonic()
    carry_out(night, executors=Executors(simulated=local_executor(jobs)))
    return night, time.monotonic() - started


def simulated_s(night: Night) -> float:
    return sum(result.simulated_s for _, result in night.pairs())


def throughput(store: Path, seeds: int, rounds: int) -> None:
    """The ratio of the throughputs of two jobs and of one: by the clock, and by processor time,
    which other programs on the machine do not change (two processors, less what is lost to more
    processes)."""
    ratios, by_processor = [], []
    for number in range(rounds):
        speeds, efficiencies = [], []
        for jobs in (1, 2):
            before_s = processor_s()
            night, seconds = night_of(store, f"{number}-{jobs}", jobs=jobs, seeds=seeds)
            speeds.append(simulated_s(night) / seconds)
            efficiencies.append(simulated_s(night) / (processor_s() - before_s))
        ratios.append(speeds[1] / speeds[0])
        by_processor.append(2 * efficiencies[1] / efficiencies[0])
        print(
            f"round {number + 1}: {speeds[0]:.0f} simulated s/s with one job, {speeds[1]:.0f} with "
            f"two: {ratios[-1]:.2f} times; by processor time {by_processor[-1]:.2f} times"
        )
    print(
        f"median {statistics.median(ratios):.2f} times, best {max(ratios):.2f}; by processor time "
        f"median {statistics.median(by_processor):.2f}"
    )


def processor_s() -> float:
    """Processor time of this process and of its children that have ended."""
    found = (resource.getrusage(who) for who in _WHO)
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


def overhead(store: Path, seeds: int) -> None:
    """Of a night with two jobs: the processor time of the suite's own process beside that of its
    workers, and the time in which a job could have run and none did."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    night, seconds = night_of(store, "one", jobs=2, seeds=seeds)
    carried = time.monotonic()
    finish(night, lambda _: None)
    finish_s = time.monotonic() - carried
    own, workers = (resource.getrusage(who) for who in _WHO)
    own_s = own.ru_utime + own.ru_stime - before.ru_utime - before.ru_stime
    workers_s = workers.ru_utime + workers.ru_stime
    busy_s = sum(result.seconds for _, result in night.pairs())
    idle = 1 - busy_s / (2 * seconds)
    print(f"{len(night.results)} runs in {seconds:.1f} s, and {finish_s:.2f} s to finish")
    print(
        f"processor time: {own_s:.2f} s of the suite's process, {workers_s:.2f} s of its workers: "
        f"{own_s / workers_s:.1%}"
    )
    print(f"wall time of two workers without a run: {idle:.1%}")


_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


class Sample(NamedTuple):
    """What is held: resident memory in MB, open files, children, MB under the store, and what the
    engine holds of these runs."""

    memory_mb: float
    files: int
    children: int
    store_mb: float
    engine: int


def soak(store: Path, hours: float, nights: int, docker_runs: int, *, light: bool) -> None:
    """Nights in one process until so much has been simulated."""
    more = DOCKER.format(runs=docker_runs) if docker_runs else ""
    load, guess_s = (LIGHT, 930.0) if light else (LOAD, 20.0)
    per_night_s = hours * 3600 / nights
    done_s, each_s = 0.0, guess_s
    print("night  simulated s  seconds  RSS MB  files  children  store MB  left in the engine")
    for number in range(1, nights + 1):
        fresh = max(1, round(per_night_s / each_s / 2))
        started = time.monotonic()
        night, _ = night_of(store, f"{number:02}", fresh=fresh, load=load, more=more)
        finish(night, lambda _: None)
        seconds = time.monotonic() - started
        done_s += simulated_s(night)
        each_s = simulated_s(night) / (2 * fresh)
        sample = sample_of(store, night)
        print(
            f"{number:5}  {done_s:11.0f}  {seconds:7.0f}  {sample.memory_mb:6.1f}  "
            f"{sample.files:5}  {sample.children:8}  {sample.store_mb:8.2f}  {sample.engine:5}",
            flush=True,
        )
        outcomes = sorted({result.outcome for _, result in night.pairs()})
        if outcomes != ["valid"]:
            print(f"       outcomes: {', '.join(outcomes)}")


def sample_of(store: Path, night: Night) -> Sample:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    own = os.getpid()
    children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
    size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    return Sample(
        memory_mb=pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        files=len(list(Path("/proc/self/fd").iterdir())),
        children=len(children),
        store_mb=size / 1e6,
        engine=left_in_engine(night),
    )


def left_in_engine(night: Night) -> int:
    """Containers, networks and volumes of this night's runs that the engine still has."""
    if not any(job.on == "docker" for job in night.jobs):
        return 0
    from harness.runtimes.docker.engine import LABEL, connect  # noqa: PLC0415
    from histories.folder import RunFolder  # noqa: PLC0415

    folders = [RunFolder.open(path) for path in (night.folder / "runs").iterdir()]
    ids = {folder.read_json("run.json").get("run_id") for folder in folders}
    api = connect()
    try:
        filters = {"label": LABEL}
        held = [c["Labels"] for c in api.containers(all=True, filters=filters)]
        held += [n["Labels"] for n in api.networks(filters=filters)]
        held += [v["Labels"] for v in (api.volumes(filters=filters)["Volumes"] or [])]
    finally:
        api.close()
    return sum(labels.get(LABEL) in ids for labels in held)


def pictures(store: Path, night: str, out: Path) -> None:
    """night.png and nights.png: the tops of the pages of a night and of all nights."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        pages = (
            ("night", store / night / "night.html", 900),
            ("nights", store / "nights.html", 820),
        )
        for name, path, height in pages:
            page = browser.new_page(viewport={"width": 1180, "height": height})
            page.goto(path.absolute().as_uri())
            page.wait_for_selector("table.data")
            page.wait_for_timeout(400)
            page.screenshot(path=out / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
