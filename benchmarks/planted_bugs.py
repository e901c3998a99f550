"""Which planted bugs the swarm's mix finds in containers.

    python -m benchmarks.planted_bugs --out FILE [--store FOLDER] [--runs 20] [--jobs 2]
                                      [--minutes 480] [--only simulator|containers]

A bug counts where the simulator finds it within 100 seeds of a sweep, in the protocol in which it
finds it soonest. For each, runs of 20 s in containers follow, with what the same sweep's seeds draw
(`harness.search.swarm`), until one is invalid: all bugs have their first run before one has its
second. The correct protocols have the same number of runs, in which nothing may be found. Each
result is a line of JSON in FILE, and what is there already is not done again; a table is printed at
the end. With `--only simulator`, and then `--only containers`, the two do not compete for the
processors.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from threading import Lock
from typing import Any, Final

from benchmarks.machine import describe
from harness.search.mutation import planted_bugs
from harness.search.swarm import SweepPlan, draw
from harness.search.sweep import run_seed
from node_image.mutants import MUTANTS, PROTOCOLS

SIMULATED_SEEDS: Final = 100
SIMULATED_PIECE: Final = 10
"""How many seeds of one bug are simulated in a row."""
TIME_US: Final = 20_000_000
RUN_LIMIT_S: Final = 240
"""A run in containers that takes longer than this is ended; its reaper removes the rest."""
MIX: Final = 4
"""Results of another mix do not count: raise this when what is drawn changes."""
LOG_BUGS: Final = ("D1", "D2", "D3", "D4", "D5")
LOG_FAULTS: Final = ("disk-damage", "disk-stall", "disk-full", "kill", "partition", "power")
"""For the bugs of log recovery, in both: the swarm damages files only where it is asked to."""


@dataclass(frozen=True)
class Candidate:
    """A planted bug (None: none) in the protocol in which it is looked for."""

    protocol: str
    mutant: str | None
    simulated_seed: int | None = None

    @property
    def name(self) -> str:
        return self.mutant or f"correct {self.protocol}"


def plan_for(protocol: str, mutant: str | None, *, on: str) -> SweepPlan:
    fixed: dict[str, Any] = {}
    if mutant in LOG_BUGS:
        fixed["faults"] = LOG_FAULTS
    if on != "sim":
        fixed["time_us"] = TIME_US
    return SweepPlan(protocol=protocol, mutant=mutant, fixed=fixed, on=on)


# ------------------------------------------------------------------------------- one run each


def simulated(mutant: str, seeds: range) -> dict[str, Any]:
    """The protocol in which the simulator finds this bug soonest."""
    with_it = [name for name in PROTOCOLS if mutant in planted_bugs(name)]
    for seed in seeds:
        for protocol in with_it:
            result = run_seed(plan_for(protocol, mutant, on="sim"), seed)
            if result.outcome == "invalid":
                found = {"protocol": protocol, "seed": seed, "sentence": result.sentence[:200]}
                return {"simulated": mutant, **found}
    return {"simulated": mutant, "protocol": None, "seed": seeds.stop - 1}


def in_containers(protocol: str, mutant: str | None, seed: int, store: Path) -> dict[str, Any]:
    """One run of what the seed draws."""
    from harness.run.run_sequence import execute  # noqa: PLC0415 (needs the Docker client)

    started = time.monotonic()
    config, schedule = draw(plan_for(protocol, mutant, on="docker"), seed)
    result = execute(config, store, schedule=schedule)
    verdict = result.verdict
    return {
        "outcome": verdict.outcome,
        "detectors": [name for name, one in verdict.detectors().items() if one == "invalid"],
        "reasons": [reason[:200] for reason in verdict.reasons[:3]],
        "operations": result.stats.outcomes,
        "faults": schedule.kinds(),
        "nodes": config.cluster.nodes,
        "seconds": round(time.monotonic() - started, 1),
        "folder": str(result.folder.path),
    }


def run_apart(candidate: Candidate, seed: int, store: Path) -> dict[str, Any]:
    """The same in a child process, which may crash."""
    about = {"run": candidate.mutant, "protocol": candidate.protocol, "seed": seed, "mix": MIX}
    command = [sys.executable, "-m", "benchmarks.planted_bugs", "--store", str(store)]
    command += ["--one", candidate.protocol, candidate.mutant or "-", str(seed)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=RUN_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return about | {"outcome": "failed", "reasons": [f"not done after {RUN_LIMIT_S} s"]}
    if done.returncode:
        return about | {"outcome": "failed", "reasons": done.stderr.strip().splitlines()[-3:]}
    return about | json.loads(done.stdout.splitlines()[-1])


# ------------------------------------------------------------------------------- all of them


class Results:
    """The lines of the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lock = Lock()
        text = path.read_text() if path.exists() else ""
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]

    def add(self, line: dict[str, Any]) -> None:
        with self.lock:
            self.lines.append(line)
            with self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")

    def runs_of(self, candidate: Candidate) -> list[dict[str, Any]]:
        key = (candidate.mutant, candidate.protocol)
        with self.lock:
            lines = list(self.lines)
        return [
            line
            for line in lines
            if "run" in line
            and (line["run"], line["protocol"]) == key
            and line["outcome"] != "failed"
            and line["mix"] == MIX
        ]

    def is_found(self, candidate: Candidate) -> bool:
        return any(line["outcome"] == "invalid" for line in self.runs_of(candidate))


