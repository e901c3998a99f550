"""The verdict on a run, from its history and the replicas' logs alone.

    linearizability   what clients saw was possible
    agreement         what replicas decided does not contradict itself or what was acknowledged
    liveness          after healing, the cluster answered within the bound

Any detector's `invalid` makes the run invalid. Otherwise a checker that ran out of time, a fault
that did not take effect, or a run in which no operation was answered makes it `unknown`: never a
pass. A run that was cut off, or interrupted, has no last round: its liveness is unknown, which is
said, and does not spoil what the other two found.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from faults.kinds import fault_from_json
from histories.agreement import AgreementVerdict, check_folder
from histories.availability import Availability, measure
from histories.checker import EXIT_CODES, Verdict, check
from histories.events import NEMESIS, Event, Json
from histories.folder import RunFolder
from histories.formats.native import History, read

CRASHES: Final = "crashes.json"
"""Beside the nodes' logs, where a simulated protocol raised an exception."""


@dataclass(frozen=True)
class Liveness:
    """`outcome` is valid, invalid, or unknown where the run ended before its last round."""

    outcome: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class RunVerdict:
    """What the detectors said, and what it comes to. `faults` is one JSON object per fault."""

    outcome: str
    linearizability: Verdict
    agreement: AgreementVerdict | None
    liveness: Liveness
    availability: Availability
    faults: list[dict[str, Json]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.outcome]

    def detectors(self) -> dict[str, str]:
        """Each detector's own outcome."""
        return {
            "linearizability": self.linearizability.outcome,
            "agreement": self.agreement.outcome if self.agreement else "unknown",
            "liveness": self.liveness.outcome,
        }

    def to_json(self) -> dict[str, Json]:
        """verdict.json."""
        return {
            "verdict": self.outcome,
            "detectors": self.detectors(),
            "reasons": self.reasons,
            "notes": self.notes,
            "availability": self.availability.to_json(),
            "linearizability": self.linearizability.to_json(),
            "agreement": self.agreement.to_json() if self.agreement else None,
            "liveness": {"outcome": self.liveness.outcome, "reason": self.liveness.reason},
            "faults": self.faults,
        }


def judge_folder(
    folder: RunFolder,
    *,
    model: str | None = None,
    initial: Json = None,
    time_limit_s: float | None = None,
) -> RunVerdict:
    """Judge a recorded run, complete or cut off. Raises HistoryError for what cannot be read."""
    history = read(folder.history)
    linearizability = check(
        history, model=model or model_of(folder), initial=initial, time_limit_s=time_limit_s
    )
    agreement = check_folder(folder, history.events)
    return combine(history, linearizability, agreement, crashes_of(folder))


def crashes_of(folder: RunFolder) -> list[str]:
    """What the simulator recorded of exceptions that came out of the protocol, in words."""
    path = folder.nodes / CRASHES
    if not path.exists():
        return []
    return [str(crash["describe"]) for crash in json.loads(path.read_text(encoding="utf-8"))]


def model_of(folder: RunFolder) -> str:
    """The model that the run's workload is judged by, as run.json says; else kv."""
    if not folder.run.exists():
        return "kv"
    document = folder.read_json(folder.run.name)
    found = document.get("model") if isinstance(document, dict) else None
    return found if isinstance(found, str) else "kv"


def combine(
    history: History,
    linearizability: Verdict,
    agreement: AgreementVerdict | None,
    crashes: Sequence[str] = (),
) -> RunVerdict:
    """What the detectors' findings come to, for a run with this history. A protocol that raised an
    exception is a finding of its own: `crashes` says which, in words."""
    events = history.events
    availability = measure(events)
    faults = faults_of(events)
    liveness = _liveness(events)
    invalid = [*crashes, *_invalid_reasons(linearizability, agreement, liveness)]
    doubtful = _doubts(linearizability, faults, availability)
    return RunVerdict(
        outcome="invalid" if invalid else "unknown" if doubtful else "valid",
        linearizability=linearizability,
        agreement=agreement,
        liveness=liveness,
        availability=availability,
        faults=faults,
        reasons=invalid + doubtful,
        notes=_notes(history, agreement, liveness),
    )


