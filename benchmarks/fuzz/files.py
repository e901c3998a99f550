"""Fuzzing of files: schedules, histories in every format, and whole run folders."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from benchmarks.fuzz.mutations import mutated
from benchmarks.fuzz.subject import Wrong, require
from faults.description import FaultError
from faults.kinds import fault_from_json
from faults.schedule_file import parse_schedule
from harness.errors import HarnessError
from harness.report.explanation import explain_run
from harness.report.run_report import bundle, load
from harness.report.text import show_run
from harness.reproduce.recorded_run import read_run
from harness.reproduce.story import tell_run
from harness.run.config import RunConfig
from harness.run.expected import write_digests
from harness.run.run_sequence import execute
from harness.run.verdict import RunVerdict, judge_folder
from histories.checker import check
from histories.errors import HistoryError
from histories.events import NEMESIS, TYPES, Event
from histories.folder import RunFolder
from histories.formats.jepsen import write_edn
from histories.formats.native import read

EXAMPLES: Final = Path(__file__).parent.parent.parent / "examples" / "schedules"
LIMIT_S: Final = 5.0
"""The time limit of a verdict. An input that takes longer is a finding."""
FITTING: Final = 0.7
"""The share of folders whose digests are made again, so that more than they is looked at."""
SHOWN: Final = 0.25
"""The share of folders that are also shown, explained, reported and made into a story."""


class Schedules:
    """Schedules in TOML, and the faults that they define."""

    name = "schedules"

    def __init__(self) -> None:
        self._texts = [path.read_bytes() for path in sorted(EXAMPLES.glob("*.toml"))]

    def one(self, draw: random.Random) -> str:
        data = mutated(draw, draw.choice(self._texts)).decode(errors="replace")
        try:
            found = parse_schedule(data, range(1, 6), 1, duration_us=30_000_000)
        except FaultError as error:
            require(len(str(error)) < 2_000, f"an error of {len(str(error))} characters")
            return "refused"
        for fault in found.faults:
            document = json.loads(json.dumps(fault.to_json(), allow_nan=False))
            require(fault_from_json(document) == fault, f"{fault} reads back as another fault")
            require(fault.start_us >= 0 and fault.duration_us >= 0, f"{fault} has no time")
        return "taken"

    def close(self) -> None: ...


class Histories:
    """History files in our formats and Jepsen's, checked by the kernel and the reference."""

    name = "histories"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        run = simulated(folder, "base", seed=3, time_us=150_000)
        events = [e for e in read(run.history).events if e.process != NEMESIS][:24]
        lines = [json.dumps(event.to_json()) for event in events]
        edn, array = folder / "h.edn", folder / "h.json"
        write_edn(edn, events)
        array.write_text("[" + ",\n".join(_jepsen(event) for event in events) + "]")
        self._bases = [
            ("h.jsonl", ("\n".join(lines) + "\n").encode()),
            ("h.edn", edn.read_bytes()),
            ("h.json", array.read_bytes()),
        ]

    def one(self, draw: random.Random) -> str:
        name, data = draw.choice(self._bases)
        path = self._folder / name
        path.write_bytes(mutated(draw, data))
        kernel, reference = _outcome(path, kernel=True), _outcome(path, kernel=False)
        if "unknown" not in (kernel, reference):
            require(kernel == reference, f"the kernel says {kernel}, the reference {reference}")
        return kernel

    def close(self) -> None: ...


def _jepsen(event: Event) -> str:
    fields = {"type": event.type, "process": event.process, "f": event.f, "value": event.value}
    return json.dumps(fields | {"time": event.time, "index": event.index})


def _outcome(path: Path, *, kernel: bool) -> str:
    try:
        return check(path, time_limit_s=LIMIT_S, kernel=kernel).outcome
    except HistoryError as error:
        require(len(str(error)) < 2_000, f"an error of {len(str(error))} characters")
        return "refused"


