"""Kills, stops, pauses and resumes the node's processes.

`kill(-1, signal)` sent by process 1 reaches every other process of the namespace in one system
call, under the kernel's task-list lock: no process can escape it by forking. That is why the agent
refuses to signal anything unless it *is* process 1 of a namespace of its own; anywhere else the
same call would kill every process of the machine.

The effect is read back from /proc: a killed process is gone (or a zombie, until its parent has
waited for it), a paused one has every thread in state T, or in state D with SIGSTOP pending: such a
thread waits in the kernel, for example for an fsync of a disk that stalls, and stops before it
executes an instruction of its program.
"""

from __future__ import annotations

import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from faults.agent import libc
from faults.agent.errors import Failed, Unsupported
from faults.agent.namespaces import SCOPE
from faults.agent.processes import (
    DEAD,
    PROC,
    STOPPED,
    Process,
    is_stopped,
    processes,
    thread_states,
    threads,
)
from faults.agent.synchronized_start import Wait, no_wait, poll_until

WAITS = "D"
CLONES = {"x86_64": ("56", "58", "435"), "aarch64": ("220", "435")}
"""clone, vfork and clone3. A thread that waits in one of them for a child that shares its memory
is in state D, and the child runs."""
SETTLE_S = 5.0


class Stopping:
    """Whether processes that have been sent SIGSTOP have stopped."""

    def __init__(self) -> None:
        self._signalled: set[tuple[int, int]] = set()

    def are_done(self, processes: list[Process]) -> bool:
        """`is_done` for all of them; each is looked at."""
        return sum(not self.is_done(p.pid, with_all=True) for p in processes) == 0

    def is_done(self, pid: int, *, with_all: bool = False) -> bool:
        """Whether no thread of the process can execute its program any more.

        The kernel gives a process's signal to one thread, and that may be one that waits: the
        others go on. So each gets its own once a thread waits. Where a thread waits for a child
        that shares its memory (`vfork`), the child executes it; unless it is stopped, too, as
        `with_all` says.
        """
        found = {tid: state for tid, state in threads(pid).items() if state not in STOPPED + DEAD}
        waits = {tid for tid, state in found.items() if state in WAITS}
        if not waits or not libc.available():
            return not found
        if not with_all and any(_waits_for_child(pid, tid) for tid in waits):
            return False
        for tid in found:
            if (pid, tid) not in self._signalled:
                with suppress(ProcessLookupError):
                    libc.signal_thread(pid, tid, signal.SIGSTOP)
                    self._signalled.add((pid, tid))
                    waits.discard(tid)  # it may have run on until now: look once more
        return waits == set(found)


def _waits_for_child(pid: int, tid: int) -> bool:
    try:
        call = (PROC / str(pid) / "task" / str(tid) / "syscall").read_text().split()[0]
    except (OSError, IndexError):
        return True
    return call in CLONES.get(platform.machine(), (call,))


def require_own_namespace() -> None:
    """Raises Unsupported unless this is process 1, and /proc is that namespace's; or the agent is
    confined to a container's processes."""
    if SCOPE.namespace is not None:
        return
    if os.getpid() != 1 or os.readlink("/proc/self") != "1":  # noqa: PTH115
        raise Unsupported(
            f"the agent is process {os.getpid()}, not process 1 of a PID namespace of its own",
            "start it as the first program of a container: it signals every other process",
        )


