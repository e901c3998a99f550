"""Everything that the page of a run shows, gathered from the run's folder alone.

A folder may be incomplete: missing parts are omitted, with a note. The result is one JSON
document whose large parts are encoded columns; see `columns`.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from harness.report.bins import binned
from harness.report.columns import Encoded, Texts, encode_numbers
from harness.report.coverage import Evidence, coverage
from harness.report.disagreements import disagreements
from harness.report.failures import failing_parts, linearization_points
from harness.report.fault_bands import FaultBand, fault_bands
from harness.report.history import read_events
from harness.report.messages import messages_of, story_of
from harness.report.node_logs import NodeLogs, node_logs
from harness.report.operations import OUTCOMES, Operations, operations_of
from harness.report.processes import processes_of
from harness.report.settings import flat_settings
from harness.run.config import RunConfig
from harness.run.recorded_verdict import JUDGE_LIMIT_S, verdict_of
from harness.run.run_sequence import again
from harness.run.verdict_shape import what_is_wrong
from histories.availability import measure
from histories.errors import HistoryError
from histories.events import NEMESIS, Event, Json
from histories.folder import SCHEDULE, VERDICT, RunFolder, missing_file

LINEARIZED_MAX: Final = 300_000
"""Operations. The order that a checker found is shown up to this size."""
WINDOW_NS: Final = 100_000_000
"""Shorter times without an answer are not marked."""
WINDOWS_MAX: Final = 500


@dataclass
class RunData:
    """A run as stored in its folder. `problems` are sentences about what could not be read."""

    folder: RunFolder
    texts: Texts
    run: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    verdict: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    operations: Operations = field(default_factory=lambda: Operations(Texts()))
    bands: list[FaultBand] = field(default_factory=list)
    logs: NodeLogs = field(default_factory=NodeLogs)
    nodes: list[int] = field(default_factory=list)
    model: str = "kv"
    problems: list[str] = field(default_factory=list)
    judged_now: bool = False
    measured: dict[str, Json] = field(default_factory=dict)
    """What `availability` has found."""

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration, flat."""
        return flat_settings(self.run.get("config"))

    @property
    def outcome(self) -> str:
        """valid, invalid, unknown; "none" if there is nothing to judge."""
        return str(self.verdict.get("verdict", "none"))


def load(folder: RunFolder, *, judge: bool = True) -> RunData:
    """Read a run's folder. Raises HistoryError (from RunFolder.open) only if it is not a run
    folder."""
    texts = Texts()
    data = RunData(folder, texts)
    data.run = _document(data, "run.json")
    data.schedule = _schedule(data)
    data.verdict = _verdict(data)
    data.events, problems = read_events(folder.history)
    data.problems += problems
    data.model = _model(data)
    data.nodes = _nodes(data)
    data.operations = operations_of(data.events, texts)
    data.bands = fault_bands(data.events, data.nodes)
    data.logs = node_logs(folder, data.events)
    if judge and (data.verdict or data.events):
        _judge(data)
    return data


def _document(data: RunData, name: str) -> dict[str, Any]:
    if not (data.folder.path / name).exists():
        data.problems.append(missing_file(Path(name)))
        return {}
    try:
        found = data.folder.read_json(name)
    except HistoryError as error:
        data.problems.append(str(error))
        return {}
    return found if isinstance(found, dict) else {}


def _schedule(data: RunData) -> dict[str, Any]:
    found = _document(data, SCHEDULE)
    if not isinstance(found.get("faults", []), list):
        data.problems.append(f"{data.folder.schedule} cannot be read: its faults are not a list")
        return {}
    return found


def _verdict(data: RunData) -> dict[str, Any]:
    """What verdict.json says; {} for another shape, which `verdict_of` tells of."""
    found = _document(data, VERDICT)
    return {} if what_is_wrong(found) else found


def _model(data: RunData) -> str:
    """The model that judges the history, as given in run.json; else kv."""
    found = data.run.get("model")
    return found if isinstance(found, str) else "kv"


def _nodes(data: RunData) -> list[int]:
    count = data.settings.get("nodes")
    if isinstance(count, int) and 0 < count <= 1_000:
        return list(range(1, count + 1))
    known = {e.node for e in data.events if isinstance(e.node, int)}
    return sorted(known | {node for node, _ in data.folder.decided_files()})


def _judge(data: RunData) -> None:
    """The verdict of the folder, in place of a verdict.json that is not the run's."""
    found = verdict_of(data.folder)
    data.verdict, data.judged_now = found.document, found.judged_now
    data.problems += [problem for problem in found.problems if problem not in data.problems]


def bundle(data: RunData, *, live: bool = False) -> dict[str, Json]:
    """The document for the page; of a run in progress, if `live`."""
    operations, texts = data.operations, data.texts
    columns: dict[str, Encoded] = operations.encode()
    points = _points(data)
    if points is not None:
        columns["point"] = encode_numbers(points)
    linear = data.verdict.get("linearizability")
    failing = failing_parts(linear, data.events, operations, data.model) if linear else []
    document: dict[str, Json] = {
        "format": 1,
        "name": data.folder.name,
        "header": header(data),
        "nodes": data.nodes,
        "time": _time(data),
        "phases": _phases(data.events),
        "operations": {
            "count": len(operations),
            "events": len(data.events),
            "outcomes": list(OUTCOMES),
            "functions": operations.functions.list(),
            "keys": operations.keys.list(),
            "errors": operations.errors.list(),
            "columns": columns,
        },
        "faults": [band.to_json() for band in data.bands],
        "leaders": data.logs.leaders(data.bands),
        "marks": data.logs.marks(),
        "failing": failing,
        "disagreements": disagreements(
            data.folder, data.verdict.get("agreement"), data.logs.zero_ns, data.events
        ),
        "availability": availability(data),
        "coverage": coverage(
            Evidence(data.settings, data.schedule, data.verdict, operations, data.bands, data.logs)
        ),
        "logs": data.logs.encode(texts),
        "messages": messages_of(data.folder, texts),
        "processes": processes_of(data.folder, texts),
        "story": story_of(data.folder),
        "is_running": live,
    }
    document["texts"] = texts.encode()  # last: every part above adds to it
    return document


