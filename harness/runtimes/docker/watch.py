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
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import docker

from harness.errors import EngineError
from harness.runtimes.docker.engine import (
    API_TIMEOUT_S,
    LABEL,
    LABEL_NODE,
    LABEL_ROLE,
    STREAM_ERRORS,
    connect,
    engine_errors,
    within,
)

AGAIN_S: Final = 10.0
"""How long the engine is tried again after the stream of its events has ended."""
EVERY_S: Final = 0.2
FOLLOWING: Final = "following the engine's events"
NS: Final = 1_000_000_000
ENDS: Final = (*STREAM_ERRORS, ValueError, AttributeError)
"""What reading or closing a stream raises that somebody has closed."""
ACTIONS: Final = ("die", "oom", "kill", "pause", "unpause", "destroy", "restart")


class ContainerEvent(NamedTuple):
    """An event of the engine. `role` is "node" or "agent"; `exit_code` for "die"."""

    role: str
    node: int
    action: str
    exit_code: int | None


class EngineWatch:
    """Calls `tell` with each event from `since_s` (Unix time) on, from a thread of its own, until
    `stop`.

    The engine's stream may end before (the engine is restarted, a connection is cut): then it is
    followed again from its last event on. `lost` is called, once, where that does not succeed
    within `again_s`. Raises EngineError where the engine does not deliver its events at all.
    """

    def __init__(
        self,
        run_id: str,
        tell: Callable[[ContainerEvent], None],
        lost: Callable[[], None],
        *,
        since_s: int,
        again_s: float = AGAIN_S,
    ) -> None:
        self._tell = tell
        self._lost = lost
        self._again_s = again_s
        self._filters = {"label": f"{LABEL}={run_id}", "type": "container"}
        self._last_ns = since_s * NS
        self._told: set[tuple[object, ...]] = set()
        """Those of `_last_ns`, which the engine sends once more."""
        self._stopped = threading.Event()
        self._settled = threading.Event()
        """The stream is open, or was lost, which has been told."""
        self._settled.set()
        self._api: docker.APIClient = connect()
        with engine_errors(FOLLOWING):
            self._stream = self._opened(self._api, API_TIMEOUT_S)
        self._thread = threading.Thread(target=self._follow, name="engine-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more events."""
        self._stopped.set()
        self._close()
        self._thread.join(timeout=2)

    def is_complete(self) -> bool:
        """Whether nothing has been missed that has not been told; waits for a stream that is being
        opened again, `again_s` at most. Blocks."""
        return self._settled.wait(self._again_s)

    def _opened(self, api: docker.APIClient, limit_s: float) -> Any:
        api.timeout = None  # type: ignore[assignment]  # events may be far apart
        since = f"{self._last_ns // NS}.{self._last_ns % NS:09d}"
        return within(
            limit_s,
            FOLLOWING,
            lambda: api.events(since=since, filters=self._filters, decode=True),  # type: ignore[call-overload]
        )

    def _follow(self) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(*ENDS):
                for event in self._stream:
                    self._take(event)
            self._settled.clear()
            if not self._is_open_again():
                self._lost()
                self._settled.set()
                return

    def _take(self, event: Any) -> None:
        """Tell of an event that has not been told before."""
        at_ns = event.get("timeNano") if isinstance(event, dict) else None
        if type(at_ns) is int and at_ns >= self._last_ns:
            if at_ns > self._last_ns:
                self._last_ns, self._told = at_ns, set()
            key = (event.get("Action"), str(event.get("Actor")))
            if key in self._told:
                return
            self._told.add(key)
        found = read_event(event)
        if found is not None and not self._stopped.is_set():
            self._tell(found)

    def _is_open_again(self) -> bool:
        """Open the stream once more; also True where there is no need, because of `stop`."""
        until = time.monotonic() + self._again_s
        while not self._stopped.wait(EVERY_S) and (left_s := until - time.monotonic()) > 0:
            self._close()
            with contextlib.suppress(EngineError, *ENDS):
                self._api = connect()
                self._stream = self._opened(self._api, left_s)
                self._settled.set()
                if self._stopped.is_set():
                    self._close()
                return True
        return self._stopped.is_set()

    def _close(self) -> None:
        with contextlib.suppress(*ENDS):
            self._stream.close()
        with contextlib.suppress(*ENDS):
            self._api.close()


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
