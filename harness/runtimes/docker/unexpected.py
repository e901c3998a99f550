"""Events of a run's containers that no scheduled fault has caused: findings for the history.

The end of a node's process is expected while a fault that may end it is being injected, is active,
or is being healed; otherwise the node crashed by itself. Signals, pauses and removals through the
engine are by other programs, since faults act through the agents.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from faults.description import Fault
from faults.kinds.disk_damage import DiskDamage
from harness.runtimes.docker import limits
from harness.runtimes.docker.pods import Pod, PodEngine
from harness.runtimes.docker.wants import DISK_SPACE, MEMORY, Want, last_words
from harness.runtimes.docker.watch import ContainerEvent

ENDS_NODES: Final = frozenset(
    (
        *("kill", "stop", "crash-loop", "rolling", "amnesia", "power", "memory", "aimed"),
        *("disk-full", "disk-damage"),
    )
)
"""Kinds of faults that end a node's processes."""
LATE_KINDS: Final[Mapping[str, Want]] = {"disk-full": DISK_SPACE, "memory": MEMORY}
"""Kinds because of which a node may end when they are healed already, and for want of what: it has
met an error, and was paused, or waited for its disk, before it could end."""
LATE_S: Final = 20.0
WORDS: Final = {
    "die": "ended",
    "kill": "was sent a signal",
    "pause": "was paused",
    "unpause": "was resumed",
    "destroy": "was removed",
    "restart": "was restarted",
}
"""Descriptions of the engine's events."""
LOG_MAX: Final = 2_000


class UnexpectedEvents:
    """`began` and `ended` for every fault; `is_unexpected` for every event of the engine."""

    def __init__(self, engine: PodEngine, pods: Mapping[int, Pod]) -> None:
        self._engine = engine
        self._pods = pods
        self._faults: dict[str, Fault] = {}
        """The faults that are being injected, are active, or are being healed."""
        self._known: set[tuple[str, int]] = set()
        """The containers of which something has been told already, by role and node."""
        self._may_end_until: dict[int, dict[Want, float]] = {}
        """By node, until when an end may be the consequence of a fault that is healed, and for want
        of what."""
        self._touched: set[int] = set()
        """Nodes whose containers were changed by another program through the engine."""

    def began(self, fault: Fault) -> None:
        """The fault is about to be injected."""
        self._faults[fault.id] = fault

    def ended(self, fault: Fault) -> None:
        """The fault was healed. A damaged node may refuse to start until the end of the run."""
        if not isinstance(fault, DiskDamage):
            self._faults.pop(fault.id, None)
        if (want := LATE_KINDS.get(fault.kind)) is not None:
            until = time.monotonic() + LATE_S
            for node in fault.nodes:
                self._may_end_until.setdefault(int(node), {})[want] = until

    def restarts(self, node: int) -> tuple[Want, ...]:
        """A node that has ended late is started again: its next end is one of its own. For want of
        what it may have ended."""
        now = time.monotonic()
        wants = self._may_end_until.pop(node, {})
        return tuple(want for want, until in wants.items() if now < until)

    def is_late(self, event: ContainerEvent) -> bool:
        """Whether a node has ended soon after the end of a fault because of which it may: it must
        be started again."""
        until = max(self._may_end_until.get(event.node, {}).values(), default=0.0)
        ended = (event.role, event.action) == ("node", "die")
        return ended and time.monotonic() < until and not self.is_held_down(event.node)

    def shows(self, node: int, wants: Sequence[Want]) -> bool:
        """Whether a node that has ended, and was not started since, shows that it was for want of
        one of these. Blocks; raises EngineError."""
        container = self._pods[node].node_id
        state = limits.state(self._engine.api, container)
        words = last_words(self._engine, container, state)
        return any(want.is_shown_by(state, words) for want in wants)

    def is_unexpected(self, event: ContainerEvent) -> bool:
        """Whether no fault explains the event."""
        if event.action in ("kill", "pause", "unpause", "destroy", "restart"):
            self._touched.add(event.node)
        elif event.action != "die" or self._is_expected_end(event):
            return False
        self._known.add((event.role, event.node))
        return True

    def found_at_end(self) -> list[ContainerEvent]:
        """What is wrong with containers now that no event has told. Blocks."""
        found = []
        for node, pod in self._pods.items():
            for role, container in (("agent", pod.agent_id), ("node", pod.node_id)):
                if (role, node) not in self._known:
                    action, code = self._engine.what_is_wrong(container)
                    event = ContainerEvent(role, node, action, code)
                    if action and (self.is_late(event) or self.is_unexpected(event)):
                        found.append(event)
        return found

    def finding(self, event: ContainerEvent) -> dict[str, Any]:
        """The event for the history, with the last lines of the container's log. Blocks."""
        pod = self._pods[event.node]
        container = pod.node_id if event.role == "node" else pod.agent_id
        log = self._engine.last_lines(container)[-LOG_MAX:]
        return self.without_log(event) | {"log": log}

    def without_log(self, event: ContainerEvent) -> dict[str, Any]:
        """Like `finding`, without the log."""
        outside = event.node in self._touched or event.role == "agent"
        return {
            "node": event.node,
            "role": event.role,
            "what": WORDS[event.action],
            "by": "outside" if outside else "itself",
            "exit_code": event.exit_code,
            "log": "",
        }

    def _is_expected_end(self, event: ContainerEvent) -> bool:
        """Faults end nodes, and never agents."""
        is_node = event.role == "node"
        return is_node and (self.is_held_down(event.node) or self.is_late(event))

    def is_held_down(self, node: int) -> bool:
        """Whether a fault explains that the node's processes have ended."""
        return any(
            fault.kind in ENDS_NODES and (node in fault.nodes or not fault.nodes)
            for fault in self._faults.values()
        )
