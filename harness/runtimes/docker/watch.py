"""Watches the engine's events for a run's containers: which end, are paused or removed, and why.

A node's process may end because a fault of the schedule ended it (then nothing is reported),
because it ended by itself (a finding about the node), or because another program ended it through
the engine (interference: the run is not evidence about the node any more). Only the first is
expected, and the runtime knows its own faults; the engine's `kill`, `pause` and `destroy` events
come from outside, since our faults act from inside the pod.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import docker
from docker.errors import DockerException

from harness.runtimes.docker.engine import (
    API_TIMEOUT_S,
    LABEL,
    LABEL_NODE,
    LABEL_ROLE,
    connect,
    within,
)

ACTIONS: Final = ("die", "oom", "kill", "pause", "unpause", "destroy", "restart")


class ContainerEvent(NamedTuple):
    """An event of the engine. `role` is "node" or "agent"; `exit_code` for "die"."""

    role: str
    node: int
    action: str
    exit_code: int | None


class EngineWatch:
    """Calls `tell` with each event from `since_s` (Unix time) on, from a thread of its own, until
    `stop`."""

    def __init__(
        self, run_id: str, tell: Callable[[ContainerEvent], None], *, since_s: int
    ) -> None:
        self._tell = tell
        self._api: docker.APIClient = connect()
        self._api.timeout = None  # type: ignore[assignment]  # events may be far apart
        filters = {"label": f"{LABEL}={run_id}", "type": "container"}
        self._stream = within(
            API_TIMEOUT_S,
            "following the engine's events",
            lambda: self._api.events(since=since_s, filters=filters, decode=True),
        )
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="engine-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more events."""
        self._stopped.set()
        with contextlib.suppress(DockerException, OSError, AttributeError):
            self._stream.close()
        self._thread.join(timeout=2)
        self._api.close()

    def _follow(self) -> None:
        with contextlib.suppress(DockerException, OSError, ValueError, AttributeError):
            for event in self._stream:
                found = read_event(event)
                if found is not None and not self._stopped.is_set():
                    self._tell(found)


def read_event(event: Any) -> ContainerEvent | None:
    """A relevant event of a node or an agent; None for any other."""
    actor = event.get("Actor") if isinstance(event, dict) else None
    attributes = (actor or {}).get("Attributes") or {}
    role, number = attributes.get(LABEL_ROLE), attributes.get(LABEL_NODE, "")
    action = str(event.get("Action", "")).partition(":")[0] if isinstance(event, dict) else ""
    if role not in ("node", "agent") or not str(number).isdecimal() or action not in ACTIONS:
        return None
    code = str(attributes.get("exitCode", ""))
    return ContainerEvent(role, int(number), action, int(code) if code.isdecimal() else None)
