"""The checker over the grid: time and peak memory from the file to the verdict.

    python -m benchmarks.checker [--quick] [--growth] [--runs 3] [--folder DIR]
    python -m benchmarks.checker --repeated | --peers [--limit 10]

Every cell is a separate history (see generated_histories.py). It is written once to the folder, and
judged several times, each time in a fresh process. The table shows the minimum, since other work on
the machine can only add time, and the median beside it. `total` is from the file to the verdict,
`check` what is left when the file has been read, and `cpu` the processor time of all threads, which
other work disturbs least. `peak` is the largest resident size of the process beyond what it had
before the check. `of json` is the ratio of `cpu` to the time that the standard library's JSON
parser takes for the lines of the file alone.

`--repeated` are histories whose values are drawn from five, `--peers` those of other checkers'
tests (in the folder that ANTIPAXOS_PEER_HISTORIES names); both beside Porcupine (see
against_porcupine.py).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import against_porcupine
from benchmarks.generated_histories import Shape, make
from benchmarks.machine import describe

GRID = [
    Shape(operations, keys, clients)
    for operations, keys in [
        (1_000, 1),
        (10_000, 1),
        (10_000, 10),
        (100_000, 1),
        (100_000, 10),
        (100_000, 100),
        (1_000_000, 10),
        (1_000_000, 1_000),
    ]
    for clients in (5, 10, 30, 100)
]
HARD = [
    Shape(1_000_000, 1, 100),
    Shape(1_000_000, 1, 100, unknown=0.2),
    Shape(1_000_000, 1, 100, unknown=0.2, stale=True),
    Shape(1_000_000, 1, 30),
    Shape(500, 1, 10, unknown=0.2),
]
GROWTH = [Shape(n, 10, 30, unknown=0.05) for n in (10_000, 100_000, 1_000_000, 10_000_000)]
QUICK = [Shape(10_000, 1, 30), Shape(100_000, 1, 100, unknown=0.2), Shape(100_000, 100, 10)]

_CHILD = """
import json, resource, sys
from histories.checker import check
before = resource.getrusage(resource.RUSAGE_SELF)
verdict = check(sys.argv[1], time_limit_s=600)
after = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "verdict": verdict.outcome, "sentence": verdict.sentence, "checker": verdict.checker,
    "total": verdict.seconds, "check": verdict.check_seconds,
    "peak_mb": (after.ru_maxrss - before.ru_maxrss) / 1024,
    "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    "methods": sorted({part.method for part in verdict.partitions}),
    "evidence": [len(p.evidence.operations) for p in verdict.partitions if p.evidence],
}))
"""


_JSON = """
import json, sys, time
started = time.process_time()
with open(sys.argv[1]) as lines:
    for line in lines:
        json.loads(line)
print(time.process_time() - started)
"""


def plain_json(path: Path) -> float:
    """Processor seconds of parsing every line, and nothing else."""
    child = subprocess.run(
        [sys.executable, "-c", _JSON, str(path)], capture_output=True, check=True, text=True
    )
    return float(child.stdout)


def measured(path: Path, runs: int) -> dict[str, Any]:
    """The least of several runs, each in its own process."""
    found = []
    for _ in range(runs):
        started = time.monotonic()
        child = subprocess.run(
            [sys.executable, "-c", _CHILD, str(path)], capture_output=True, check=True, text=True
        )
        result = json.loads(child.stdout)
        result["process"] = time.monotonic() - started
        found.append(result)
    best = min(found, key=lambda result: float(result["total"]))
    best["cpu"] = min(result["cpu"] for result in found)
    best["check"] = min(result["check"] for result in found)
    best["median"] = statistics.median(result["total"] for result in found)
    best["peak_mb"] = max(result["peak_mb"] for result in found)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three cells only")
    parser.add_argument("--growth", action="store_true", help="10k to 10M operations")
    parser.add_argument("--repeated", action="store_true", help="values drawn from five")
    parser.add_argument("--peers", action="store_true", help="other checkers' histories")
    parser.add_argument("--limit", type=float, default=10.0, help="seconds, for these two")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep the histories here")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    print(describe())
    if options.repeated or options.peers:
        _beside(options)
        return
    shapes = QUICK if options.quick else GROWTH if options.growth else GRID + HARD
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for shape in shapes:
            path = folder / shape.name
            if not path.exists():
                make(path, shape)
            rows.append({"shape": shape._asdict(), "bytes": path.stat().st_size})
            rows[-1] |= measured(path, options.runs)
            rows[-1]["json"] = plain_json(path)
            print(f"{shape.name}: {rows[-1]['verdict']}", file=sys.stderr)
            if options.folder is None:
                path.unlink()
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    show(rows)


def _beside(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        cases = (
            against_porcupine.repeated(folder)
            if options.repeated
            else against_porcupine.peers(folder)
        )
        porcupine = against_porcupine.built(folder)
        if porcupine is None:
            print("without Porcupine: no Go, or no source where ANTIPAXOS_PORCUPINE says")
        rows = against_porcupine.compare(cases, porcupine, options.runs, options.limit)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    against_porcupine.show(rows, options.limit)


def show(rows: list[dict[str, Any]]) -> None:
    """The figures as a table."""
    table = Table(
        "operations", "keys", "clients", "unknown", "verdict", "total s", "median", "check s",
        "cpu s", "of json", "peak MB", "by",
    )  # fmt: skip
    for row in rows:
        shape = Shape(**row["shape"])
        table.add_row(
            f"{shape.operations:,}",
            str(shape.keys),
            str(shape.clients),
            f"{shape.unknown:.0%}" + (" stale" if shape.stale else ""),
            row["verdict"],
            f"{row['total']:.3f}",
            f"{row['median']:.3f}",
            f"{row['check']:.3f}",
            f"{row['cpu']:.3f}",
            f"{row['cpu'] / row['json']:.2f}",
            f"{row['peak_mb']:.0f}",
            ",".join(row["methods"]),
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
