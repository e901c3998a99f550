"""Where in the protocol a failure arose: the message that a node had just received.

For a slot that was decided twice this is the message on which the second value was applied; for an
impossible answer, the last message that the answering node had received before. It is reported with
a finding, but is not part of the signature: one bug may appear at several messages, and would be
reported as new each time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from harness.errors import HarnessError
from harness.reproduce.focus import Focus, focus_of
from harness.reproduce.recorded_run import RecordedRun, read_run

FIELDS: Final = ("ballot", "term", "slot")


def location_of(folder: Path) -> str:
    """A description; empty if the folder has no messages, or nothing is in dispute."""
    try:
        run = read_run(folder)
    except HarnessError:
        return ""
    focus = focus_of(run)
    moment = _second_value(run, focus) or _answer(run, focus)
    if moment is None or not run.messages:
        return ""
    at_us, node, what = moment
    arrived = [m for m in run.messages if m.target == node and (m.arrives_us or at_us + 1) <= at_us]
    if not arrived:
        return ""
    last = max(arrived, key=lambda message: message.arrives_us or 0)
    fields = ", ".join(f"{name} {last.fields[name]}" for name in FIELDS if name in last.fields)
    return f"node {node} {what} on {last.kind}({fields}) from node {last.source}"


def _second_value(run: RecordedRun, focus: Focus) -> tuple[int, int, str] | None:
    first: dict[int | str, str] = {}
    for decided in sorted(run.decided, key=lambda d: d.at_us):
        if decided.slot in focus.slots:
            value = repr(decided.commands)
            if first.setdefault(decided.slot, value) != value:
                return decided.at_us, decided.node, f"applied another value of slot {decided.slot}"
    return None


def _answer(run: RecordedRun, focus: Focus) -> tuple[int, int, str] | None:
    answers = [e for e in run.events if e.index in focus.events and e.type == "ok" and e.node]
    if not answers:
        return None
    last = answers[-1]
    return last.time // 1000, int(last.node or 0), "gave the last disputed answer"
