"""Compares our checker with Porcupine on the same histories.

Porcupine's source is not part of this project: ANTIPAXOS_PORCUPINE names its folder, and Go is
required; without them only our own figures are printed. The command that reads our histories for it
is porcupine/main.go.

Both are measured as processor seconds of all threads: of the whole command, and of the check alone,
after reading. On a busy machine this varies less than elapsed time. The two programs run
alternately, and the minimum of several runs counts.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.repeated_values import Repeated, make
from histories.formats import native
from histories.reader import read_history

CELLS = [
    Repeated(operations, clients, stale=stale)
    for operations in (1_000, 3_000, 10_000)
    for clients in (5, 10, 20)
    for stale in (None, 0.4)
]

_MODULE = """module compare
go 1.16
require github.com/anishathalye/porcupine v0.0.0
replace github.com/anishathalye/porcupine => {source}
"""

_CHILD = """
import json, resource, sys, time
from histories.checker import check
own = resource.RUSAGE_SELF
seconds = lambda: (lambda usage: usage.ru_utime + usage.ru_stime)(resource.getrusage(own))
path, model, limit = sys.argv[1], sys.argv[2], float(sys.argv[3])
peak, before = resource.getrusage(own).ru_maxrss, seconds()
verdict = check(path, model=model, time_limit_s=limit)
print(json.dumps({
    "verdict": verdict.outcome, "cpu": seconds() - before,
    "peak_mb": (resource.getrusage(own).ru_maxrss - peak) / 1024,
    "evidence": [len(p.evidence.operations) for p in verdict.partitions if p.evidence],
}))
"""


@dataclass(frozen=True)
class Case:
    """One history, for both."""

    name: str
    path: Path
    model: str
    known: str | None = None


def repeated(folder: Path) -> list[Case]:
    """The histories of the cells with repeated values, made in the folder."""
    cases = []
    for shape in CELLS:
        path = folder / shape.name
        make(path, shape)
        known = "valid" if shape.stale is None else "invalid"
        name = f"{shape.operations:,} by {shape.clients}"
        cases.append(Case(name, path, "cas-register", known))
    return cases


def peers(folder: Path) -> list[Case]:
    """The recorded histories of other checkers' tests, as files of ours, in the folder."""
    source = Path(os.environ["ANTIPAXOS_PEER_HISTORIES"])
    models = {"porcupine-kv": "string-map"}
    cases = []
    for path in sorted(source.rglob("*")):
        if path.suffix not in (".edn", ".log", ".txt") or path.name == "verdicts.txt":
            continue
        kind = path.relative_to(source).parts[0]
        ours = folder / f"{kind}-{path.stem}.jsonl"
        native.write(ours, read_history(path).events)
        cases.append(Case(f"{kind}/{path.stem}", ours, models.get(kind, "cas-register")))
    return cases


def built(folder: Path) -> Path | None:
    """The command that runs Porcupine; None if its source or Go is missing."""
    source, go = os.environ.get("ANTIPAXOS_PORCUPINE"), shutil.which("go")
    if not source or go is None:
        return None
    module = folder / "compare"
    module.mkdir(exist_ok=True)
    shutil.copy(Path(__file__).parent / "porcupine" / "main.go", module)
    (module / "go.mod").write_text(_MODULE.format(source=Path(source).resolve()))
    subprocess.run([go, "build", "-o", "../porcupine-check", "."], cwd=module, check=True)
    return folder / "porcupine-check"


def measured(command: list[str]) -> dict[str, Any]:
    """What the command printed, with the processor seconds of the whole of it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found: dict[str, Any] = json.loads(done.stdout)
    found["whole"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return found


def compare(
    cases: list[Case], porcupine: Path | None, runs: int, limit_s: float
) -> list[dict[str, Any]]:
    """Every case by both, in turns."""
    rows = []
    for case in cases:
        arguments = [str(case.path), case.model, str(limit_s)]
        commands = {"ours": [sys.executable, "-c", _CHILD, *arguments]}
        if porcupine is not None:
            commands["porcupine"] = [str(porcupine), *arguments]
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
        for _ in range(runs):
            for name, command in commands.items():
                if not found[name] or found[name][-1]["verdict"] != "unknown":
                    found[name].append(measured(command))
        row: dict[str, Any] = {"name": case.name, "known": case.known}
        for name, results in found.items():
            row[name] = min(results, key=lambda result: float(result["cpu"]))
            row[name]["whole"] = min(result["whole"] for result in results)
        rows.append(row)
        print(f"{case.name}: {row['ours']['verdict']}", file=sys.stderr)
    return rows


def show(rows: list[dict[str, Any]], limit_s: float) -> None:
    """The figures as a table."""
    table = Table(
        "history", "known", "ours", "check s", "whole s", "peak MB", "evidence",
        "Porcupine", "check s", "whole s", "peak MB",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row["name"],
            row["known"] or "",
            *_figures(row["ours"]),
            ", ".join(map(str, row["ours"]["evidence"][:3])),
            *_figures(row.get("porcupine")),
        )
    console = Console(width=140)
    console.print(table)
    console.print(f"Processor seconds; time limit {limit_s:g} s.")


def _figures(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return ["", "", "", ""]
    seconds = [f"{found['cpu']:.3f}", f"{found['whole']:.3f}"]
    return [found["verdict"], *seconds, f"{found['peak_mb']:.0f}"]
