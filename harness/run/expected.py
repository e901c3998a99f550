"""The files that a run should leave in its folder, and which of them are missing.

`run.json` lists before the run what is expected of it (`expected`), and after the nodes' files have
been collected their sizes and digests (`collected`). Judging the folder compares them: evidence
that is missing, truncated or changed makes the verdict unknown, by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from histories.errors import BadFolder
from histories.events import Json
from histories.folder import RunFolder
from histories.text import quoted

DECIDED: Final = "decided.jsonl"
STATES: Final = "states.jsonl"
WHAT: Final = {DECIDED: "the decided log", STATES: "the file of state digests"}
OTHER: Final = "other"


class Missing(NamedTuple):
    """One thing that is missing or changed. `what` is DECIDED, STATES or OTHER."""

    sentence: str
    what: str


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The expectations in run.json. `collected` is None where the run was cut off before the files
    were collected; `is_recorded` is False for folders of format 1, which do not have them.
    `problem`: why the expectations are unknown, in a sentence."""

    model: str = "kv"
    decided_logs: bool = True
    state_digests: bool = False
    nodes: tuple[int, ...] = ()
    keeps_faults: bool = False
    is_recorded: bool = False
    problem: str = ""
    collected: Mapping[str, Json] | None = field(default=None)

    @classmethod
    def of(cls, folder: RunFolder) -> Expected:
        """From the folder's run.json. Raises BadFolder where that exists and cannot be read."""
        if not folder.run.exists():
            return cls(problem="run.json is missing, which says what was to be recorded")
        document = folder.read_object(folder.run.name)
        model = document.get("model", "kv")
        if not isinstance(model, str):
            raise BadFolder(f"{folder.run} names the model {quoted(model)}")
        config, expected = _mapping(document.get("config")), document.get("expected")
        known = cls(model=model, keeps_faults=config.get("heal") == "quorum")
        if document.get("format") == 1 and expected is None:
            return known
        wrong = _what_is_wrong(expected, document.get("collected"))
        if wrong:
            return replace(known, problem=f"run.json does not say what was recorded: {wrong}")
        asked = _mapping(expected)
        return replace(
            known,
            decided_logs=asked.get("decided_logs", True),
            state_digests=asked.get("state_digests", False),
            nodes=tuple(asked.get("nodes", ())),
            is_recorded=True,
            collected=document.get("collected"),
        )


def _what_is_wrong(expected: Json, collected: Json) -> str:
    if not isinstance(expected, dict):
        return f"expected is {quoted(expected)}"
    for name in ("decided_logs", "state_digests"):
        if not isinstance(expected.get(name, True), bool):
            return f"{name} is {quoted(expected[name])}"
    nodes = expected.get("nodes", [])
    if not isinstance(nodes, list) or not all(type(n) is int for n in nodes):
        return f"nodes are {quoted(nodes)}"
    if collected is not None and not isinstance(collected, dict):
        return f"collected is {quoted(collected)}"
    return ""


def fingerprints(nodes: Path) -> dict[str, Json]:
    """`collected` of run.json: every file of the folder `nodes`, {"bytes": n, "sha256": hex}."""
    found: dict[str, Json] = {}
    for path in sorted(nodes.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = path.stat().st_size
            found[path.relative_to(nodes).as_posix()] = {"bytes": size, "sha256": digest}
    return found


def missing_evidence(folder: RunFolder, expected: Expected) -> list[Missing]:
    """The evidence that is missing or changed."""
    if expected.problem:
        return [Missing(expected.problem, OTHER)]
    if not expected.is_recorded:
        return []
    if expected.collected is None:
        sentence = "the nodes' logs were not collected: the run was cut off before"
        return [Missing(sentence, DECIDED if expected.decided_logs else OTHER)]
    wanted = [DECIDED] * expected.decided_logs + [STATES] * expected.state_digests
    missing = [
        Missing(f"{WHAT[what]} nodes/{name} was not collected", what)
        for what in wanted
        for name in (f"n{node}.{what}" for node in expected.nodes)
        if name not in expected.collected
    ]
    now = fingerprints(folder.nodes)
    for name, recorded in expected.collected.items():
        what = next((what for what in WHAT if name.endswith(f".{what}")), OTHER)
        if name not in now:
            missing.append(Missing(f"nodes/{name} is missing from the folder", what))
        elif now[name] != recorded:
            words = f"nodes/{name} is not what was collected: it was changed or cut since"
            missing.append(Missing(words, what))
    return missing


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