def candidates(results: Results) -> list[Candidate]:
    """The bugs that the simulator has found so far, and the correct protocols."""
    with results.lock:
        known = {line["simulated"]: line for line in results.lines if "simulated" in line}
    found = [
        Candidate(known[mutant]["protocol"], mutant, known[mutant]["seed"])
        for mutant in MUTANTS
        if mutant in known and known[mutant]["protocol"]
    ]
    return found + [Candidate(protocol, None) for protocol in PROTOCOLS]


def simulate_all(results: Results, until: float, jobs: int) -> None:
    """Ask the simulator for every bug: a few seeds of each in turn, for most need no more."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for stop in range(SIMULATED_PIECE, SIMULATED_SEEDS + 1, SIMULATED_PIECE):
            pieces = []
            for mutant, about in MUTANTS.items():
                known = [line for line in results.lines if line.get("simulated") == mutant]
                found = any(line["protocol"] for line in known)
                first = max((line["seed"] + 1 for line in known), default=0)
                if not (about.control or found or first >= stop):
                    pieces.append(pool.submit(simulated, mutant, range(first, stop)))
            for piece in as_completed(pieces):
                results.add(piece.result())
                if time.monotonic() > until:
                    pool.shutdown(cancel_futures=True)
                    return


def next_run(
    results: Results, runs: int, under_way: set[tuple[Candidate, int]]
) -> tuple[Candidate, int] | None:
    """A run of the first round that is not complete; None where there is nothing to do now."""
    listed = [one for one in candidates(results) if not (one.mutant and results.is_found(one))]
    busy = {one for one, _ in under_way}
    for seed in range(1, runs + 1):
        for one in listed:
            done = {line["seed"] for line in results.runs_of(one)}
            if (
                seed not in done
                and not (one.mutant and one in busy)
                and (one, seed) not in under_way
            ):
                return one, seed
    return None


def carry_out(results: Results, store: Path, *, runs: int, jobs: int, until: float) -> None:
    """All runs that are left to do, `jobs` at a time."""
    choosing, under_way = Lock(), set[tuple[Candidate, int]]()

    def work() -> None:
        while time.monotonic() < until:
            with choosing:
                task = next_run(results, runs, under_way)
                if task is not None:
                    under_way.add(task)
            if task is None:
                if not under_way:
                    return
                time.sleep(1)
                continue
            line = run_apart(*task, store)
            results.add(line)
            with choosing:
                under_way.remove(task)
            why = (line.get("reasons") or [""])[0]
            print(f"{task[0].name:>24} seed {task[1]:>2} {line['outcome']:>8} {why}", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        for job in [pool.submit(work) for _ in range(jobs)]:
            job.result()


def table(results: Results) -> str:
    """For docs/mutants.md."""
    of = candidates(results)
    lines = [
        "| bug | protocol | simulator: seed | containers | detectors |",
        "|---|---|---|---|---|",
    ]
    for one in of:
        runs = results.runs_of(one)
        last = next((line for line in runs if line["outcome"] == "invalid"), None)
        said = f"run {runs.index(last) + 1}" if last else f"not in {len(runs)} runs"
        fired = ", ".join(last["detectors"]) if last else "-"
        seed = "-" if one.simulated_seed is None else one.simulated_seed
        lines.append(
            f"| {one.mutant or '(correct)'} | {one.protocol} | {seed} | {said} | {fired} |"
        )
    bugs = [one for one in of if one.mutant]
    found = sum(results.is_found(one) for one in bugs)
    return "\n".join([*lines, "", f"found: {found} of {len(bugs)}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("planted-bugs.jsonl"))
    parser.add_argument("--store", type=Path, default=Path("runs"))
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=480.0, help="begin no run after this")
    parser.add_argument("--only", choices=("simulator", "containers"))
    parser.add_argument("--one", nargs=3, metavar=("PROTOCOL", "BUG", "SEED"))
    asked = parser.parse_args()
    if asked.one:
        protocol, mutant, seed = asked.one
        mutant = None if mutant == "-" else mutant
        print(json.dumps(in_containers(protocol, mutant, int(seed), asked.store)))
        return
    print(describe(), flush=True)
    results = Results(asked.out)
    until = time.monotonic() + asked.minutes * 60
    if asked.only != "containers":
        simulate_all(results, until, asked.jobs)
    if asked.only != "simulator":
        carry_out(results, asked.store, runs=asked.runs, jobs=asked.jobs, until=until)
    print(table(results))


if __name__ == "__main__":
    main()
