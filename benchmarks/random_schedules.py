"""Injects and heals random schedules on one cluster in containers, and checks what they leave
behind.

    python -m benchmarks.random_schedules [--schedules 1000] [--minutes 60] [--seed 1]

Root. Each schedule lasts about a second. Its faults are of any simple kind that heals without a
trace by its description: neither amnesia and damage, nor `drift` and `monotonic`, whose offset
remains. After each, when all nodes answer again and the agents have released what they keep ready,
everything that could be left is compared with what was there before the first: in every pod
devices, qdiscs and filters, what the agent says is active, mounts, and the limits of the node's
container; on the host containers, networks, volumes and loop devices; and by how far each node's
clocks are off the host's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import describe
from faults.description import Fault
from faults.kinds import kinds_of
from faults.planner import plan
from harness.run.config import RunConfig
from harness.runtimes.docker.engine import LABEL, connect
from harness.runtimes.docker.runtime import DockerRuntime

LASTING: Final = ("amnesia", "disk-damage", "drift", "monotonic")
"""Kinds that leave something behind on purpose."""
COMPOSITE: Final = ("crash-loop", "rolling", "flapping", "clog")
"""Kinds that consist of simple ones."""
DURATION_US: Final = 1_000_000
GAP_US: Final = 400_000
NODES: Final = 3
READY_S: Final = 30.0
REPORT_EVERY: Final = 50
"""Schedules; what was counted so far is printed, in case that the benchmark is ended."""
OFF_NS: Final = 2_000_000
"""By how much a node's clock may be off, in addition to the uncertainty of the request."""
CLOCK_TRIES: Final = 5
UNLIMITED: Final = 1 << 50
"""What stands for no limit of memory once there was one."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=1_000)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    print(describe(), flush=True)
    kinds = tuple(kind for kind in kinds_of("docker") if kind not in LASTING + COMPOSITE)
    config = RunConfig.of(target="multi-paxos", nodes=NODES, on="docker", faults=kinds)
    runtime = DockerRuntime(config, f"schedules-{time.time_ns()}")
    try:
        runtime.open()
        cluster = Cluster(runtime, config)
        cluster.repeat(asked.schedules, asked.seed, time.monotonic() + asked.minutes * 60)
    finally:
        runtime.close()
    left = leftovers(runtime.run_id)
    print(f"after closing: {json.dumps(left)}")


@dataclass
class Tally:
    done: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    different: int = 0
    unproven: int = 0
    started: float = field(default_factory=time.monotonic)

    def print(self) -> None:
        seconds, faults = time.monotonic() - self.started, sum(self.kinds.values())
        print(f"{self.done} schedules, {faults} faults in {seconds:.0f} s: {dict(self.kinds)}")
        print(f"schedules that left something: {self.different}", end="; ")
        print(f"faults without proof: {self.unproven}", flush=True)


class Cluster:
    def __init__(self, runtime: DockerRuntime, config: RunConfig) -> None:
        self._runtime = runtime
        self._config = config
        self._nodes = config.cluster.node_ids()
        self._api = connect()

    def repeat(self, schedules: int, seed: int, until: float) -> None:
        """Run schedules, and report what they leave behind."""
        self._wait_until_ready()
        before, resources = self.state(), self.resources()
        print(f"before: {json.dumps(resources)}", flush=True)
        tally = Tally()
        for number in range(seed, seed + schedules):
            if time.monotonic() > until:
                break
            faults = self._drawn(number)
            carried_out = self._runtime.carry_out(faults)
            tally.kinds.update(one.fault.kind for one in carried_out)
            bad = [one for one in carried_out if not (one.inject.verified and one.heal.verified)]
            tally.unproven += len(bad)
            for one in bad:
                why = one.inject.problem or one.heal.problem
                print(f"seed {number}: {one.fault.describe()}: {str(why)[:200]}", flush=True)
            tally.done += 1
            if not self._wait_until_ready():
                tally.different += 1
                print(f"seed {number}: not all nodes answer: {self._exits()}", flush=True)
                break
            now = self.state()
            if now != before:
                tally.different += 1
                print(f"seed {number} left {differences(before, now)}", flush=True)
            if tally.done % REPORT_EVERY == 0:
                tally.print()
        tally.print()
        print(f"resources before {json.dumps(resources)}, after {json.dumps(self.resources())}")

    def _drawn(self, seed: int) -> list[Fault]:
        schedule = plan(
            self._config.faults.kinds,
            seed,
            DURATION_US,
            self._nodes,
            allow_all=True,
            every_kind=False,
            gap_us=GAP_US,
            messages=self._config.system.capabilities.messages,
            runtime="docker",
        )
        statuses = {n: self._runtime.status(n) for n in self._nodes}
        leader = next((n for n, s in statuses.items() if s and s.role == "leader"), 1)
        return [fault.resolve(leader, self._nodes) for fault in schedule.faults]

    def _exits(self) -> dict[str, Any]:
        """The engine's view of the nodes' containers, and the last lines of those that ended."""
        found = {}
        for node in self._nodes:
            container = self._runtime.pod(node).node_id
            state = self._api.inspect_container(container)["State"]
            log = self._api.logs(container, tail=5).decode(errors="replace")
            shown = {name: state[name] for name in ("Status", "ExitCode", "OOMKilled")}
            status = self._runtime.status(node)
            shown["answers"] = status.role if status else None
            shown["processes"] = self._runtime.agent(node, "probe_process")["processes"]
            found[f"n{node}"] = shown | {"log": log}
        return found

    def _wait_until_ready(self) -> bool:
        """Wait until every node answers, and one leads; whether that was so in time."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            statuses = [self._runtime.status(n) for n in self._nodes]
            if all(statuses) and any(s and s.role == "leader" for s in statuses):
                return True
            time.sleep(0.05)
            if not all(statuses):
                self._runtime.start_ended()
        return False

    # ------------------------------------------------------------------ what there is

    def state(self) -> dict[str, Any]:
        """Everything that a fault could leave behind."""
        found: dict[str, Any] = {"host": leftovers(self._runtime.run_id)}
        for node in self._nodes:
            found[f"n{node}"] = self._pod_state(node)
        return found

    def _pod_state(self, node: int) -> dict[str, Any]:
        pod = self._runtime.pod(node)
        agent, container = (self._api.inspect_container(i) for i in (pod.agent_id, pod.node_id))
        limits = container["HostConfig"]
        status = self._runtime.agent(node, "status")
        active = ("paused", "offset_ns", "clock_active", "drop_to", "drop_from", "loss")
        disk = ("mounted", "fsync_us", "stalled", "left_bytes", "fail_fsync", "bad_files")
        self._runtime.agent(node, "heal")
        return {
            "network": network_of(agent["State"]["Pid"]),
            "mounts": len(Path(f"/proc/{agent['State']['Pid']}/mountinfo").read_text().split("\n")),
            "node_mounts": mounts_of(container["State"]["Pid"]),
            "active": {name: status[name] for name in active if name in status},
            "disk": {name: status["disk"].get(name) for name in disk},
            "shaped": [
                address
                for how in (status["shapes"]["netem"], status["shapes"]["wire"]["links"])
                for address in how
            ],
            "cpu_quota": limits["CpuQuota"] if limits["CpuQuota"] > 0 else 0,
            "memory": limits["Memory"] if limits["Memory"] < UNLIMITED else 0,
            "clocks_off": self._clocks_off(node),
        }

    def _clocks_off(self, node: int) -> list[str]:
        """By how much a node's clocks are off; asked again where a busy machine may have delayed
        the answer on one way only."""
        for _ in range(CLOCK_TRIES - 1):
            if not (off := self._clocks_off_now(node)):
                return off
        return self._clocks_off_now(node)

    def _clocks_off_now(self, node: int) -> list[str]:
        deadline = time.monotonic() + READY_S
        while (clocks := self._runtime.clocks(node)) is None:
            if time.monotonic() > deadline:
                return ["the node does not say"]
        limit_ns = OFF_NS + clocks.uncertainty_ns
        named = {"wall": clocks.wall_ns, "monotonic": clocks.monotonic_ns}
        return [f"{name} by {ns} ns" for name, ns in named.items() if abs(ns) > limit_ns]

    def resources(self) -> dict[str, Any]:
        """What the agents use, which must not grow: open files, threads, kB of memory."""
        found = {}
        for node in self._nodes:
            pid = self._api.inspect_container(self._runtime.pod(node).agent_id)["State"]["Pid"]
            status = dict(
                line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().split("\n")
                if ":\t" in line
            )  # fmt: skip
            found[f"n{node}"] = {
                "files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
                "threads": int(status["Threads"]),
                "kb": int(status["VmRSS"].split()[0]),
            }
        return found


