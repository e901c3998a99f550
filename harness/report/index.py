"""The list of runs in a folder: one row per run, read from run.json and verdict.json alone. A run
that does not look as it was recorded, by the sizes of its files, is unknown.

Runs may be in sub-folders, as with suites and sweeps. Links that lead out of the folder are not
followed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.report.page import PARTS, REPORT, STYLES, render, write_page
from harness.report.settings import flat_settings
from harness.run.expected import Expected, looks_changed
from histories.errors import BadFolder
from histories.events import Json
from histories.folder import HISTORY, RUN, VERDICT, RunFolder
from histories.untrusted import Malformed, read_document

DEPTH_MAX: Final = 4
DOCUMENT_BYTES_MAX: Final = 64_000_000
RUNNING_S: Final = 15.0
"""A run without a verdict counts as running if its history was written this recently."""
INDEX: Final = "index.html"
INDEX_SCRIPTS: Final = (*PARTS, "js/index_page.js")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run. `name` is its path below the folder, `time_s` when it began (seconds of the wall
    clock), `verdict` also "running", "cut off" or "unreadable"."""

    name: str
    time_s: float
    target: str
    workload: str
    faults: str
    seed: str
    verdict: str
    operations: int
    unavailable_ms: float
    sentence: str
    on: str

    def to_json(self) -> dict[str, Json]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def run_folders(root: Path) -> Iterator[Path]:
    """Every run folder below `root`, by name, without links that lead out of `root`."""
    yield from _walk(root, root.resolve(), 0)


def _walk(folder: Path, root: Path, depth: int) -> Iterator[Path]:
    try:
        children = sorted(folder.iterdir())
    except OSError:
        return
    for child in children:
        if child.name.startswith(".") or not child.is_dir():
            continue
        if not child.resolve().is_relative_to(root):
            continue
        if (child / RUN).is_file() or (child / HISTORY).is_file():
            yield child
        elif depth < DEPTH_MAX:
            yield from _walk(child, root, depth + 1)


def rows(root: Path) -> list[Row]:
    """The runs below a folder, the latest first."""
    found = [row_of(folder, root) for folder in run_folders(root)]
    return sorted(found, key=lambda row: (-row.time_s, row.name))


def row_of(folder: Path, root: Path) -> Row:
    """The row of a run; fields that cannot be read are empty."""
    run, verdict = _document(folder / RUN, root), _document(folder / VERDICT, root)
    settings = flat_settings(run.get("config"))
    felt = _mapping(verdict.get("availability"))
    reasons = verdict.get("reasons")
    linear = _mapping(verdict.get("linearizability"))
    sentence = reasons[0] if isinstance(reasons, list) and reasons else linear.get("sentence", "")
    target = str(settings.get("target", "?"))
    mutant = settings.get("mutant")
    kinds = settings.get("kinds")
    counts = _mapping(felt.get("outcomes")).values()
    outcome = str(verdict.get("verdict", "")) or _unjudged(folder)
    if verdict and (change := _change(folder)):
        outcome, sentence = "unknown", change
    return Row(
        name=folder.relative_to(root).as_posix(),
        time_s=_began_s(folder),
        target=f"{target} {mutant}" if mutant else target,
        workload=str(settings.get("workload", "")),
        faults=", ".join(map(str, kinds)) if isinstance(kinds, list) else "",
        seed=str(settings.get("seed", "")),
        verdict=outcome,
        operations=sum(n for n in counts if isinstance(n, int)),
        unavailable_ms=_number(felt.get("longest_unavailability_ns")) / 1e6,
        sentence=str(sentence),
        on=str(settings.get("on", "")),
    )


def _change(folder: Path) -> str:
    opened = RunFolder(folder)
    try:
        return looks_changed(opened, Expected.of(opened))
    except BadFolder as error:
        return str(error)


def is_running(folder: Path) -> bool:
    """Whether a run seems to be running: no verdict yet, and a history that was just written."""
    try:
        written_s = (folder / HISTORY).stat().st_mtime
    except OSError:
        return False
    return not (folder / VERDICT).exists() and time.time() - written_s < RUNNING_S


def _unjudged(folder: Path) -> str:
    return "running" if is_running(folder) else "cut off"


def _began_s(folder: Path) -> float:
    for name in (RUN, HISTORY):
        try:
            return (folder / name).stat().st_mtime
        except OSError:
            continue
    return 0.0


def _document(path: Path, root: Path) -> dict[str, Any]:
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            return {}
        found = read_document(path, bytes_max=DOCUMENT_BYTES_MAX)
    except (OSError, Malformed):
        return {}
    return found if isinstance(found, dict) else {}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def index_page(root: Path, found: list[Row], *, served: bool = False) -> str:
    """The page of a list of runs. Links lead to the runs' own report.html, or to the server."""
    return render(
        "index.html",
        title=f"runs in {root.resolve().name}",
        scripts=INDEX_SCRIPTS,
        styles=(*STYLES, "css/index.css"),
        data={
            "rows": [row.to_json() for row in found],
            "served": served,
            "reports": [row.name for row in found if (root / row.name / REPORT).exists()],
        },
        connects=served,
    )


def write_index(root: Path) -> Path:
    """Write index.html into a folder of runs."""
    path = root / INDEX
    write_page(path, index_page(root, rows(root)))
    return path
