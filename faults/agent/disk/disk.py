"""The node's disk, as used by the agent's operations.

open        from now on each start of the node gets the file system (`mount`), on the backing
            directory that the engine gave the agent
set         the conditions: how long an fsync takes, whether it hangs, how much space is left
cut         the power is lost (`store`)
damage      a file that was fsynced is changed (`damage`)
probe       what an ordinary program sees (`probe`)
heal        no conditions; the mount stays while the node runs, and ends with it
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from faults.agent import libc
from faults.agent.disk.damage import damage
from faults.agent.disk.deferred_fsyncs import FsyncDelay
from faults.agent.disk.mount import Watcher, in_thread, mount_fuse, mount_in, open_fuse
from faults.agent.disk.probe import Probe
from faults.agent.disk.session import Session
from faults.agent.disk.store import Store
from faults.agent.errors import BadRequest, Failed, Unsupported
from faults.agent.node_processes import NodeProcesses
from faults.agent.processes import is_engines, processes
from faults.agent.synchronized_start import Wait

LEAVE_S: Final = 10.0
CHECK_S: Final = 10.0
"""Leaving a file and looking at it take milliseconds; on a busy machine, seconds."""
PROBE_TRIES: Final = 5


class Disk:
    """One node's disk. `open` it once; until then everything else raises BadRequest."""

    def __init__(self, node: NodeProcesses) -> None:
        self._node = node
        self._delay = FsyncDelay()
        self._store: Store | None = None
        self._session: Session | None = None
        self._watcher: Watcher | None = None
        self._target = ""
        self._canary: dict[str, Any] | None = None

    @property
    def store(self) -> Store:
        if self._store is None:
            raise BadRequest("the agent has no disk", "send disk_open before the node starts")
        if self._store.broken is not None:
            raise Failed(
                f"the node's disk met an unexpected error: {self._store.broken}",
                "report this with the agent's log",
            )
        return self._store

    def open(self, target: str, backing: str, exempt: tuple[str, ...]) -> dict[str, Any]:
        """Raises Unsupported when this container may not mount."""
        if self._store is not None:
            raise BadRequest("the disk is open", "send disk_open once")
        if not Path(backing).is_dir():
            raise BadRequest(f"there is no directory {backing}", "mount the node's volume there")
        require_mounts()
        raise_open_files_limit()
        sys.setswitchinterval(0.0005)  # threads answer the kernel: none must wait 5 ms
        self._target = target
        self._store = Store(Path(backing), exempt)
        self._watcher = Watcher(target, self._mount)
        self._watcher.start()
        return {"done_ns": time.monotonic_ns(), "how": "fuse"}

    def await_mount(self, timeout_s: float) -> dict[str, Any]:
        """Waits until the running node has the file system."""
        _ = self.store
        assert self._watcher is not None
        state = self._watcher.await_mount(timeout_s)
        return {"done_ns": time.monotonic_ns(), **state}

    def _mount(self, pid: int) -> None:
        fuse = open_fuse()
        try:
            mount_in(pid, self._target, fuse)
        except BaseException:
            os.close(fuse)
            raise
        self._session = Session(fuse, self.store, self._delay)
        self._session.start()

    # ------------------------------------------------------------------ faults

    def set(
        self,
        wait: Wait,
        *,
        fsync_us: float,
        stalled: bool,
        left_bytes: int | None,
        fail_fsync: bool,
        within_s: float,
        rounds: int,
    ) -> dict[str, Any]:
        """Sets all conditions at once; those not given are healed. `look`: what a probe in the
        node's mount namespace sees from then on; it is started before, because the node may exit
        because of the fault."""
        store = self.store
        with self._probing("look", rounds) as probe:
            wait()
            began_ns = time.monotonic_ns()
            with store.lock:
                store.drive.left_bytes = left_bytes
                store.drive.fail_fsync = fail_fsync
            self._delay.set(fsync_us / 1e6, stalled=stalled)
            done_ns = time.monotonic_ns()
            look = probe.result(within_s) if probe is not None else None
        return {"began_ns": began_ns, "done_ns": done_ns, "look": look, **self.state()}

    def cut(self, seed: str, wait: Wait) -> dict[str, Any]:
        """The power is lost and the node's processes are killed; answers when they are gone."""
        store, moments = self.store, [0]
        loss: dict[str, Any] = {}

        def power_off() -> None:
            wait()
            store.power_off()
            moments[0] = time.monotonic_ns()

        def lose() -> None:
            try:
                loss.update(store.lose(seed))
            except Exception as error:
                store.broken = store.broken or f"restoring it after a power cut: {error!r}"
                raise
            finally:  # else the processes that wait for an answer never end
                if self._session is not None:
                    self._session.answer_held()

        answer = self._node.kill(power_off, lose)
        return answer | {"done_ns": moments[0], "lost": loss, "canary": self._canary}

    def damage(self, mode: str, pattern: str, seed: str) -> dict[str, Any]:
        """Damage a file. Raises Failed while the node runs."""
        store = self.store
        if node_pids():
            raise Failed(
                "the node runs, and would not notice it", "kill it, or cut its power, first"
            )
        return {"done_ns": time.monotonic_ns(), **damage(store, mode, pattern, seed)}

    def erased(self) -> dict[str, Any]:
        self.store.erased()
        return {"done_ns": time.monotonic_ns()}

    def heal(self) -> None:
        if self._store is not None:
            self._store.drive.left_bytes = None
            self._store.drive.fail_fsync = False
            self._delay.set(0.0, stalled=False)

    def state(self) -> dict[str, Any]:
        """What is active."""
        if self._store is None:
            return {"open": False}
        store, session = self._store, self._session
        return {
            "open": True,
            "mounted": session is not None and not session.ended.is_set(),
            "fsync_us": round(self._delay.delay_s * 1e6),
            "stalled": self._delay.stalled,
            "left_bytes": store.drive.left_bytes,
            "fail_fsync": store.drive.fail_fsync,
            "waiting": session.waiting() if session is not None else 0,
            "fsyncs": store.fsyncs,
            "written_back": store.durability.written_back,
            "unsynced": store.unsynced(),
            "bad_files": sum(bool(ranges) for ranges in store.drive.bad.values()),
        }

    # ------------------------------------------------------------------ probes

    def probe(self, within_s: float, rounds: int) -> dict[str, Any]:
        """What a program in the node's mount namespace sees. `look` is null where there is no node.

        `canary`: once after a cut, what is left of the file that was put there before it; null
        where there is no node.
        """
        _ = self.store
        seen: dict[str, Any] = {"look": self._ask_probe("look", within_s, rounds)}
        if self._canary is not None:
            seen["canary"] = self._ask_probe("check", max(within_s, CHECK_S))
            if seen["canary"] is not None:
                self._canary = None
        return {"done_ns": time.monotonic_ns(), **seen, **self.state()}

    def leave_canary(self) -> dict[str, Any]:
        """Before a cut: a file of which one half is fsynced. `canary` is null where none could be
        made, and `why` says why not: "stalled" or "full", as the disk is; "down", as the node is
        (the file of an earlier cut is then still to be looked at); or what went wrong."""
        store, why = self.store, None
        if self._delay.stalled:
            why = "stalled"
        elif store.drive.left_bytes is not None:
            why = "full"
        elif (found := self._ask_probe("leave", LEAVE_S + self._delay.delay_s)) is None:
            why = "down"
        else:
            why = found["error"]
        if why is None:
            self._canary = found
        elif why != "down":
            self._canary = None
        left = None if why is not None else self._canary
        return {"done_ns": time.monotonic_ns(), "canary": left, "why": why}

    def _ask_probe(self, what: str, within_s: float, rounds: int = 1) -> dict[str, Any] | None:
        with self._probing(what, rounds) as probe:
            return None if probe is None else probe.result(within_s)

    @contextmanager
    def _probing(self, what: str, rounds: int) -> Iterator[Probe | None]:
        """A probe in the node's mount namespace that has not begun; None where there is no node.
        One that did not get there, though its process is there, says so as its result."""
        with ExitStack() as stack:
            for _ in range(PROBE_TRIES):
                pids = node_pids()
                if not pids:
                    yield None
                    return
                probe = Probe(pids[0], self._target, what, rounds)
                stack.callback(probe.close)
                if probe.get_there() or pids[0] in node_pids():
                    break
            yield probe


def raise_open_files_limit() -> None:
    """To what is allowed: each file that the kernel knows needs a descriptor. Many engines start
    containers with 1,024 and allow far more."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def node_pids() -> list[int]:
    """The processes that execute the node's program; of each a thread that lives."""
    return [process.thread for process in processes() if not is_engines(process)]


def require_mounts() -> None:
    """Mounts a FUSE file system without a server in a private namespace. Raises Unsupported."""
    if not libc.available():
        libc.unshare(0)  # says what is missing
    fuse = open_fuse()

    def attempt() -> None:
        libc.unshare(libc.CLONE_NEWNS)
        libc.mount("none", "/", "", libc.MS_REC_PRIVATE, "")
        mount_fuse(fuse, folder)
        libc.unmount(folder)

    try:
        with tempfile.TemporaryDirectory(prefix="antipaxos-") as folder:
            in_thread(attempt)
    except OSError as error:
        raise Unsupported(
            f"the agent may not mount: {error}",
            "it needs SYS_ADMIN and SYS_CHROOT, and no AppArmor profile that forbids mounting",
        ) from None
    finally:
        os.close(fuse)
