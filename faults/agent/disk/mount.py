"""Mounts the node's file system before the node's first instruction.

The agent shares the PID namespace of the node, but not its mounts, and any image can be a node, so
nothing in it can be made to wait. But the agent sees the container engine's own process enter the
PID namespace, which later becomes the node's program. It is watched (ptrace, PTRACE_SEIZE:
it is not stopped) until it calls `execve`, and the kernel stops it there: its mount namespace is
complete, the old program is gone, and of the new one nothing has run. Then a thread of the agent
enters that mount namespace, mounts the FUSE file system over the data directory, comes back, and
lets the program go. A mount in a namespace of the node's is invisible everywhere else and goes with
it.

A thread that changes its mount namespace must not share its working directory and root with others
(`unshare(CLONE_FS)`); all of this happens in threads of their own.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from faults.agent import libc
from faults.agent.errors import AgentError, Failed, Unsupported
from faults.agent.priority import raise_priority
from faults.agent.processes import is_engines, processes

SOURCE: Final = "antipaxos-disk"
WALL: Final = 0x40000000
EVENT_EXEC: Final = 4
EVENT_STOP: Final = 128
POLL_S: Final = 0.001
POLL_SETTLED_S: Final = 0.02
OWN_MOUNTS: Final = "/proc/thread-self/ns/mnt"
T = TypeVar("T")


def in_thread(work: Callable[[], T]) -> T:
    """The result of `work`, done in a thread that shares no working directory with others."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            libc.unshare(libc.CLONE_FS)
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="mounts")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