class NodeProcesses:
    """Kill, stop, pause, resume; and the list of processes.

    `control` is held while a process is stopped briefly (for the clock's patch), so that a pause
    requested meanwhile is not undone when that ends.
    """

    def __init__(self) -> None:
        self.control = threading.RLock()
        self.paused = False
        self._stopped_before: dict[tuple[int, int], str] = {}
        """What somebody else had stopped before the last pause, by pid and start: the states."""

    def kill(
        self, wait: Wait = no_wait, signalled: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        """SIGKILL to all; answers once they are gone. `signalled` is called when the signal has
        been sent, before they are waited for."""
        require_own_namespace()
        victims = processes()
        wait()
        began_ns = time.monotonic_ns()
        found = self._signal_all(signal.SIGKILL)
        done_ns = time.monotonic_ns()
        signalled()
        self.paused = False
        # What was forked since the list was made is killed, too, and is counted.
        victims = sorted({*victims, *processes()}, key=lambda p: p.pid) if found else []
        pids = list(dict.fromkeys(p.pid for p in victims))
        self._await(lambda: not _alive(victims), "still alive after SIGKILL", victims)
        return {
            "began_ns": began_ns,
            "done_ns": done_ns,
            "gone_ns": time.monotonic_ns(),
            "pids": pids,
        }

    def stop(self, grace_s: float, wait: Wait = no_wait) -> dict[str, Any]:
        """SIGTERM to all, and SIGKILL to those still alive after `grace_s`; answers once all are
        gone. `graceful`: none had to be killed."""
        require_own_namespace()
        victims = processes()
        wait()
        began_ns = time.monotonic_ns()
        self._signal_all(signal.SIGTERM)
        done_ns = time.monotonic_ns()
        graceful = poll_until(lambda: not processes(), grace_s)
        killed = [] if graceful else self.kill()["pids"]
        return {
            "began_ns": began_ns,
            "done_ns": done_ns,
            "gone_ns": time.monotonic_ns(),
            "pids": [p.pid for p in victims],
            "graceful": graceful,
            "killed": killed,
        }

    def pause(self, wait: Wait = no_wait) -> dict[str, Any]:
        """SIGSTOP to all; answers once every thread is seen stopped."""
        require_own_namespace()
        stopping = Stopping()
        with self.control:
            if not self.paused:
                self._stopped_before = _stopped()
            wait()
            began_ns = time.monotonic_ns()
            self._signal_all(signal.SIGSTOP)
            self.paused = True
            self._await(lambda: stopping.are_done(processes()), "not stopped")
            done_ns = time.monotonic_ns()
        return {"began_ns": began_ns, "done_ns": done_ns, **self.evidence()}

    def resume(self, wait: Wait = no_wait) -> dict[str, Any]:
        """SIGCONT to all; answers once no thread is stopped any more. Harmless if not paused. What
        was stopped before the pause stays so."""
        require_own_namespace()
        with self.control:
            wait()
            began_ns = time.monotonic_ns()
            if stay := {pid for (pid, _), states in self._stopped_before.items() if "T" in states}:
                _signal_each(signal.SIGCONT, stay)
            else:
                self._signal_all(signal.SIGCONT)
            done_ns = time.monotonic_ns()
            self.paused = False
            self._await(self._all_resumed, "still stopped after SIGCONT")
        return {"began_ns": began_ns, "done_ns": done_ns, **self.evidence()}

    def resume_stopped(self) -> list[int]:
        """Resumes what an agent had paused that was killed; the pids of what was stopped."""
        stopped = [p.pid for p in processes() if set(thread_states(p.pid)) & set(STOPPED)]
        if stopped:
            self.resume()
        return stopped

    def evidence(self) -> dict[str, Any]:
        """What /proc shows: `processes`, with the states of all threads of each, and whether it was
        `stopped_before` the last pause: by itself, its parent or a debugger."""
        return {
            "processes": [
                p.to_json()
                | {"threads": thread_states(p.pid)}
                | ({"stopped_before": True} if self._was_stopped(p) else {})
                for p in processes()
            ]
        }

    def _was_stopped(self, process: Process) -> bool:
        return (process.pid, process.start_ticks) in self._stopped_before

    def _all_resumed(self) -> bool:
        found = _stopped(whole=False).keys()
        return found <= self._stopped_before.keys()

    @contextmanager
    def held(self, pid: int) -> Iterator[None]:
        """The process is stopped inside the block, and afterwards continues if it ran before.

        A process that is traced while it is being started, and therefore stopped, is sent SIGSTOP,
        too: the trace may end at any moment.
        """
        stopping = Stopping()
        with self.control:
            by_others = not self.paused and set(thread_states(pid)) <= set("T" + DEAD)
            signals = not self.paused and not by_others
            try:
                if signals:
                    os.kill(pid, signal.SIGSTOP)
                self._await(
                    lambda: (
                        is_stopped(pid)
                        if by_others
                        else stopping.is_done(pid, with_all=self.paused)
                    ),
                    "not stopped",
                    pid=pid,
                )
                yield
            finally:
                if signals:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)

    @contextmanager
    def all_held(self) -> Iterator[None]:
        """The same of all processes."""
        with self.control:
            were_paused = self.paused
            try:
                if not were_paused:
                    self.pause()
                yield
            finally:
                if not were_paused:
                    self.resume()

    def _signal_all(self, number: int) -> bool:
        if SCOPE.namespace is not None:
            return _signal_each(number)
        try:
            os.kill(-1, number)
        except ProcessLookupError:
            return False  # no process: the node is down, and there is nothing to do
        return True

    def _await(
        self,
        condition: Callable[[], bool],
        complaint: str,
        victims: list[Process] | None = None,
        pid: int | None = None,
    ) -> None:
        if poll_until(condition, SETTLE_S):
            return
        left = _alive(victims) if victims is not None else processes()
        states = {p.pid: thread_states(p.pid) for p in left if pid in (None, p.pid)}
        raise Failed(
            f"{complaint} within {SETTLE_S:.0f} s: {states}",
            "a thread in state D waits for a device: look at the host's disk",
        )


def _signal_each(number: int, but: Collection[int] = ()) -> bool:
    """For a confined agent; repeated, since a fork may have escaped."""
    found: set[int] = set(but)
    while new := {p.pid for p in processes()} - found:
        for pid in new:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        found |= new
    return len(found) > len(but)


def _alive(victims: list[Process]) -> list[Process]:
    now = {p.pid: p for p in processes()}
    return [p for p in victims if p.pid in now and now[p.pid].start_ticks == p.start_ticks]


def _stopped(*, whole: bool = True) -> dict[tuple[int, int], str]:
    """The states of the threads of processes that are stopped, by pid and start; `whole`: of which
    no thread runs."""
    found = {(p.pid, p.start_ticks): set(thread_states(p.pid)) - set(DEAD) for p in processes()}
    return {
        one: "".join(sorted(states))
        for one, states in found.items()
        if states & set(STOPPED) and not (whole and states - set(STOPPED))
    }