def network_of(pid: int) -> str:
    """Devices, qdiscs and filters of a network namespace."""
    shown = ""
    for command in (
        ("ip", "-o", "link"),
        ("tc", "qdisc"),
        ("tc", "filter", "show", "dev", "eth0", "ingress"),
        ("tc", "filter", "show", "dev", "eth0", "egress"),
    ):
        enter = ["nsenter", f"--net=/proc/{pid}/ns/net", *command]
        shown += subprocess.run(enter, check=True, capture_output=True, text=True).stdout
    return shown


def mounts_of(pid: int) -> list[str]:
    """Where what kind of file system is mounted, as a process sees it."""
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return sorted(f"{line.split()[4]} {line.split(' - ')[1].split()[0]}" for line in lines)


def leftovers(run_id: str) -> dict[str, int]:
    """The run's containers, networks and volumes, and all loop devices."""
    api, wanted = connect(), {"label": f"{LABEL}={run_id}"}
    try:
        loops = subprocess.run(["losetup", "-a"], check=True, capture_output=True, text=True)
        return {
            "containers": len(api.containers(all=True, filters=wanted)),
            "networks": len(api.networks(filters=wanted)),
            "volumes": len(api.volumes(filters=wanted)["Volumes"] or []),
            "loop_devices": len(loops.stdout.splitlines()),
        }
    finally:
        api.close()


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What is not as it was, in one line."""
    return "; ".join(
        f"{where} {name}: {_changed(before[where][name], now[where][name])}"
        for where in before
        for name in before[where]
        if before[where][name] != now[where][name]
    )


def _changed(before: Any, now: Any) -> str:
    """Of texts, the lines that are not in both."""
    if not (isinstance(before, str) and isinstance(now, str)):
        return f"{before!r} is now {now!r}"
    old, new = before.splitlines(), now.splitlines()
    gone = [f"- {line}" for line in old if line not in new]
    return " ".join([*gone, *(f"+ {line}" for line in new if line not in old)])


if __name__ == "__main__":
    main()
