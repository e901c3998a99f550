"""The files that a run should leave in its folder, and which of them are missing.

`run.json` lists before the run what is expected of it (`expected`), and after the nodes' files have
been collected their sizes and digests (`collected`), and which could not be (`uncollected`).
`digests.json`, written last, has those of run.json itself, of the schedule and of the history.
Judging the folder compares them: evidence that is missing, truncated or changed makes the verdict
unknown, by name. This finds accidents and edits of single files, not a forger, who would write new
digests too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from histories.errors import BadFolder
from histories.events import Json
from histories.folder import DIGESTS, HISTORY, RUN, SCHEDULE, RunFolder
from histories.text import quoted

DECIDED: Final = "decided.jsonl"
STATES: Final = "states.jsonl"
WHAT: Final = {DECIDED: "the decided log", STATES: "the file of state digests"}
OTHER: Final = "other"
SEALED: Final = (RUN, SCHEDULE, HISTORY)
"""The files whose digests are in digests.json."""


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
    uncollected: Mapping[str, str] = field(default_factory=dict)
    """The files that could not be copied out of the nodes, each with the reason."""
    has_digests: bool = False
    """Whether there must be a digests.json, once the files have been collected."""

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
        wrong = _what_is_wrong(expected, document.get("collected"), document.get("uncollected"))
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
            uncollected=document.get("uncollected") or {},
            has_digests=asked.get("digests", False),
        )


def _what_is_wrong(expected: Json, collected: Json, uncollected: Json) -> str:
    if not isinstance(expected, dict):
        return f"expected is {quoted(expected)}"
    for name in ("decided_logs", "state_digests", "digests"):
        if not isinstance(expected.get(name, True), bool):
            return f"{name} is {quoted(expected[name])}"
    nodes = expected.get("nodes", [])
    if not isinstance(nodes, list) or not all(type(n) is int for n in nodes):
        return f"nodes are {quoted(nodes)}"
    if collected is not None and not isinstance(collected, dict):
        return f"collected is {quoted(collected)}"
    if uncollected is not None and not (
        isinstance(uncollected, dict) and all(isinstance(why, str) for why in uncollected.values())
    ):
        return f"uncollected is {quoted(uncollected)}"
    return ""


def fingerprints(nodes: Path) -> dict[str, Json]:
    """`collected` of run.json: every file of the folder `nodes`, {"bytes": n, "sha256": hex}."""
    return {
        path.relative_to(nodes).as_posix(): fingerprint(path)
        for path in sorted(nodes.rglob("*"))
        if path.is_file()
    }


def fingerprint(path: Path) -> dict[str, Json]:
    """{"bytes": n, "sha256": hex}. Raises OSError."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def write_digests(folder: RunFolder) -> None:
    """digests.json, when nothing is written to the files of SEALED any more. Raises OSError."""
    folder.write_json(DIGESTS, {name: fingerprint(folder.path / name) for name in SEALED})


def missing_evidence(folder: RunFolder, expected: Expected) -> list[Missing]:
    """The evidence that is missing or changed."""
    return [*_changed(folder, expected), *_missing_of_nodes(folder, expected)]


def _changed(folder: RunFolder, expected: Expected) -> Iterator[Missing]:
    """The files of SEALED that are not what they were when the run ended."""
    if not folder.digests.exists():
        if expected.has_digests and expected.collected is not None:
            yield Missing(f"{DIGESTS} is missing from the folder", OTHER)
        return
    try:
        recorded = folder.read_object(DIGESTS)
    except BadFolder as error:
        yield Missing(str(error), OTHER)
        return
    for name in SEALED:
        try:
            now: Json = fingerprint(folder.path / name)
        except OSError:
            now = None
        if now is None and recorded.get(name) is not None:
            yield Missing(f"{name} is missing from the folder", OTHER)
        elif now != recorded.get(name):
            yield Missing(f"{name} is not what was recorded: it was changed or cut since", OTHER)


def _missing_of_nodes(folder: RunFolder, expected: Expected) -> list[Missing]:
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
        if name not in expected.collected and name not in expected.uncollected
    ]
    missing += [
        Missing(f"nodes/{name} could not be collected: {why}", _what(name))
        for name, why in expected.uncollected.items()
    ]
    now = fingerprints(folder.nodes)
    for name, recorded in expected.collected.items():
        what = _what(name)
        if name not in now:
            missing.append(Missing(f"nodes/{name} is missing from the folder", what))
        elif now[name] != recorded:
            words = f"nodes/{name} is not what was collected: it was changed or cut since"
            missing.append(Missing(words, what))
    return missing


def _what(name: str) -> str:
    return next((what for what in WHAT if name.endswith(f".{what}")), OTHER)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
