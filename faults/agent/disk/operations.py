"""The controller's requests about a node's disk: validated, carried out, answered."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from faults.agent.disk.disk import Disk, require_mounts
from faults.agent.errors import AgentError
from faults.agent.node_processes import NodeProcesses, require_own_namespace
from faults.agent.request import Answer, Request, number, text
from faults.agent.synchronized_start import Wait

SYS_ADMIN: Final = 21
"""CAP_SYS_ADMIN: only the agents of runs with disk faults have it."""
FSYNC_US_MAX: Final = 600_000_000
LEFT_BYTES_MAX: Final = 1 << 50


class DiskOperations:
    """See the methods."""

    def __init__(self, node: NodeProcesses) -> None:
        self.disk = Disk(node)

    def capability(self) -> Answer | None:
        """Whether this container may mount; None where it was not started for disk faults."""
        if not has_capability(SYS_ADMIN):
            return None
        try:
            require_mounts()
        except AgentError as error:
            return {"ok": False, "error": str(error), "remedy": error.remedy}
        return {"ok": True, "how": "fuse"}

    def open(self, request: Request) -> Answer:
        """Before the node starts. path: the data directory in the node's container; backing: the
        same volume in the agent's; exempt: names of files in it that no fault touches."""
        require_own_namespace()
        exempt = tuple(str(name) for name in request.get("exempt", ()))
        return self.disk.open(text(request, "path"), text(request, "backing"), exempt)

    def set(self, request: Request, wait: Wait) -> Answer:
        """fsync_us: how much longer every fsync takes; stalled: it hangs; left_bytes: the space
        that is left (null: no limit); fail_fsync: it fails. What is not given is healed. within_s
        and rounds: as in `probe`."""
        left = request.get("left_bytes")
        return self.disk.set(
            wait,
            fsync_us=number(request, "fsync_us", 0, FSYNC_US_MAX, 0),
            stalled=request.get("stalled") is True,
            left_bytes=None
            if left is None
            else int(number(request, "left_bytes", 0, LEFT_BYTES_MAX)),
            fail_fsync=request.get("fail_fsync") is True,
            within_s=number(request, "within_s", 0, 600, 2),
            rounds=int(number(request, "rounds", 1, 100, 1)),
        )

    def cut(self, request: Request, wait: Wait) -> Answer:
        """seed: where the write that was in progress is torn. As `kill`, and at the next start
        everything that was not fsynced is gone; `lost` lists it."""
        return self.disk.cut(text(request, "seed"), wait)

    def damage(self, request: Request) -> Answer:
        """mode, path (a pattern, "" for any file), seed. The node must be down."""
        pattern = str(request.get("path", ""))
        return self.disk.damage(text(request, "mode"), pattern, text(request, "seed"))

    def erased(self, request: Request) -> Answer:
        """The volume has been emptied while the node was down."""
        return self.disk.erased()

    def await_mount(self, request: Request) -> Answer:
        """within_s. Waits until the node runs and has the file system."""
        return self.disk.await_mount(number(request, "within_s", 0, 3600, 10))

    def leave_canary(self, request: Request) -> Answer:
        """Before `power`: what the probe after the next start looks for."""
        return self.disk.leave_canary()

    def probe(self, request: Request) -> Answer:
        """within_s: a call that has not returned by then counts as hanging; rounds: how often it
        fsyncs."""
        within_s = number(request, "within_s", 0, 600, 2)
        return self.disk.probe(within_s, int(number(request, "rounds", 1, 100, 3)))


def has_capability(number: int) -> bool:
    status = Path("/proc/self/status").read_text()
    held = int(next(line.split()[1] for line in status.splitlines() if "CapEff" in line), 16)
    return bool(held >> number & 1)