def availability(data: RunData) -> dict[str, Json]:
    """Outcomes, latencies and unavailability: recomputed, since every view needs all of them."""
    if not data.measured:
        found = measure(data.events, threshold_ns=WINDOW_NS)
        windows = sorted(found.windows, key=lambda window: -window.duration_ns)
        data.measured = found.to_json() | {"windows": [list(w) for w in windows[:WINDOWS_MAX]]}
    return data.measured


def _points(data: RunData) -> list[int] | None:
    detectors = data.verdict.get("detectors")
    valid = isinstance(detectors, dict) and detectors.get("linearizability") == "valid"
    if not valid or len(data.operations) > LINEARIZED_MAX:
        return None
    return linearization_points(data.events, data.operations, data.model, JUDGE_LIMIT_S)


def _time(data: RunData) -> dict[str, Json]:
    clients = [e.time for e in (*data.events[:1], *data.events[-1:])]
    first_us = clients[0] // 1000 if clients else 0
    return {"first_us": first_us, "last_us": clients[-1] // 1000 if clients else 0}


def _phases(events: list[Event]) -> list[dict[str, Json]]:
    return [
        {"at_us": e.time // 1000, "phase": str(e.value)}
        for e in events
        if e.process == NEMESIS and e.f == "phase"
    ]


# ------------------------------------------------------------------------------- the header


def header(data: RunData) -> dict[str, Json]:
    """Verdict, facts and commands, all as texts."""
    linear = data.verdict.get("linearizability") or {}
    reasons = [str(r) for r in data.verdict.get("reasons") or ()]
    sentence = reasons[0] if reasons else str(linear.get("sentence", ""))
    return {
        "verdict": data.outcome,
        "sentence": sentence or "There is nothing to judge.",
        "reasons": reasons[1:],
        "notes": [*data.problems, *(str(n) for n in data.verdict.get("notes") or ())],
        "detectors": data.verdict.get("detectors") or {},
        "facts": facts(data),
        "commands": commands(data),
        "configuration": data.run,
        "judged_now": data.judged_now,
    }


def facts(data: RunData) -> list[list[str]]:
    """What was run, as pairs of name and text."""
    config = data.settings
    found = [("target", str(config.get("target", "not recorded")))]
    if config.get("mutant"):
        found.append(("planted bug", str(config["mutant"])))
    if data.nodes:
        learners = config.get("learners")
        found.append(("nodes", f"{len(data.nodes)}" + (_learners(learners))))
    for name, label in (("on", "runs on"), ("workload", "workload"), ("seed", "seed")):
        if config.get(name) is not None:
            found.append((label, str(config[name])))
    struck = sorted({b.kind for b in data.bands})
    found.append(("faults", f"{len(data.bands)}: {', '.join(struck)}" if struck else "none"))
    found.append(("operations", f"{len(data.operations):,}"))
    seconds = (data.events[-1].time - data.events[0].time) / 1e9 if data.events else 0.0
    found.append(("duration", f"{seconds:.3f} s"))
    longest = availability(data)["longest_unavailability_ns"] if data.events else 0
    shown = f"{longest / 1e9:.3f} s" if longest >= 1_000_000_000 else f"{longest / 1e6:.1f} ms"
    found.append(("longest unavailability", shown))
    return [list(pair) for pair in found]


def _learners(count: Any) -> str:
    if not count:
        return ""
    return f" ({count} learner{'' if count == 1 else 's'})"


def commands(data: RunData) -> list[list[str]]:
    """The commands for what comes next (check it, replay it, ...), as pairs of purpose and text."""
    path = shlex.quote(str(data.folder.path))
    found = [["check again", f"antipaxos check {path}"]]
    if data.outcome != "valid":
        found.append(["explain", f"antipaxos explain {path}"])
    try:
        config = RunConfig.from_json(data.run["config"])
    except Exception:  # whatever was recorded by another version: the other commands still hold
        return found
    found.append(["replay", f"antipaxos replay {path}"])
    if config.on == "sim" and data.outcome == "invalid":
        found.append(["shrink", f"antipaxos shrink {path}"])
    if data.settings.get("only") is None and not data.settings.get("world"):
        found.append(["run again", again(config, store=data.folder.path.parent)])
    return found


def summary(data: RunData, over_us: int, bins: int = 160) -> dict[str, Json]:
    """The data for comparisons; the bins cover `over_us` from the run's start."""
    return {
        "name": data.folder.name,
        "header": header(data),
        "availability": availability(data),
        "bins": binned(data.operations, bins, over_us=over_us).to_json(),
        "faults": [b.to_json() for b in data.bands],
        "time": _time(data),
    }


def load_path(path: Path | str) -> RunData:
    """The run in a folder. Raises HistoryError if it is not a run folder."""
    return load(RunFolder.open(path))
