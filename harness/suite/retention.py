"""Retention: which run folders are compressed, which are removed, and in which order.

Folders of valid runs are removed first, by age, and when the store is too large; folders of
failures are kept longest; results, summaries and pages of nights are always kept. A compressed
history is unpacked when its folder is opened (`RunFolder.open`).
"""

from __future__ import annotations

import gzip
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.suite.index import lines_of, nights_in
from harness.suite.plan import Keep
from histories.folder import COMPRESSED, HISTORY

DAY_S: Final = 86_400.0


@dataclass(frozen=True)
class _Run:
    """One run's folder."""

    path: Path
    age_s: float
    size: int
    failed: bool


def tidy(store: Path, keep: Keep, *, sparing: Path | None = None) -> tuple[int, int]:
    """Compress and remove. Returns (histories compressed, run folders removed). `sparing`: a night
    that is left unchanged."""
    compressed = removed = 0
    runs = [run for night in nights_in(store) if night != sparing for run in _runs(night)]
    left = []
    for run in runs:
        days = keep.failures_days if run.failed else keep.days
        if run.age_s > days * DAY_S:
            shutil.rmtree(run.path, ignore_errors=True)
            removed += 1
        else:
            left.append(run)
    if keep.compress:
        compressed = sum(compress(run.path) for run in left)
    if keep.size_bytes is not None:
        removed += _shrink_to(left, keep.size_bytes)
    return compressed, removed


def compress(folder: Path) -> bool:
    """Compress a run's history. Returns whether that was done."""
    plain, packed = folder / HISTORY, folder / COMPRESSED
    if not plain.is_file():
        return False
    temporary = packed.with_suffix(".tmp")
    with plain.open("rb") as source, gzip.open(temporary, "wb", compresslevel=6) as target:
        shutil.copyfileobj(source, target)
    temporary.replace(packed)
    plain.unlink()
    return True


def _runs(night: Path) -> list[_Run]:
    """The run folders of a night; `failed` if the result is not valid, or the run was shrunk."""
    outcomes = {
        Path(line["folder"]).name: line.get("outcome")
        for line in lines_of(night / "results.jsonl")
        if isinstance(line.get("folder"), str)
    }
    found = []
    for path in sorted((night / "runs").glob("*")):
        if path.is_dir():
            files = [file for file in path.rglob("*") if file.is_file()]
            size = sum(file.stat().st_size for file in files)
            failed = outcomes.get(path.name, "shrunk") != "valid"
            found.append(_Run(path, time.time() - path.stat().st_mtime, size, failed))
    return found


def _shrink_to(runs: list[_Run], size_bytes: int) -> int:
    """Remove folders until the rest fits: valid runs first, and the oldest first."""
    total = sum(run.size for run in runs if run.path.exists())
    removed = 0
    for run in sorted(runs, key=lambda run: (run.failed, -run.age_s)):
        if total <= size_bytes:
            break
        shutil.rmtree(run.path, ignore_errors=True)
        total -= run.size
        removed += 1
    return removed
