"""What a run was to leave in its folder, and what of that is not there.

`run.json` says before the run what is expected of it (`expected`), and after the nodes' files have
been collected which they are, with sizes and digests (`collected`). Whoever judges the folder later
compares: evidence that is missing, cut short or changed makes the verdict unknown, by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from histories.events import Json
from histories.folder import RunFolder

DECIDED: Final = "decided.jsonl"
STATES: Final = "states.jsonl"
WHAT: Final = {DECIDED: "the decided log", STATES: "the file of state digests"}
OTHER: Final = "other"


class Missing(NamedTuple):
    """One thing that is not as it was to be. `what` is DECIDED, STATES or OTHER."""

    sentence: str
    what: str


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What run.json says. `collected` is None where the run was cut off before it had collected;
    `is_recorded` is False for folders of format 1, which say nothing of this."""

    model: str = "kv"
    decided_logs: bool = True
    state_digests: bool = False
    nodes: tuple[int, ...] = ()
    keeps_faults: bool = False
    is_recorded: bool = False
    collected: Mapping[str, Json] | None = field(default=None)

    @classmethod
    def of(cls, folder: RunFolder) -> Expected:
        """From the folder's run.json. Raises BadFolder where that is there and cannot be read."""
        document = folder.read_object(folder.run.name) if folder.run.exists() else {}
        config, expected = _mapping(document.get("config")), document.get("expected")
        model, collected = document.get("model"), document.get("collected")
        asked = _mapping(expected)
        nodes = asked.get("nodes", ())
        return cls(
            model=model if isinstance(model, str) else "kv",
            decided_logs=bool(asked.get("decided_logs", True)),
            state_digests=bool(asked.get("state_digests", False)),
            nodes=tuple(n for n in nodes if type(n) is int) if isinstance(nodes, list) else (),
            keeps_faults=config.get("heal") == "quorum",
            is_recorded=isinstance(expected, dict),
            collected=collected if isinstance(collected, dict) else None,
        )


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
    """What was to be recorded and is not there, or is not what was recorded."""
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
