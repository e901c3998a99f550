"""The faults in a history: when each was requested, and its reports."""

from __future__ import annotations

from collections.abc import Sequence

from faults.kinds import fault_from_json
from histories.events import NEMESIS, Event, Json


def faults_of(events: Sequence[Event]) -> list[dict[str, Json]]:
    """One JSON object per fault of the history, in the order of injection:

    id, kind, what (words), at_s and for_s (from the start of the run; None: never healed),
    spread_us (between the first and the last node's time of the injection), and the reports
    `inject` and `heal` as recorded, None where the run ended before them; healing: whether healing
    was requested.
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
                "healing": False,
            }
        elif event.type == "invoke" and identity in faults:
            faults[identity]["healing"] = True
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


def unproven(faults: Sequence[dict[str, Json]], *, kept: bool) -> list[str]:
    """Why the faults of a run are not proven to have taken effect and to have been healed, in
    sentences. `kept`: faults whose healing was never requested were meant to outlast the run."""
    doubts = []
    for fault in faults:
        what = f"{fault['what']} ({fault['id']})"
        for step, words in (("inject", "took effect"), ("heal", "ended")):
            report = fault[step]
            if report is None:
                if step == "heal" and kept and not fault["healing"]:
                    continue
                doubts.append(f"there is no report that {what} {words}")
                break
            if not report.get("verified"):
                problem = report.get("problem") or "its probes disagree"
                doubts.append(f"it is not verified that {what} {words}: {problem}")
    return doubts
