"""Feeds randomly mutated inputs to all parsers of external data.

    python -m benchmarks.fuzz --seed 1 --replies 500000 --agents 150000 --schedules 150000 \\
        --histories 150000 --folders 50000

An input is determined by the seed, its subject and its number (`--only replies:1234` runs one
again). It is a finding if it raises anything other than a documented refusal, if it takes more than
five seconds of processor time or two minutes in total, or if a second, simpler implementation gets
another result.

Prints one JSON object, and exits with 1 if there are findings. SIGINT and SIGTERM end the run
early, with the results so far.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.fuzz.files import Folders, Histories, Schedules
from benchmarks.fuzz.grpc_node import GrpcNode
from benchmarks.fuzz.live import InLoop, agents, replies
from benchmarks.fuzz.subject import Subject, Wrong
from benchmarks.machine import describe

INPUT_LIMIT_CPU_S, INPUT_LIMIT_S = 5, 120
LIMITS = (signal.SIGPROF, signal.SIGALRM)
SHOWN_MAX = 5
SUBJECTS: dict[str, Callable[[Path], Subject]] = {
    "replies": lambda _: InLoop("replies", replies),
    "agents": lambda _: InLoop("agents", agents),
    "grpc": lambda _: GrpcNode(),
    "schedules": lambda _: Schedules(),
    "histories": Histories,
    "folders": Folders,
}


class Hung(BaseException):
    """An input that took too long."""


def fuzz(name: str, seed: int, first: int, count: int, folder: Path) -> dict[str, Any]:
    """Feed inputs `first` to `first + count` to a subject. Returns the counts."""
    folder.mkdir(parents=True, exist_ok=True)
    subject = SUBJECTS[name](folder)
    outcomes: Counter[str] = Counter()
    findings: list[dict[str, Any]] = []
    kinds: Counter[str] = Counter()
    slowest_s, began = 0.0, time.monotonic()
    for limit in LIMITS:
        signal.signal(limit, _hung)
    done = 0
    try:
        for number in range(first, first + count):
            if _told_to_stop:
                break
            done += 1
            started = time.monotonic()
            signal.setitimer(signal.ITIMER_PROF, INPUT_LIMIT_CPU_S)
            signal.alarm(INPUT_LIMIT_S)
            try:
                outcomes[subject.one(random.Random(f"{seed}:{name}:{number}"))] += 1
            except (Exception, Hung) as error:
                kind = _kind(error)
                kinds[kind] += 1
                if kinds[kind] == 1 and len(findings) < SHOWN_MAX:
                    findings.append({"input": f"{name}:{number}", "what": _described(error)})
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
                signal.alarm(0)
            slowest_s = max(slowest_s, time.monotonic() - started)
    finally:
        for number in LIMITS:
            signal.signal(number, signal.SIG_DFL)
        subject.close()
    return {
        "subject": name,
        "inputs": done,
        "outcomes": dict(sorted(outcomes.items())),
        "crashes": sum(n for kind, n in kinds.items() if kind not in ("hang", "wrong")),
        "hangs": kinds["hang"],
        "wrong": kinds["wrong"],
        "slowest_ms": round(slowest_s * 1000, 1),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "seconds": round(time.monotonic() - began, 1),
        "findings": findings,
    }


_told_to_stop: list[int] = []


def _hung(_: int, __: FrameType | None) -> None:
    raise Hung


def _kind(error: BaseException) -> str:
    if isinstance(error, Hung):
        return "hang"
    if isinstance(error, Wrong):
        return "wrong"
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} {where.filename}:{where.lineno}"


def _described(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-2000:]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--only", metavar="SUBJECT:NUMBER")
    for name in SUBJECTS:
        parser.add_argument(f"--{name}", type=int, default=0, metavar="N")
    asked = vars(parser.parse_args())
    plan = [(name, asked["first"], asked[name]) for name in SUBJECTS if asked[name]]
    if asked["only"]:
        name, _, number = asked["only"].partition(":")
        plan = [(name, int(number), 1)]
    print(describe(), file=sys.stderr)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: _told_to_stop.append(received))
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=_memory()) as folder:
        tallies = [
            fuzz(name, asked["seed"], first, count, Path(folder) / name)
            for name, first, count in plan
        ]
    bad = sum(t["crashes"] + t["hangs"] + t["wrong"] for t in tallies)
    total = sum(t["inputs"] for t in tallies)
    print(json.dumps({"inputs": total, "bad": bad, "tallies": tallies}, indent=1))
    return 1 if bad else 0


def _memory() -> str | None:
    """A folder in memory, if there is one: files are written and read for every input."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


if __name__ == "__main__":
    sys.exit(main())
