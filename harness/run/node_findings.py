"""What happened to nodes without a fault of the schedule, as the history records it.

An event of process nemesis with f NODE_FINDING, whose value has

    node, role     which node, and whether it is the node itself or its agent
    what           "ended", "was paused", "was removed", ...
    by             "itself", or "outside": somebody else used the engine on it
    exit_code      of a process that ended; 128 + n where signal n ended it
    log            the last lines that it printed

A node that ends by itself is a finding about the node. Interference from outside, or an agent that
is gone, says nothing about the cluster: the run cannot be judged as if it had not happened.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from histories.events import NEMESIS, Event

NODE_FINDING: Final = "node"
LINES_SHOWN: Final = 4


class NodeFinding(NamedTuple):
    """One such event, in a sentence."""

    sentence: str
    by_itself: bool


def node_findings(events: Sequence[Event]) -> list[NodeFinding]:
    """Those of a history, in their order."""
    return [
        _finding(event.value, event.time)
        for event in events
        if event.process == NEMESIS and event.f == NODE_FINDING and isinstance(event.value, dict)
    ]


def _finding(value: dict[str, Any], time_ns: int) -> NodeFinding:
    by_itself = value.get("by") == "itself"
    who = (
        f"n{value.get('node')}"
        if value.get("role") == "node"
        else (f"the agent of n{value.get('node')}")
    )
    how = _how(value.get("exit_code"))
    by = "without any fault" if by_itself else "by interference from outside"
    sentence = f"{who} {value.get('what')}{how} {by} at {time_ns / 1e9:.3f} s"
    lines = str(value.get("log") or "").strip().splitlines()[-LINES_SHOWN:]
    if lines and value.get("what") == "ended":
        sentence += "; its last lines: " + " | ".join(line.strip() for line in lines)
    return NodeFinding(sentence, by_itself)


def _how(code: Any) -> str:
    if type(code) is not int:
        return ""
    if code > 128:
        try:
            return f" ({signal.Signals(code - 128).name})"
        except ValueError:
            pass
    return f" (exit code {code})"