@contextmanager
def mounts_of(pid: int) -> Iterator[None]:
    """Inside the block this thread is in the mount namespace of a process."""
    own = os.open(OWN_MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        other = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            libc.setns(other, libc.CLONE_NEWNS)
            try:
                yield
            finally:
                libc.setns(own, libc.CLONE_NEWNS)
        finally:
            os.close(other)
    finally:
        os.close(own)


def open_fuse() -> int:
    """A new connection to the kernel's FUSE. Raises Unsupported."""
    try:
        return os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Unsupported(
            "there is no /dev/fuse in the agent's container",
            "load the kernel module fuse on the host (modprobe fuse)",
        ) from None
    except OSError as error:
        raise Unsupported(
            f"/dev/fuse cannot be opened: {error.strerror}",
            "the engine must give the agent that device; see docs/faults.md",
        ) from None


def mount_fuse(fuse: int, target: str) -> None:
    """Mount the connection in this thread's mount namespace. Raises OSError."""
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    libc.mount(SOURCE, target, "fuse", libc.MS_NOSUID | libc.MS_NODEV, options)


class Watcher(threading.Thread):
    """Catches each new program of the node at its first instruction and calls `mount_at(pid)`."""

    def __init__(self, target: str, mount_at: Callable[[int], None]) -> None:
        super().__init__(name="mount-watcher", daemon=True)
        self._target = target
        self._mount_at = mount_at
        self._changed = threading.Condition()
        self._seen: dict[int, int] = {}
        self._followed = 0
        """The process that is about to become the node, or is getting its mount."""
        self.problem: AgentError | None = None

    def run(self) -> None:
        libc.unshare(libc.CLONE_FS)
        raise_priority()  # the engine's process is there for some milliseconds only
        while True:
            found = processes()
            for process in found:
                if self._seen.get(process.pid) != process.start_ticks and is_engines(process):
                    self._seen[process.pid] = process.start_ticks
                    self._follow(process.pid)
            self._seen = {p.pid: p.start_ticks for p in found if p.pid in self._seen}
            time.sleep(POLL_SETTLED_S if self._is_settled(found) else POLL_S)

    def _is_settled(self, found: list[Any]) -> bool:
        """Whether the node runs, so that no start is to be expected soon."""
        return any(not is_engines(process) for process in found)

    def await_mount(self, timeout_s: float) -> dict[str, Any]:
        """Waits until the node's processes have our file system. Raises AgentError."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while (state := self._state()) is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Failed(
                        f"no node with the disk's mount within {timeout_s:g} s",
                        "look at the node's log: it may have exited at once",
                    )
                self._changed.wait(min(left, 0.02))
            return state

    def _state(self) -> dict[str, Any] | None:
        if self.problem is not None:
            raise self.problem
        programs = [p for p in processes() if not is_engines(p)]
        if not programs:
            return None
        has = {p.pid: has_mount(p.thread, self._target) for p in programs}
        if None in has.values():
            return None  # it has exited meanwhile
        without = [pid for pid, mounted in has.items() if not mounted]
        if self._followed in without:
            return None
        if not without:
            return {"pids": [p.pid for p in programs]}
        raise Failed(
            f"the processes {without} of the node started without the disk's mount",
            "start the agent's disk before the node",
        )

    # ------------------------------------------------------------------ one program

    def _follow(self, pid: int) -> None:
        self._followed = pid
        self.problem = None
        try:
            self._watch(pid)
        finally:
            self._followed = 0

    def _watch(self, pid: int) -> None:
        try:
            libc.ptrace(libc.PTRACE_SEIZE, pid, libc.PTRACE_O_TRACEEXEC)
        except ProcessLookupError:
            return
        except OSError as error:
            self._fail(
                Unsupported(
                    f"the node's start cannot be watched: {error}",
                    "the host may forbid ptrace (kernel.yama.ptrace_scope=3)",
                )
            )
            return
        try:
            # If it has become the program meanwhile, it is too late: `await_mount` will say so.
            if _is_engine(pid) and self._await_program(pid):
                self._mount(pid)
        except AgentError as error:
            self._fail(error)
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has been killed meanwhile
        except OSError as error:
            self._fail(Failed(f"mounting the node's disk: {error}", "report this with the log"))
        finally:
            _let_go(pid)

    def _await_program(self, pid: int) -> bool:
        """Waits until the engine's process has become the node's program; False when it ended
        first."""
        while True:
            try:
                _, status = os.waitpid(pid, WALL)
            except ChildProcessError:
                return False
            if not os.WIFSTOPPED(status):
                return False
            event, number = status >> 16, os.WSTOPSIG(status)
            if event == EVENT_EXEC and not _is_engine(pid):
                return True
            if event == EVENT_STOP and number != signal.SIGTRAP:
                libc.ptrace(libc.PTRACE_LISTEN, pid)
            else:
                libc.ptrace(libc.PTRACE_CONT, pid, 0 if event else number)

    def _mount(self, pid: int) -> None:
        if has_mount(pid, self._target) is not False:
            return  # a program that the engine executes in addition to the node
        self._mount_at(pid)
        with self._changed:
            self._changed.notify_all()

    def _fail(self, problem: AgentError) -> None:
        with self._changed:
            self.problem = problem
            self._changed.notify_all()


def _let_go(pid: int) -> None:
    """Detach from a process. One that has been killed must be waited for, or its parent never
    learns that it has ended."""
    with suppress(ProcessLookupError):
        libc.ptrace(libc.PTRACE_DETACH, pid)
        return
    with suppress(ProcessLookupError):  # it is not stopped
        libc.ptrace(libc.PTRACE_INTERRUPT, pid)
    with suppress(ChildProcessError, ProcessLookupError):
        _, status = os.waitpid(pid, WALL)
        while os.WIFSTOPPED(status):
            with suppress(ProcessLookupError):
                libc.ptrace(libc.PTRACE_DETACH, pid)
                return
            _, status = os.waitpid(pid, WALL)


def _is_engine(pid: int) -> bool:
    return any(p.pid == pid and is_engines(p) for p in processes())


def has_mount(pid: int, target: str) -> bool | None:
    """Whether a process has our file system at `target`; None: there is no such process."""
    try:
        lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    except OSError:
        return None
    words = [line.partition(" - ") for line in lines]
    return any(
        left.split()[4] == target and right.split()[:2] == ["fuse", SOURCE]
        for left, _, right in words
    ) or (None if not lines else False)


def mount_in(pid: int, target: str, fuse: int) -> None:
    """Mount the connection at `target` in the mount namespace of a process. In a Watcher thread,
    or inside `in_thread`. Raises Failed."""
    try:
        with mounts_of(pid):
            if not Path(target).is_dir():
                raise Failed(
                    f"the node has no directory {target}", "name the directory that holds its data"
                )
            mount_fuse(fuse, target)
    except PermissionError as error:
        raise Unsupported(
            f"the agent may not mount: {error}",
            "it needs SYS_ADMIN and SYS_CHROOT, and no AppArmor profile that forbids mounting",
        ) from None
