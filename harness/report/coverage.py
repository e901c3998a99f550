"""What a run did not test, which a valid verdict therefore does not cover.

Each finding is {area, tested, text}: `tested` findings state what happened, the others what did
not. They are derived from the history, the nodes' logs and the schedule.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from faults.kinds import KINDS, kinds_of
from harness.report.fault_bands import FaultBand
from harness.report.node_logs import NodeLogs
from harness.report.operations import INFO, MISMATCH, OK, OPEN, Operations
from histories.events import Json

STATES: Final = {
    "snapshot": ("a snapshot was taken", "no snapshot was taken"),
    "snapshot-installed": (
        "a snapshot was installed from another node",
        "no node caught up by installing another node's snapshot",
    ),
    "step-down": ("a leader stepped down while it was alive", "no leader stepped down while alive"),
    "torn-tail": (
        "a torn record was found at a restart",
        "no restart found a torn record at the end of its log",
    ),
}
"""Events of a node's log, with the texts for their presence and absence."""
OF_PROTOCOL: Final = {
    "epaxos": {
        "recovering": (
            "an instance of another owner was recovered",
            "no instance of another owner was recovered",
        ),
    },
    "fast-paxos": {
        "fast-open": ("fast rounds were opened", "no fast round was opened"),
        "fast-closed": (
            "fast rounds were closed because of collisions",
            "no collision closed the fast rounds",
        ),
    },
    "two-phase-commit": {
        "in-doubt": (
            "a participant was in doubt (blocked by its coordinator)",
            "no participant was ever in doubt",
        ),
    },
}
LEADERLESS: Final = frozenset(("epaxos", "basic-paxos"))


@dataclass(frozen=True)
class Evidence:
    """The input for the findings. `schedule` is schedule.json, `config` the flat settings."""

    config: dict[str, Any]
    schedule: dict[str, Any]
    verdict: dict[str, Any]
    operations: Operations
    bands: Sequence[FaultBand]
    logs: NodeLogs


def coverage(evidence: Evidence) -> list[dict[str, Json]]:
    """All findings, by area."""
    found: list[dict[str, Json]] = []
    for area, lines in (
        ("faults", _faults(evidence)),
        ("protocol", _protocol(evidence)),
        ("operations", _operations(evidence)),
        ("detectors", _detectors(evidence)),
    ):
        found += [{"area": area, "tested": tested, "text": text} for tested, text in lines]
    return found


Line = tuple[bool, str]


def _faults(evidence: Evidence) -> Iterator[Line]:
    composites = {
        str(f.get("id")): str(f.get("kind"))
        for f in evidence.schedule.get("faults") or ()
        if isinstance(f, dict)
    }
    struck = Counter(
        composites.get(b.id.partition(".")[0], b.kind)
        for b in evidence.bands
        if b.verified and b.strikes
    )
    asked = set(evidence.config.get("kinds") or ())
    for kind, count in sorted(struck.items()):
        yield True, f"{kind} injected {_times(count)}"
    never = sorted(asked - set(struck))
    if never:
        yield False, f"asked for, but never injected: {', '.join(never)}"
    possible = kinds_of(str(evidence.config.get("on"))) or tuple(KINDS)
    others = [kind for kind in possible if kind not in asked and kind not in struck]
    if others:
        yield False, f"kinds of faults that were not asked for: {', '.join(others)}"
    for band in evidence.bands:
        if band.verified is False or band.heal_verified is False:
            yield False, f"not proven: {band.what}: {band.problem or 'its probes disagree'}"
        elif not band.strikes:
            yield False, f"did not fire: {band.what}"
    recorded = {b.id.partition(".")[0] for b in evidence.bands}  # a composite's steps: f1.1, f1.2
    planned = [f for f in evidence.schedule.get("faults") or () if isinstance(f, dict)]
    missed = [f for f in planned if str(f.get("id")) not in recorded]
    if missed:
        kinds = ", ".join(sorted({str(f.get("kind")) for f in missed}))
        yield False, f"{len(missed)} planned faults were never asked for: {kinds}"
    yield from _targets(evidence)


