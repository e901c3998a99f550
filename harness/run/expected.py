"""The files that a run should leave in its folder, and which of them are missing.

`run.json` lists before the run what is expected of it (`expected`), and after the nodes' files have
been collected their sizes and digests (`collected`), and which could not be (`uncollected`).
`digests.json` has those of run.json itself, of the schedule and of the history, and finally of
verdict.json. Judging the folder compares them: evidence that is missing, truncated or changed makes
the verdict unknown, by name. This finds accidents and edits of single files, not a forger, who
would write new digests too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from histories.errors import BadFolder, in_words
from histories.events import Json
from histories.folder import (
    COMPRESSED,
    CRASHES,
    DIGESTS,
    HISTORY,
    RUN,
    SCHEDULE,
    VERDICT,
    RunFolder,
)
from histories.text import quoted
from histories.untrusted import open_regular

DECIDED: Final = "decided.jsonl"
STATES: Final = "states.jsonl"
WHAT: Final = {DECIDED: "the decided log", STATES: "the file of state digests"}
OTHER: Final = "other"
SEALED: Final = (RUN, SCHEDULE, HISTORY)
"""The files whose digests are in digests.json when the run ends; that of verdict.json follows."""
OF_A_NODE: Final = re.compile(r"n\d+\..+")


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
    with open_regular(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def write_digests(folder: RunFolder) -> None:
    """digests.json, when nothing is written to the files of SEALED any more. Raises OSError."""
    folder.write_json(DIGESTS, {name: fingerprint(folder.path / name) for name in SEALED})


def seal_verdict(folder: RunFolder) -> None:
    """Add the digest of verdict.json to digests.json, where that exists. Raises OSError, and
    BadFolder where it cannot be read."""
    if folder.digests.exists():
        recorded = folder.read_object(DIGESTS)
        folder.write_json(DIGESTS, recorded | {VERDICT: fingerprint(folder.verdict)})


def is_verdict_sealed(folder: RunFolder) -> bool:
    """Whether digests.json has a digest of verdict.json."""
    return VERDICT in _digests(folder)


def verdict_change(folder: RunFolder) -> str:
    """In a sentence, that verdict.json is not what was recorded; "" where nothing shows that."""
    return next(iter(changed_files(folder, (VERDICT,))), "")


def changed_files(folder: RunFolder, names: Iterable[str]) -> list[str]:
    """Which of these files, as far as they have a digest, are missing or changed, in sentences."""
    recorded = _digests(folder)
    return [
        sentence
        for name in names
        if name in recorded and (sentence := _change(folder.path / name, name, recorded[name]))
    ]


def _digests(folder: RunFolder) -> dict[str, Json]:
    try:
        return folder.read_object(DIGESTS) if folder.digests.exists() else {}
    except BadFolder:
        return {}


def _change(path: Path, name: str, recorded: Json) -> str:
    """In a sentence, that a file is not what was recorded (None: that it did not exist)."""
    try:
        now: Json = fingerprint(path)
    except FileNotFoundError:
        now = None
    except OSError as error:
        return f"{name} cannot be read: {in_words(error)}"
    if now is None and recorded is not None:
        return f"{name} is missing from the folder"
    if now != recorded:
        return f"{name} is not what was recorded: it was changed or cut since"
    return ""


def missing_evidence(folder: RunFolder, expected: Expected) -> list[Missing]:
    """The evidence that is missing or changed."""
    return [*_changed(folder, expected), *_missing_of_nodes(folder, expected)]


def changed_evidence(folder: RunFolder, expected: Expected) -> list[Missing]:
    """Only what is missing or changed since the run has ended."""
    return [*_changed(folder, expected), *_changed_of_nodes(folder, expected)]


def looks_changed(folder: RunFolder, expected: Expected) -> str:
    """The same at a glance, for lists of many runs: the history and the nodes' files by sizes
    alone. The first change, in a sentence; "" where there is none."""
    recorded = _digests(folder)
    if not recorded and expected.has_digests and expected.collected is not None:
        return f"{DIGESTS} is missing from the folder"
    sizes: dict[str, Json] = {}
    if HISTORY in recorded and not (folder.path / COMPRESSED).exists():
        sizes[HISTORY] = recorded[HISTORY]
    collected = expected.collected or {}
    sizes |= {f"{folder.nodes.name}/{name}": told for name, told in collected.items()}
    for name, told in sizes.items():
        try:
            size = (folder.path / name).stat().st_size
        except (OSError, ValueError):  # a name may be any text
            return f"{name} is missing from the folder"
        if not isinstance(told, dict) or told.get("bytes") != size:
            return f"{name} is not what was recorded: it was changed or cut since"
    if expected.collected is not None:
        for added in _added(sorted(path.name for path in folder.nodes.glob("*")), expected):
            return added.sentence
    return next(iter(changed_files(folder, (RUN, SCHEDULE, VERDICT))), "")


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
        if sentence := _change(folder.path / name, name, recorded.get(name)):
            yield Missing(sentence, OTHER)


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
    return missing + _changed_of_nodes(folder, expected)


def _changed_of_nodes(folder: RunFolder, expected: Expected) -> list[Missing]:
    """The files that are not as they were collected, and those of nodes that were added since."""
    if expected.collected is None:
        return []
    missing = []
    now = fingerprints(folder.nodes)
    for name, recorded in expected.collected.items():
        what = _what(name)
        if name not in now:
            missing.append(Missing(f"nodes/{name} is missing from the folder", what))
        elif now[name] != recorded:
            words = f"nodes/{name} is not what was collected: it was changed or cut since"
            missing.append(Missing(words, what))
    return missing + _added(now, expected)


def _added(names: Iterable[str], expected: Expected) -> list[Missing]:
    """The files of nodes, or of crashes, that the run did not leave."""
    known = {*(expected.collected or ()), *expected.uncollected}
    return [
        Missing(f"nodes/{name} is not of this run: it was added to the folder", _what(name))
        for name in names
        if name not in known and (OF_A_NODE.fullmatch(name) or name == CRASHES)
    ]


def _what(name: str) -> str:
    return next((what for what in WHAT if name.endswith(f".{what}")), OTHER)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
