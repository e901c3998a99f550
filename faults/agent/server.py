"""The protocol of the agent: one JSON object a line, requests on standard input, answers on output.

    {"id": 7, "do": "kill", "at_ns": 123}   ->   {"id": 7, "ok": true, "done_ns": 130, ...}
                                      or   {"id": 7, "ok": false, "error": "...", "remedy": "..."}

Everything in ns is CLOCK_MONOTONIC, which all containers of a host share. `done_ns` is when it had
taken effect; `began_ns`, where given, is just before. `at_ns` says when to act: the agent prepares
everything, then waits until that time. The operations are the methods of `operations.Operations`.

Requests of one kind are carried out in order; kinds do not wait for one another (`LANES`): a probe
that listens, or the wait for a node, does not delay a kill.

When the input ends, the controller has died: the agent heals everything, reports that on its
standard error, and stays for a while so that its log can be read. SIGTERM heals and ends it.
"""

from __future__ import annotations

import json
import os
import platform
import queue
import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from faults.agent import VERSION
from faults.agent.errors import AgentError, BadRequest, Failed
from faults.agent.node_processes import SETTLE_S
from faults.agent.operations import Operations
from faults.agent.request import Answer, Request

LINE_MAX: Final = 1 << 20
WAIT_OWN_THREAD: Final = 0x20000000
"""__WNOTHREAD of wait(2)."""
LANES: Final = {
    "links": "network",
    "shape": "network",
    "prepare_shaping": "network",
    "kill": "process",
    "stop": "process",
    "pause": "process",
    "resume": "process",
    "clock": "clock",
    "power": "process",
    "disk_open": "disk",
    "disk": "disk",
    "damage": "disk",
    "disk_erased": "disk",
    "await_process": "waiting",
    "await_packets": "",
    "await_disk": "waiting",
    "probe_links": "probing",
    "measure_links": "measuring",
    "capture_links": "measuring",
    "collect_links": "measuring",
    "addresses": "looking",
    "close_network": "network",
    "probe_process": "looking",
    "probe_clock": "looking",
    "probe_disk": "disk-probing",
    "leave_canary": "disk-probing",
    "status": "looking",
    "heal": "healing",
}


class Lane(threading.Thread):
    """Carries out one kind of request, one after the other."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._queue: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self.start()

    def put(self, thing: Callable[[], object]) -> None:
        self._queue.put(thing)

    def run(self) -> None:
        while True:
            self._queue.get()()

    def await_idle(self, timeout_s: float) -> None:
        """Waits until everything put before is done."""
        done = threading.Event()
        self.put(done.set)
        done.wait(timeout_s)


class Server:
    """Reads, dispatches, answers; and, as process 1, collects the orphans of the namespace."""

    def __init__(self, operations: Operations, linger_s: float) -> None:
        self._operations = operations
        self._linger_s = linger_s
        self._writing = threading.Lock()
        self._lanes = {name: Lane(name) for name in sorted(set(LANES.values()) - {""})}
        self._buffer = b""
        self._over = False
        self._wake_in, self._wake_out = os.pipe()
        for end in (self._wake_in, self._wake_out):
            os.set_blocking(end, False)

    def serve(self) -> None:
        """Returns when the process should end."""
        signal.set_wakeup_fd(self._wake_out, warn_on_full_buffer=False)
        for caught in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(caught, lambda *_: None)
        selector = selectors.SelectSelector()
        selector.register(self._wake_in, selectors.EVENT_READ, self._on_signals)
        selector.register(0, selectors.EVENT_READ, self._on_input)
        self._say(self._hello())
        deadline: float | None = None
        while not self._over:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            for key, _ in selector.select(left):
                if not key.data() and deadline is None:
                    selector.unregister(0)
                    self._heal("the input ended: the controller is gone")
                    deadline = time.monotonic() + self._linger_s

    def _hello(self) -> Answer:
        return {
            "hello": 1,
            "version": VERSION,
            "pid_namespace": os.readlink("/proc/self/ns/pid"),  # noqa: PTH115
            "machine": platform.machine(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "monotonic_ns": time.monotonic_ns(),
            "can": self._operations.can,
            "left_behind": self._operations.left_behind,
        }

    def _on_input(self) -> bool:
        """False at the end of the input."""
        data = os.read(0, 65536)
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            if line.strip():
                self._dispatch(line)
        return bool(data) and len(self._buffer) <= LINE_MAX

    def _on_signals(self) -> bool:
        with suppress(BlockingIOError):
            numbers = os.read(self._wake_in, 4096)
            if os.getpid() == 1:
                _collect_orphans()
            if signal.SIGTERM in numbers or signal.SIGINT in numbers:
                self._heal("told to end")
                self._over = True
        return True

    def _dispatch(self, line: bytes) -> None:
        try:
            request = json.loads(line)
        except ValueError:
            request = None
        if not isinstance(request, dict):
            self._say({"id": None, "ok": False, "error": "a line that is not a JSON object"})
        elif request.get("do") not in LANES:
            known = ", ".join(LANES)
            error = BadRequest(
                f"there is no operation {request.get('do')!r}", f"ask for one of {known}"
            )
            self._say(_refusal(request, error))
        else:
            self._put(LANES[request["do"]], lambda: self._carry_out(request))

    def _put(self, lane: str, work: Callable[[], None]) -> None:
        """Requests without a lane may wait for long, several at a time."""
        if lane:
            self._lanes[lane].put(work)
        else:
            threading.Thread(target=work, daemon=True).start()

    def _carry_out(self, request: Request) -> None:
        """A bug in one operation is answered as an error, and does not end the lane."""
        try:
            if self._operations.closing.is_set():
                raise Failed(
                    "the agent is healing, because its controller has died", "start a new agent"
                )
            answer = getattr(self._operations, request["do"])(request)
            self._say({"id": request.get("id"), "ok": True} | answer)
        except AgentError as error:
            self._say(_refusal(request, error))
        except Exception as error:  # the controller must get an answer in any case
            problem = AgentError(f"{type(error).__name__}: {error}", "report this with the log")
            self._say(_refusal(request, problem))

    def _say(self, answer: Answer) -> None:
        line = json.dumps(answer, separators=(",", ":")).encode() + b"\n"
        with self._writing, suppress(OSError):  # the controller has died: the input ends, too
            while line:
                line = line[os.write(1, line) :]

    def _heal(self, reason: str) -> None:
        self._operations.closing.set()
        for name in ("network", "process", "clock", "disk"):
            self._lanes[name].await_idle(SETTLE_S)  # requests in progress must not undo the healing
        problems = self._operations.heal({})["problems"]
        if not problems:
            self._operations.dismiss_guard()
        report = {"healed": reason, "monotonic_ns": time.monotonic_ns(), "problems": problems}
        print(json.dumps(report), file=sys.stderr, flush=True)


def _refusal(request: Request, error: AgentError) -> Answer:
    return {
        "id": request.get("id"),
        "ok": False,
        "kind": error.kind,
        "error": str(error),
        "remedy": error.remedy,
    }


def _collect_orphans() -> None:
    """Waits for children of this thread only, as orphans are: other threads wait for their own."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG | WAIT_OWN_THREAD)[0]:
            pass
