"""Events at nodes that were not caused by a scheduled fault, as recorded in the history.

An event of process nemesis with f NODE_FINDING, whose value has

    node, role     which node; whether it was the node itself or its agent. ENGINE: neither, the
                   engine's events could not be followed to the end, so that nobody knows
    what           "ended", "was paused", "was removed", ...
    by             "itself"; "outside": another user of the engine caused it; "fault": one that
                   was healed before, and the node was started again; "doubtful": the same, but
                   nothing shows that it was because of it; "unknown"
    exit_code      of a process that ended; 128 + n where signal n ended it
    log            the last lines that it printed

A node that crashes by itself is a finding about the node. Interference from outside, an agent that
has ended, an end that a fault may have caused which nothing shows, or a node that does not answer
at the end of the run though it runs, is not a finding about the cluster, but makes the run unknown.

Failures of the nodes' clients are also recorded, once, at the end of the run, with role "client"
and `problems`, a list of {node, kind, count, first} (`harness.targets.guarded_client`). Invalid
answers are reported in a note. A failure in a client's own code proves nothing about the cluster.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from histories.events import NEMESIS, Event
from histories.text import one_line, quoted

NODE_FINDING: Final = "node"
CLIENT: Final = "client"
ENGINE: Final = "engine"
BY: Final = {
    "itself": " without any fault",
    "outside": " by interference from outside",
    "fault": " because of a fault that was healed before, and was started again,",
    "doubtful": " soon after a fault that may have caused it, which nothing shows, and was started "
    "again,",
    "unknown": "",
}
LINES_SHOWN: Final = 4
CLIENTS_MAX: Final = 200
WORDS_MAX: Final = 200
LOG_SHOWN: Final = 4_000


class NodeFinding(NamedTuple):
    """One such event, in a sentence."""

    sentence: str
    by_itself: bool
    explained: bool = False
    """A fault explains it: it is only worth a note."""


def node_findings(events: Sequence[Event]) -> list[NodeFinding]:
    """Those of a history, in their order."""
    return [
        _finding(event.value, event.time)
        for event in events
        if _is_finding(event) and event.value.get("role") != CLIENT
    ]


class ClientFinding(NamedTuple):
    """What was wrong with one node's client, in a sentence. `failed`: the client's own code."""

    sentence: str
    failed: bool


def client_findings(events: Sequence[Event]) -> list[ClientFinding]:
    """Those of a history."""
    problems = [
        problem
        for event in events
        if _is_finding(event) and event.value.get("role") == CLIENT
        for problem in _listed(event.value.get("problems"))
        if isinstance(problem, dict)
    ]
    return [_client_finding(problem) for problem in problems[:CLIENTS_MAX]]


def _is_finding(event: Event) -> bool:
    return event.process == NEMESIS and event.f == NODE_FINDING and isinstance(event.value, dict)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _client_finding(problem: dict[str, Any]) -> ClientFinding:
    node, count, first = problem.get("node"), problem.get("count"), problem.get("first")
    words = one_line(str(first), WORDS_MAX)
    if problem.get("kind") == "answers":
        return ClientFinding(
            f"n{_text(node)} sent {quoted(count)} invalid response{'' if count == 1 else 's'}; "
            f"the first: {words}",
            failed=False,
        )
    whose = f"the target's client of n{_text(node)}" if node else "a client of the target"
    times = "once" if count == 1 else f"{quoted(count)} times"
    return ClientFinding(f"{whose} raised an error {times}; the first: {words}", failed=True)


def _finding(value: dict[str, Any], time_ns: int) -> NodeFinding:
    by_itself = value.get("by") == "itself"
    node, role = f"n{_text(value.get('node'))}", value.get("role")
    who = {"node": node, ENGINE: "the engine"}.get(str(role), f"the agent of {node}")
    how = _how(value.get("exit_code"))
    by = BY.get(str(value.get("by")), BY["outside"])
    sentence = f"{who} {one_line(str(value.get('what')), 80)}{how}{by} at {time_ns / 1e9:.3f} s"
    lines = str(value.get("log") or "")[-LOG_SHOWN:].strip().splitlines()[-LINES_SHOWN:]
    if lines and (value.get("what") == "ended" or value.get("by") == "unknown"):
        shown = [one_line(line.strip(), WORDS_MAX) for line in lines]
        sentence += "; its last lines: " + " | ".join(shown)
    return NodeFinding(sentence, by_itself, value.get("by") == "fault")


def _how(code: Any) -> str:
    if type(code) is not int:
        return ""
    if code > 128:
        try:
            return f" ({signal.Signals(code - 128).name})"
        except (ValueError, OverflowError):
            pass
    return f" (exit code {quoted(code)})"


def _text(value: Any) -> str:
    return one_line(str(value), 40)