def _targets(evidence: Evidence) -> Iterator[Line]:
    """Whether faults hit the leader, and overlapped."""
    leaders = evidence.logs.leaders()  # as reported by nodes: also one that this fault takes down
    if leaders and evidence.bands:
        hit = sum(_leader_at(leaders, b.asked_us) in b.nodes for b in evidence.bands if b.strikes)
        yield bool(hit), f"{hit or 'no'} of {len(evidence.bands)} faults hit the leader"
    overlapping = any(
        a.asked_us < (b.healed_us or 1 << 62) and b.asked_us < (a.healed_us or 1 << 62)
        for i, a in enumerate(evidence.bands)
        for b in evidence.bands[i + 1 :]
    )
    if len(evidence.bands) > 1:
        yield (
            overlapping,
            "faults overlapped" if overlapping else "no two faults were there at the same time",
        )


def _leader_at(leaders: Sequence[dict[str, Json]], at_us: int) -> int:
    return next((e["node"] for e in reversed(leaders) if e["at_us"] <= at_us), 0)


def _protocol(evidence: Evidence) -> Iterator[Line]:
    protocol = str(evidence.config.get("target", ""))
    if not evidence.logs.lines:
        yield False, "no node's log was recorded: which protocol states were reached is not known"
        return
    count = Counter(line[2] for line in evidence.logs.lines)
    if protocol not in LEADERLESS:
        changes = max(0, sum(1 for e in evidence.logs.leaders(evidence.bands) if e["node"]) - 1)
        yield (
            bool(changes),
            f"the leader changed {_times(changes)}" if changes else ("the leader never changed"),
        )
    restarts = sum(1 for line in evidence.logs.lines if line[2] == "recovered" and line[0] > 0)
    restarts = max(0, restarts if count["recovered"] else 0)
    yield (
        bool(restarts),
        f"nodes recovered from their disks {_times(restarts)}"
        if restarts
        else ("no node recovered from its disk after the start"),
    )
    for event, (did, did_not) in {**STATES, **OF_PROTOCOL.get(protocol, {})}.items():
        if event == "step-down" and protocol in LEADERLESS:
            continue
        seen = count[event]
        yield bool(seen), f"{did} ({seen})" if seen else did_not


def _operations(evidence: Evidence) -> Iterator[Line]:
    operations = evidence.operations
    names = operations.functions.list()
    by_function: dict[int, Counter[int]] = defaultdict(Counter)
    for function, outcome in zip(operations.function, operations.outcome, strict=True):
        by_function[function][outcome] += 1
    for function, outcomes in sorted(by_function.items()):
        answered = outcomes[OK] + outcomes[MISMATCH]
        total = sum(outcomes.values())
        yield bool(answered), f"{names[function]}: {answered} of {total} were answered"
    unknown = sum(o[INFO] + o[OPEN] for o in by_function.values())
    yield (
        bool(unknown),
        f"{unknown} operations have an unknown outcome"
        if unknown
        else "no operation ended with an unknown outcome",
    )
    shared = contended_keys(operations)
    keys = len(operations.keys.list()) - 1
    if keys > 0:
        text = f"on {shared} of {keys} keys operations overlapped"
        yield bool(shared), text if shared else "no two operations on one key ever overlapped"
    yield from _after_healing(evidence)


def contended_keys(operations: Operations) -> int:
    """On how many keys operations of different clients overlapped."""
    busy_until: dict[int, int] = {}
    shared: set[int] = set()
    for key, start, end in zip(operations.key, operations.start_us, operations.end_us, strict=True):
        if busy_until.get(key, -1) > start:
            shared.add(key)
        busy_until[key] = max(busy_until.get(key, -1), end)
    return len(shared)


def _after_healing(evidence: Evidence) -> Iterator[Line]:
    during = [
        (b.proven_us, b.heal_asked_us or 1 << 62) for b in evidence.bands if b.proven_us is not None
    ]
    if not during:
        return
    answered = sum(
        outcome in (OK, MISMATCH) and any(start <= at < end for start, end in during)
        for outcome, at in zip(evidence.operations.outcome, evidence.operations.end_us, strict=True)
    )
    yield (
        bool(answered),
        f"{answered} operations were answered while a fault was there"
        if answered
        else "no operation was answered while a fault was there",
    )


def _detectors(evidence: Evidence) -> Iterator[Line]:
    detectors = evidence.verdict.get("detectors") or {}
    for name, outcome in detectors.items():
        judged = outcome in ("valid", "invalid")
        yield judged, f"{name}: judged" if judged else f"{name}: not judged"
    agreement = evidence.verdict.get("agreement") or {}
    if agreement.get("unaccounted"):
        yield (
            False,
            f"{agreement['unaccounted']} acknowledged writes could not be looked for in the "
            "replicas' logs (snapshots hide them)",
        )


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