class Folders:
    """Run folders with one changed file: judged, shown, explained, reported, made into a story."""

    name = "folders"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        kinds = ("kill", "partition")
        self._runs = [
            simulated(folder, "calm", seed=3, time_us=150_000),
            simulated(folder, "faults", seed=5, time_us=2_500_000, faults=kinds),
            simulated(folder, "bug", seed=1, time_us=2_500_000, faults=kinds, mutant="M5"),
        ]
        self._files = {
            run.name: {path: path.read_bytes() for path in _inputs(run)} for run in self._runs
        }
        for run in self._runs:
            verdict = judge_folder(run, time_limit_s=LIMIT_S)
            if (verdict.outcome == "valid") != naively_valid(run):
                raise Wrong(f"{run.name} is {verdict.outcome} before anything is changed")

    def one(self, draw: random.Random) -> str:
        run = draw.choices(self._runs, (6, 1, 1))[0]
        files = self._files[run.name]
        path = draw.choice(list(files))
        changed = mutated(draw, files[path])
        if draw.random() < 0.02:
            path.unlink()
        else:
            path.write_bytes(changed)
        try:
            if draw.random() < FITTING:
                with contextlib.suppress(OSError):
                    write_digests(run)
            outcome = self._judged(run)
            if draw.random() < SHOWN:
                self._shown(run)
        finally:
            path.write_bytes(files[path])
            run.digests.write_bytes(files[run.digests])
        return outcome

    def close(self) -> None: ...

    def _judged(self, run: RunFolder) -> str:
        try:
            verdict = judge_folder(RunFolder.open(run.path), time_limit_s=LIMIT_S)
        except HistoryError as error:
            require(len(str(error)) < 2_000, f"an error of {len(str(error))} characters")
            return "refused"
        json.dumps(verdict.to_json(), allow_nan=False)
        run.write_json("verdict.again.json", verdict.to_json())
        _check_sentences(verdict)
        if verdict.outcome == "valid" and not naively_valid(run):
            raise Wrong("valid, and a second look at the files says otherwise")
        return verdict.outcome

    def _shown(self, run: RunFolder) -> None:
        console = Console(file=io.StringIO(), width=100, force_terminal=False)
        try:
            data = load(RunFolder.open(run.path))
        except HistoryError:
            return
        show_run(data, console)
        explain_run(data, console)
        json.dumps(bundle(data), allow_nan=False)
        text = console.file.getvalue()  # type: ignore[attr-defined]
        with contextlib.suppress(HarnessError):
            text += tell_run(read_run(run.path)).text()
        bad = {c for c in text if c != "\n" and (ord(c) < 32 or 127 <= ord(c) < 160)}
        require(not bad, f"the text has {sorted(bad)}")


def _check_sentences(verdict: RunVerdict) -> None:
    for sentence in (*verdict.reasons, *verdict.notes):
        require(len(sentence) < 5_000, f"a sentence of {len(sentence)} characters")


def _inputs(run: RunFolder) -> Iterator[Path]:
    yield from (run.run, run.history, run.history, run.verdict, run.schedule, run.digests)
    yield from sorted(p for p in run.nodes.iterdir() if p.is_file())


def simulated(folder: Path, name: str, *, seed: int, time_us: int, **options: Any) -> RunFolder:
    """A small run of three simulated nodes, in a folder with this name."""
    config = RunConfig.of(
        target="multi-paxos", on="sim", seed=seed, nodes=3, time_us=time_us, rate=60.0,
        concurrency=3, keys=2, **({"faults": ()} | options),
    )  # fmt: skip
    made = execute(config, folder / "made").folder
    path = folder / name
    shutil.move(made.path, path)
    return RunFolder(path)


# ------------------------------------------------------------------ a second implementation


def naively_valid(run: RunFolder) -> bool:
    """Whether a folder is valid according to a second, deliberately simple implementation of the
    same rules, which uses the reference checker and none of the parsers under test."""
    try:
        document = json.loads(run.run.read_bytes().decode())
        events = [_naive_event(line) for line in _naive_lines(run.history)]
        told = document["expected"]
        if type(told["decided_logs"]) is not bool or not isinstance(told["nodes"], list):
            return False
        wanted = [f"n{n}.decided.jsonl" for n in told["nodes"]] if told["decided_logs"] else []
        collected = document["collected"]
        if document.get("uncollected") or not _naively_unchanged(run):
            return False
        sums = {
            path.relative_to(run.nodes).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in run.nodes.rglob("*")
            if path.is_file()
        }
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    if any(name not in collected for name in wanted) or any(
        sums.get(name) != entry.get("sha256") for name, entry in collected.items()
    ):
        return False
    phases = [e for e in events if e.process == NEMESIS and e.f == "phase" and e.value == "done"]
    extra = phases[-1].extra or {} if phases else {"interrupted": True}
    kept = document.get("config", {}).get("heal") == "quorum"
    stopped = extra.get("not_live") or extra.get("interrupted") or extra.get("why")
    if stopped or not _naively_proven(events, kept=kept):
        return False
    model = document.get("model", "kv")
    return check(events, model=model, kernel=False, time_limit_s=LIMIT_S).outcome == "valid"


def _naively_unchanged(run: RunFolder) -> bool:
    digests = json.loads(run.digests.read_bytes().decode())
    return all(
        digests[path.name]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (run.run, run.schedule, run.history)
    )


def _naive_lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().decode().splitlines():
        yield json.loads(line)


def _naive_event(line: dict[str, Any]) -> Event:
    # The format allows to omit both, and nothing here depends on them.
    line = {"index": 0, "time": 0} | line
    known = {field: line[field] for field in Event._fields if field in line}
    extra = {name: line[name] for name in line if name not in known}
    event = Event(**known)._replace(has_observed="observed" in line, extra=extra or None)
    if event.type not in TYPES or "process" not in line:
        raise ValueError(line)
    return event


def _naively_proven(events: list[Event], *, kept: bool) -> bool:
    """Whether every fault was verified, and its healing too if it was to be healed."""
    faults: dict[Any, set[str]] = {}
    for event in events:
        if event.process == NEMESIS and event.f in ("inject", "heal"):
            seen = faults.setdefault(event.value["id"], set())
            if event.type == "invoke":
                seen.add(f"{event.f} asked")
            elif (event.extra or {}).get("verified"):
                seen.add(f"{event.f} proven")
    return all(
        "inject proven" in seen and ("heal proven" in seen or (kept and "heal asked" not in seen))
        for seen in faults.values()
    )
