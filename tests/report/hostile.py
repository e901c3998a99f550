"""A run whose keys, values, errors, node logs and names try to be markup or terminal escapes."""

from __future__ import annotations

import json
from pathlib import Path

from histories.events import NEMESIS, Event
from histories.folder import RunFolder
from tests.report.folders import operation, written

HOSTILE = (
    "PLANTED</script><script>globalThis.planted=1</script><img src=x onerror=planted=1>"
    "<!--{{7*7}}\x1b]0;title\x07\x1b[2J\x9b1m\u202e[bold red][link=file:///etc/passwd]\ud83d"
)


def hostile_folder(store: Path) -> RunFolder:
    """An invalid run with such texts wherever a text may come from outside."""
    bad = HOSTILE.replace("\ud83d", "")
    fault = {"kind": bad, "id": bad, "nodes": [1], "start_us": 0, "duration_us": 1}
    report = {"moments": {bad: 1000}, "verified": False, "problem": bad, "evidence": {bad: bad}}
    events = [
        *operation(0, 0, 0, "write", bad, bad),
        *operation(2, 1, 10, "write", bad, bad + "2"),
        *operation(4, 0, 20, "read", bad, None, bad),
        Event(6, 22_000_000, NEMESIS, "invoke", "inject", value=fault),
        Event(7, 23_000_000, NEMESIS, "info", "inject", value=fault, extra=report),
        Event(8, 24_000_000, NEMESIS, "info", "phase", value=bad),
        Event(9, 30_000_000, 5, "invoke", bad, bad, {bad: [bad]}),
        Event(10, 31_000_000, 5, "fail", bad, bad, {bad: [bad]}, None, bad),
    ]
    run = {"format": 1, "model": "kv", "config": {"target": bad, "cluster": {"nodes": 2}}}
    verdict = {
        "verdict": "invalid",
        "reasons": [bad, bad],
        "notes": [bad],
        "detectors": {"linearizability": "invalid", bad: "invalid"},
        "linearizability": {
            "verdict": "invalid",
            "model": "kv",
            "operations": 3,
            "checker": "kernel",
            "seconds": 0,
            "notes": [],
            "sentence": bad,
            "partitions": [_partition(bad)],
        },
        "agreement": {"findings": [{"kind": bad, "sentence": bad, "slot": bad}]},
    }
    folder = written(
        store, f"hostile-{len(list(store.iterdir()))}", events, run=run, verdict=verdict
    )
    line = json.dumps({"time": 1000, "event": bad, "text": bad})
    folder.node_log(1).write_text(f"{line}\n{bad}\n", encoding="utf-8")
    record = {"time": 1000, "slot": bad, "ballot": [1, 2], "commands": [[1, 1, bad, bad, bad]]}
    folder.node_decided(1).write_text(json.dumps(record) + "\n", encoding="utf-8")
    (folder.path / "story.txt").write_text(f"  0.001000   {bad}\n", encoding="utf-8")
    message = {"sent_us": 5, "departs_us": 5, "arrives_us": None, "source": 1, "target": 2}
    text = json.dumps(message | {"kind": bad, "fields": {bad: bad}, "reason": bad})
    folder.messages.write_text(text + "\n", encoding="utf-8")
    return folder


def _partition(bad: str) -> dict[str, object]:
    common = {"f": "write", "key": bad, "outcome": "ok"}
    operations = [
        common | {"process": 0, "value": bad, "call": 0, "return": 1, "call_ns": 0},
        common | {"process": 1, "value": bad + "2", "call": 2, "return": 3, "call_ns": 10_000_000},
        {"process": 0, "f": "read", "key": bad, "outcome": "ok", "value": None, "result": bad}
        | {"call": 4, "return": 5, "call_ns": 20_000_000},
    ]
    for op in operations:
        op["return_ns"] = int(str(op["call_ns"])) + 1_000_000
    evidence = {"anomaly": bad, "sentence": bad, "could": [bad], "minimal": True}
    return {
        "key": bad,
        "verdict": "invalid",
        "operations": 3,
        "method": "search",
        "judged": 3,
        "evidence": evidence | {"operations": operations},
        "weaker": [bad],
    }
