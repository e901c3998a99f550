"""Runs that are ended at random: `python -m benchmarks.endings --runs 500 --jobs 2 --out FILE`.

Each run is a controller of its own with three nodes in containers. At a random time from its start
to a little after its end, one thing happens to it: a signal (9, 15, 1, 2, or 2 twice), or one of
its agents, nodes, or its reaper is killed or removed. Then it is asked:

left       is any container, network or volume of the run there SETTLE_S after the controller ended?
hung       did the controller not end within END_S?
traceback  did it print one?
code       is its exit code none of 0, 1, 2, 64 and above (or the signal that was sent: 9, or one in
           the first moments of its process)?
unjudged   does `antipaxos check` give no verdict for a history with a complete first line?
unearned   does it, or the controller, say "valid" although what happened came before the run's end?

Every run is one JSON line in --out, where a later call goes on. Ends 1 if any answer was yes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import docker
from docker.errors import APIError
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe
from harness.runtimes.docker.engine import LABEL, LABEL_ROLE, connect

ANTIPAXOS: Final = (sys.executable, "-c", "from harness.start import main; main()")
RUN_S: Final = 4
LATEST_S: Final = 14.0
END_S: Final = 90.0
SETTLE_S: Final = 30.0
SIGNALS: Final = {
    "signal 9": (signal.SIGKILL,),
    "signal 15": (signal.SIGTERM,),
    "signal 1": (signal.SIGHUP,),
    "signal 2": (signal.SIGINT,),
    "signal 2 twice": (signal.SIGINT, signal.SIGINT),
}
CONTAINERS: Final = {
    "agent killed": ("agent", False),
    "agent removed": ("agent", True),
    "node killed": ("node", False),
    "node removed": ("node", True),
    "reaper killed": ("reaper", False),
}
WAYS: Final = (*SIGNALS, *CONTAINERS)
PHASE: Final = '"f":"phase"'
QUESTIONS: Final = ("left", "hung", "traceback", "code", "unjudged", "unearned")


@dataclass
class Ending:
    """One run, and what was wrong with its end."""

    seed: int
    way: str
    after_s: float
    acted: bool = False
    """Whether there was still something to act upon."""
    before_end: bool = False
    code: int = 0
    verdict: str | None = None
    checked: str | None = None
    wrong: dict[str, str] = field(default_factory=dict)


def end_one(seed: int, store: Path) -> Ending:
    """One run, from its start until nothing of it should be there."""
    draw = random.Random(f"{seed}:endings")
    ending = Ending(seed, draw.choice(WAYS), round(draw.uniform(0.2, LATEST_S), 2))
    api = connect()
    words = ["run", "multi-paxos", "--nodes", "3", "--seed", str(seed), "--store", str(store)]
    words += ["--time", f"{RUN_S}s", "--faults", "partition,kill,pause", "--fault-gap", "1s"]
    process = subprocess.Popen(
        [*ANTIPAXOS, *words, "--json", "--on", "docker"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(ending.after_s)
    ending.acted = _act(ending.way, process, api, store)
    # A signal in the last two phases lets them end: nothing of the run is missing then.
    last = '"heal"' if ending.way in SIGNALS else '"done"'
    ending.before_end = ending.acted and not _has_begun(store, last)
    try:
        out, err = process.communicate(timeout=END_S)
    except subprocess.TimeoutExpired:
        ending.wrong["hung"] = f"it had not ended after {END_S:g} s"
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    ending.code = process.returncode
    _judge(ending, out, err, store)
    if left := _left(api, store):
        ending.wrong["left"] = ", ".join(left)
    api.close()
    return ending


def _act(way: str, process: subprocess.Popen[str], api: docker.APIClient, store: Path) -> bool:
    if way in SIGNALS:
        for number in SIGNALS[way]:
            if process.poll() is not None:
                return False
            process.send_signal(number)
            time.sleep(0.2)
        return True
    role, remove = CONTAINERS[way]
    for run in _runs(store):
        wanted = {"label": [f"{LABEL}={run}", f"{LABEL_ROLE}={role}"]}
        for found in api.containers(filters=wanted)[:1]:
            try:
                if remove:
                    api.remove_container(found["Id"], force=True)
                else:
                    api.kill(found["Id"])
            except APIError:
                return False
            return True
    return False


def _runs(store: Path) -> list[str]:
    found = []
    for path in store.glob("*/run.json"):
        try:
            found.append(json.loads(path.read_text())["id"])
        except ValueError:
            continue
    return found


def _has_begun(store: Path, phase: str) -> bool:
    """Whether a phase of the run is in the history."""
    histories = [path.read_text() for path in store.glob("*/history.jsonl")]
    return any(phase in line for text in histories for line in text.splitlines() if PHASE in line)


def _judge(ending: Ending, out: str, err: str, store: Path) -> None:
    sent = SIGNALS.get(ending.way, ())
    # No program can take a signal in its first moments, before it has begun anything.
    killed = -ending.code in sent and (signal.SIGKILL in sent or not _runs(store))
    if killed and not _runs(store):
        return
    if "Traceback" in err or "Traceback" in out or "never awaited" in err:
        ending.wrong["traceback"] = err[-2000:]
    if not (killed or ending.code in (0, 1, 2) or ending.code >= 64):
        ending.wrong["code"] = str(ending.code)
    if ending.code in (0, 1, 2):
        try:
            ending.verdict = json.loads(out)["verdict"]
        except (ValueError, KeyError):
            ending.wrong["code"] = f"{ending.code} without a verdict"
    histories = [p for p in store.glob("*/history.jsonl") if b"\n" in p.read_bytes()[:4096]]
    for history in histories:
        done = subprocess.run(
            [*ANTIPAXOS, "check", str(history.parent), "--json"],
            capture_output=True,
            text=True,
            check=False,
            timeout=END_S,
        )
        try:
            ending.checked = json.loads(done.stdout)["verdict"]
        except (ValueError, KeyError):
            ending.wrong["unjudged"] = f"{done.returncode}: {done.stderr[-500:]}"
    # Without its reaper a run is as good as any other, as long as its controller lives.
    matters = ending.before_end and ending.way != "reaper killed"
    if matters and "valid" in (ending.verdict, ending.checked):
        ending.wrong["unearned"] = f"run {ending.verdict}, check {ending.checked}"


def _left(api: docker.APIClient, store: Path) -> list[str]:
    deadline = time.monotonic() + SETTLE_S
    while True:
        found = [name for run in _runs(store) for name in _of(api, run)]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


def _of(api: docker.APIClient, run: str) -> list[str]:
    wanted = {"label": f"{LABEL}={run}"}
    names = [c["Names"][0] for c in api.containers(all=True, filters=wanted)]
    names += [n["Name"] for n in api.networks(filters=wanted)]
    return names + [v["Name"] for v in api.volumes(filters=wanted)["Volumes"] or []]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=60, help="start no run after so long")
    parser.add_argument("--out", type=Path, default=Path("endings.jsonl"))
    given = parser.parse_args()
    for numbers in SIGNALS.values():  # nohup and shells start what is in the background without
        for number in set(numbers) - {signal.SIGKILL}:
            signal.signal(number, signal.SIG_DFL)
    print(describe())
    done: dict[int, dict[str, Any]] = {}
    if given.out.exists():
        done = {one["seed"]: one for one in map(json.loads, given.out.read_text().splitlines())}
    deadline = time.monotonic() + 60 * given.minutes

    def one(seed: int) -> None:
        if seed in done or time.monotonic() > deadline:
            return
        with tempfile.TemporaryDirectory(prefix="antipaxos-endings-") as store:
            ending = asdict(end_one(seed, Path(store)))
        done[seed] = ending
        with given.out.open("a") as file:
            file.write(json.dumps(ending) + "\n")

    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(one, range(given.runs)))
    sys.exit(1 if show(list(done.values())) else 0)


def show(endings: list[dict[str, Any]]) -> int:
    """The table; how many ends had something wrong with them."""
    table = Table(box=None)
    for head in ("way", "runs", "acted", "before the end", *QUESTIONS):
        table.add_column(head, justify="left" if head == "way" else "right")
    for way in WAYS:
        of = [one for one in endings if one["way"] == way]
        wrong = Counter(name for one in of for name in one["wrong"])
        acted, early = (sum(one[name] for one in of) for name in ("acted", "before_end"))
        table.add_row(way, *map(str, (len(of), acted, early, *(wrong[q] for q in QUESTIONS))))
    console = Console(width=100, highlight=False)
    console.print(table)
    verdicts = Counter(str(one["checked"]) for one in endings)
    console.print(f"{len(endings)} runs; check says: {dict(verdicts)}")
    bad = [one for one in endings if one["wrong"]]
    for one in bad[:20]:
        console.print(f"seed {one['seed']}, {one['way']} at {one['after_s']} s: {one['wrong']}")
    return len(bad)


if __name__ == "__main__":
    main()