def _invalid_reasons(
    linearizability: Verdict, agreement: AgreementVerdict | None, liveness: Liveness
) -> list[str]:
    reasons = []
    if linearizability.outcome == "invalid":
        reasons.append(linearizability.sentence)
    if agreement is not None and agreement.outcome == "invalid":
        reasons += [finding.sentence for finding in agreement.findings[:3]]
    if liveness.outcome == "invalid":
        reasons.append(liveness.reason)
    return reasons


def _doubts(
    linearizability: Verdict, faults: Sequence[dict[str, Json]], availability: Availability
) -> list[str]:
    doubts = [
        f"{fault['what']} ({fault['id']}) did not take effect as it should: "
        f"{report.get('problem', 'its probes disagree')}"
        for fault in faults
        for report in (fault["inject"], fault["heal"])
        if report is not None and not report["verified"]
    ]
    if linearizability.outcome == "unknown":
        doubts.append(linearizability.sentence)
    if not availability.latencies:
        doubts.append("no operation was answered: there is nothing to judge")
    return doubts


def _notes(history: History, agreement: AgreementVerdict | None, liveness: Liveness) -> list[str]:
    notes = list(history.notes)
    if agreement is None:
        notes.append("no replica's decided log was recorded: agreement was not judged")
    else:
        notes += agreement.notes
    if liveness.outcome == "unknown":
        notes.append(liveness.reason)
    return notes


def _liveness(events: Sequence[Event]) -> Liveness:
    ends = [e.extra or {} for e in events[-3:] if e.f == "phase" and e.value == "done"]
    if not ends:
        return Liveness("unknown", "the run was cut off: whether it was live was not judged")
    if ends[-1].get("not_live"):
        return Liveness("invalid", str(ends[-1]["not_live"]))
    if ends[-1].get("why"):
        return Liveness("unknown", f"the run was stopped {ends[-1]['why']}")
    if ends[-1].get("interrupted"):
        return Liveness("unknown", "the run was interrupted: whether it was live was not judged")
    if ends[-1].get("finale") is False:
        return Liveness("unknown", "the run had no last round: whether it was live was not judged")
    return Liveness("valid")


def faults_of(events: Sequence[Event]) -> list[dict[str, Json]]:
    """One JSON object per fault of the history, in the order of injection:

    id, kind, what (words), at_s and for_s (from the start of the run; None: never healed),
    spread_us (between the first and the last node's moment of the injection), and the reports
    `inject` and `heal` as recorded, None where the run ended before them.
    """
    faults: dict[str, dict[str, Json]] = {}
    for event in events:
        if event.process != NEMESIS or event.f not in ("inject", "heal"):
            continue
        identity = event.value["id"]
        if event.type == "invoke" and event.f == "inject":
            faults[identity] = {
                "id": identity,
                "kind": event.value["kind"],
                "what": fault_from_json(event.value).describe(),
                "at_s": round(event.time / 1e9, 6),
                "for_s": None,
                "spread_us": None,
                "inject": None,
                "heal": None,
            }
        elif event.type == "info" and identity in faults:
            _report(faults[identity], event)
    return list(faults.values())


def _report(fault: dict[str, Json], event: Event) -> None:
    report = dict(event.extra or {})
    fault[event.f] = report
    moments = list(report.get("moments", {}).values())
    if event.f == "inject" and moments:
        fault["spread_us"] = (max(moments) - min(moments)) // 1000
    elif event.f == "heal":
        end_ns = max(moments, default=event.time)
        fault["for_s"] = round(max(0.0, end_ns / 1e9 - fault["at_s"]), 6)
