"""The protocol of the agent: one JSON object a line, requests on standard input, answers on output.

    {"id": 7, "do": "kill", "at_ns": 123}   ->   {"id": 7, "ok": true, "done_ns": 130, ...}
                                      or   {"id": 7, "ok": false, "error": "...", "remedy": "..."}

Everything in ns is CLOCK_MONOTONIC, which all containers of a host share. `done_ns` is when it had
taken effect; `began_ns`, where given, is just before. `at_ns` says when to act: the agent prepares
everything, then waits until that time. The operations are the methods of `Operations`.

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

from faults.agent import VERSION, guard
from faults.agent.capabilities import probe_capabilities
from faults.agent.clock import Clock, Setting, await_node
from faults.agent.disk.operations import DiskOperations
from faults.agent.errors import AgentError, BadRequest, Failed
from faults.agent.evidence import clock_evidence
from faults.agent.left_behind import Known, remove_left_behind
from faults.agent.network import Network
from faults.agent.packets import await_packets
from faults.agent.probe import PORT
from faults.agent.processes import SETTLE_S, NodeProcesses, require_own_namespace
from faults.agent.request import Answer, Request, number
from faults.agent.synchronized_start import Wait, no_wait, wait_until

LINE_MAX: Final = 1 << 20
WAIT_OWN_THREAD: Final = 0x20000000
"""__WNOTHREAD of wait(2)."""
OFFSET_NS_MAX: Final = 10**18  # thirty years: further, and the sums leave 64 bits
DRIFT_PPM_LEAST: Final = 10**6  # it is stopped
DRIFT_PPM_MAX: Final = 9 * 10**6  # ten times as fast
STROBE_MS_LEAST: Final = 2
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


class Operations:
    """The agent's operations. Each method takes the request and returns the answer."""

    def __init__(self, probe_port: int = PORT, known: Known | None = None) -> None:
        """`known`: of an earlier agent, where this one has joined an existing container."""
        self.closing = threading.Event()
        # It forks, as do the probes of the capabilities: before the first thread.
        self.dismiss_guard = guard.start()
        self.node = NodeProcesses()
        self.false_clock = Clock(self.node)
        self.left_behind: Answer | None = None
        if known is not None:
            self.left_behind = remove_left_behind(self.false_clock, self.node, known)
        self.network = Network()
        self.node_disk = DiskOperations(self.node)
        self.can = probe_capabilities(self.network)
        if (disk := self.node_disk.capability()) is not None:
            self.can["disk"] = disk
        self.can["probes"] = self.network.listen(probe_port)

    def links(self, request: Request) -> Answer:
        """Which packets are lost: see `Network.links`."""
        return self.network.links(request, self._wait(request))

    def shape(self, request: Request) -> Answer:
        """How packets are delayed, reordered and so on: see `Network.shape`."""
        return self.network.shape(request, self._wait(request))

    def prepare_shaping(self, request: Request) -> Answer:
        return self.network.prepare_shaping()

    def close_network(self, request: Request) -> Answer:
        """No route leads out of the pod's networks: see `Network.close_network`."""
        return self.network.close_network()

    def addresses(self, request: Request) -> Answer:
        return self.network.addresses()

    def kill(self, request: Request) -> Answer:
        """SIGKILL to every process of the node; `pids`, and `gone_ns` when they were gone."""
        return self.node.kill(self._wait(request))

    def stop(self, request: Request) -> Answer:
        """grace_s. SIGTERM to every process of the node, SIGKILL to those that are left then."""
        grace_s = number(request, "grace_s", 0, 15, 5)
        return self.node.stop(grace_s, self._wait(request))

    def pause(self, request: Request) -> Answer:
        return self.node.pause(self._wait(request))

    def resume(self, request: Request) -> Answer:
        return self.node.resume(self._wait(request))

    def clock(self, request: Request) -> Answer:
        """offset_ns, drift_ppm, monotonic_offset_ns, monotonic_drift_ppm, keep_gained, strobe_ns,
        strobe_period_ms: see `clock.Setting`. What is not given is 0; all 0 heal."""
        require_own_namespace()
        strobe_ns = int(number(request, "strobe_ns", -OFFSET_NS_MAX, OFFSET_NS_MAX, 0))
        period_ms = number(request, "strobe_period_ms", STROBE_MS_LEAST, 3_600_000, 1_000)
        ppm = (-DRIFT_PPM_LEAST, DRIFT_PPM_MAX, 0)
        setting = Setting(
            offset_ns=int(number(request, "offset_ns", -OFFSET_NS_MAX, OFFSET_NS_MAX)),
            drift_ppm=number(request, "drift_ppm", *ppm),
            monotonic_offset_ns=int(number(request, "monotonic_offset_ns", 0, OFFSET_NS_MAX, 0)),
            monotonic_drift_ppm=number(request, "monotonic_drift_ppm", *ppm),
            keep_gained=request.get("keep_gained") is True,
            strobe_ns=strobe_ns,
            strobe_period_s=period_ms / 1e3,
        )
        return self.false_clock.set(setting, self._wait(request))

    def disk_open(self, request: Request) -> Answer:
        """From the next start on the node has the disk with faults: see `DiskOperations.open`."""
        return self.node_disk.open(request)

    def disk(self, request: Request) -> Answer:
        """Slow, stalled, full, failing: see `DiskOperations.set`."""
        return self.node_disk.set(request, self._wait(request))

    def power(self, request: Request) -> Answer:
        """A power cut, which undoes what was not fsynced: see `DiskOperations.cut`."""
        return self.node_disk.cut(request, self._wait(request))

    def damage(self, request: Request) -> Answer:
        """Damages a file: see `DiskOperations.damage`."""
        return self.node_disk.damage(request)

    def disk_erased(self, request: Request) -> Answer:
        return self.node_disk.erased(request)

    def await_disk(self, request: Request) -> Answer:
        return self.node_disk.await_mount(request)

    def leave_canary(self, request: Request) -> Answer:
        """Before `power`: see `Disk.leave_canary`."""
        return self.node_disk.leave_canary(request)

    def probe_disk(self, request: Request) -> Answer:
        """What a program in the node's mount namespace sees: see `Disk.probe`."""
        return self.node_disk.probe(request)

    def await_process(self, request: Request) -> Answer:
        """timeout_s. Waits for the node to start; a false clock is in effect again before the
        answer."""
        require_own_namespace()
        return await_node(self.false_clock, number(request, "timeout_s", 0, 3600, 10))

    def await_packets(self, request: Request) -> Answer:
        """Until the node has sent something: see `packets.await_packets`."""
        return await_packets(request, self.closing)

    def probe_links(self, request: Request) -> Answer:
        """From which peers datagrams arrive: see `Network.probe_links`."""
        return self.network.probe_links(request)

    def measure_links(self, request: Request) -> Answer:
        """The effect of the links on datagrams: see `Network.measure_links`."""
        return self.network.measure_links(request)

    def capture_links(self, request: Request) -> Answer:
        """Before that, where damaged datagrams are to be counted: see `Network.capture_links`."""
        return self.network.capture_links(request)

    def collect_links(self, request: Request) -> Answer:
        """The second half of that: see `Network.collect_links`."""
        return self.network.collect_links(request)

    def probe_process(self, request: Request) -> Answer:
        return {"done_ns": time.monotonic_ns(), **self.node.evidence()}

    def probe_clock(self, request: Request) -> Answer:
        return clock_evidence(self.false_clock)

    def status(self, request: Request) -> Answer:
        """What is active."""
        return {
            "done_ns": time.monotonic_ns(),
            **self.network.state(),
            "paused": self.node.paused,
            "offset_ns": self.false_clock.setting.offset_ns,
            "clock_active": self.false_clock.active,
            "disk": self.node_disk.disk.state(),
        }

    def heal(self, request: Request) -> Answer:
        """Heals everything. `problems` lists what could not be healed."""
        steps: dict[str, Callable[[], object]] = {
            "network": self.network.heal,
            "clock": self.false_clock.heal,
            "disk": self.node_disk.disk.heal,
            # Last, so that everything else is healed before paused processes continue.
            "resume": lambda: self.node.resume() if self.node.paused else None,
        }
        problems = []
        for name, step in steps.items():
            try:
                step()
            except (AgentError, OSError) as error:
                problems.append(f"{name}: {error}")
        return {"done_ns": time.monotonic_ns(), "problems": problems}

    def _wait(self, request: Request) -> Wait:
        at_ns = request.get("at_ns")
        if at_ns is None:
            return no_wait
        return wait_until(int(number(request, "at_ns", 0, 1 << 63)), self.closing)


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
