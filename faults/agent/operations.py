"""The operations that an agent carries out for its controller: see `faults.agent.server`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from faults.agent import guard
from faults.agent.capabilities import probe_capabilities
from faults.agent.clock import Clock, Setting, await_node
from faults.agent.disk.operations import DiskOperations
from faults.agent.errors import AgentError
from faults.agent.evidence import clock_evidence
from faults.agent.left_behind import Known, remove_left_behind
from faults.agent.network import Network
from faults.agent.node_processes import NodeProcesses, require_own_namespace
from faults.agent.packets import await_packets
from faults.agent.probe import PORT
from faults.agent.request import Answer, Request, number
from faults.agent.synchronized_start import Wait, no_wait, wait_until

OFFSET_NS_MAX: Final = 10**18  # thirty years: further, and the sums leave 64 bits
DRIFT_PPM_LEAST: Final = 10**6  # it is stopped
DRIFT_PPM_MAX: Final = 9 * 10**6  # ten times as fast
STROBE_MS_LEAST: Final = 2


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
