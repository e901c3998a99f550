"""Run folders for the tests of reports: made by simulated runs, or written by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.run.config import RunConfig
from harness.run.expected import SEALED, fingerprint
from harness.run.run_sequence import execute
from histories.events import Event
from histories.folder import DIGESTS, VERDICT, RunFolder
from histories.formats import native

CORPUS = Path(__file__).parent.parent.parent / "histories" / "corpus"


def simulated(store: Path, **changes: Any) -> RunFolder:
    """A short simulated run of Multi-Paxos."""
    settings: dict[str, Any] = {
        "target": "multi-paxos",
        "nodes": 3,
        "concurrency": 4,
        "rate": 60.0,
        "keys": 2,
        "seed": 7,
        "on": "sim",
        "time_us": 4_000_000,
        "faults": ("partition", "kill", "pause", "clock"),
    }
    return execute(RunConfig.of(**(settings | changes)), store).folder


def recorded(name: str, store: Path) -> RunFolder:
    """A copy of a recorded failure of the corpus."""
    return RunFolder.open(shutil.copytree(CORPUS / name, store / name))


def written(store: Path, name: str, events: Iterable[Event], **files: Any) -> RunFolder:
    """A folder that holds these events; `files` are JSON documents by name without .json."""
    folder = RunFolder.create(store, name)
    native.write(folder.history, list(events))
    for file, document in files.items():
        (folder.path / f"{file}.json").write_text(json.dumps(document))
    if "verdict" in files:  # else it would be judged again
        there = [name for name in (*SEALED, VERDICT) if (folder.path / name).exists()]
        folder.write_json(DIGESTS, {name: fingerprint(folder.path / name) for name in there})
    return folder


def operation(
    index: int, process: int, at_ms: int, f: str, key: str, value: Any, result: Any = None
) -> list[Event]:
    """An operation that is answered one millisecond later."""
    call = Event(index, at_ms * 1_000_000, process, "invoke", f, key, value)
    answer = result if f == "read" else value
    return [call, Event(index + 1, (at_ms + 1) * 1_000_000, process, "ok", f, key, answer, node=1)]
