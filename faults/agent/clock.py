"""A false clock for every process of the node, without touching the host's.

The first time a process gets one, the code of `assembly` is written into unused space of its vDSO,
where it is not executed yet; then the process is stopped briefly, and the entries of three
functions become jumps to it. From then on a change of the clock is a change of data, and stops no
process. Healing first sets the data to zero offset, and then restores the entries.

A fork inherits the false clock. A newly executed program starts with an unmodified vDSO, so while
the clock is false a keeper thread looks for such programs every few milliseconds (and more often
while a node is being started): they see the true time for about as long.

A monotonic clock never goes back. The offset that a fault has added stays until the process ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar

from faults.agent import assembly
from faults.agent.assembly import NONE, TRUE, Skew, Skews
from faults.agent.errors import AgentError, Failed
from faults.agent.namespaces import SCOPE
from faults.agent.node_processes import NodeProcesses
from faults.agent.processes import DEAD, Process, is_engines, listed, processes, read_process
from faults.agent.synchronized_start import Wait, no_wait, poll_until
from faults.agent.vdso import Library, Memory, NoVdso, ProcessGone, base_of
from faults.agent.vdso_patch import PatchedProcess, Reading, open_process

KEEPER_EVERY_S: Final = 0.005
KEEPER_CONFINED_EVERY_S: Final = 0.05
"""From the host's PID namespace there are many more processes to look at."""
AWAIT_EVERY_S: Final = 0.0005
SWEEPS: Final = 3
"""Healing makes up to so many passes over all processes, and then one while all are stopped: one
that was listed, and had ended before it was looked at, may have forked."""

T = TypeVar("T")


class Setting(NamedTuple):
    """What the clocks should be: the sum of the jumps, and the rate from now on.

    `keep_gained`: the offset gained by the rate so far stays (on the monotonic clock it always
    does). `strobe_ns`: the wall clock is off by this in addition in one half of each
    `strobe_period_s`.
    """

    offset_ns: int = 0
    drift_ppm: float = 0.0
    monotonic_offset_ns: int = 0
    monotonic_drift_ppm: float = 0.0
    keep_gained: bool = False
    strobe_ns: int = 0
    strobe_period_s: float = 0.0


class Clock:
    """The clock of every process of the node."""

    def __init__(self, node: NodeProcesses) -> None:
        self.skews = TRUE
        self.setting = Setting()
        self._resting = TRUE
        self.jumps = 0
        """How often the current strobe has changed the clock."""
        self._node = node
        self._lock = threading.RLock()
        self._libraries: dict[int, Library] = {}
        self._without_vdso: list[Process] = []
        self._keeper: threading.Thread | None = None
        self._stop = threading.Event()
        self._strobe_stop = threading.Event()

    @property
    def active(self) -> bool:
        return self.skews != TRUE

    def set(self, setting: Setting, wait: Wait = no_wait) -> dict[str, Any]:
        """From now on every process's clocks differ from the host's by this.

        The answer's `began_ns` and `done_ns` enclose the time of the change; `wall_ns` and
        `monotonic_ns` are the offsets at that time.
        """
        self._strobe_stop.set()
        with self._lock:
            self._for_each(lambda _: None)  # reads the libraries in advance, which is slow
            wait()
            began_ns = time.monotonic_ns()
            self.skews = self._resting = self._skews_for(setting, time.time_ns(), began_ns)
            self.setting = setting
            pids = self.apply()
            done_ns = time.monotonic_ns()
            if self.active or setting.strobe_ns:
                self._keep()
            else:
                self._restore()
            if setting.strobe_ns:
                self._start_strobe(setting)
            now_ns = time.time_ns()
            wall_ns = self.skews.wall.at(now_ns) - now_ns
            monotonic_ns = self.skews.monotonic.at(done_ns) - done_ns
        return {
            "began_ns": began_ns,
            "done_ns": done_ns,
            "pids": pids,
            "offset_ns": setting.offset_ns,
            "wall_ns": wall_ns,
            "monotonic_ns": monotonic_ns,
        }

    def _skews_for(self, setting: Setting, now_ns: int, running_ns: int) -> Skews:
        """`now_ns` and `running_ns` are the true times at which the setting begins."""
        wall_ns = setting.offset_ns
        if setting.keep_gained:
            wall_ns += self._resting.wall.at(now_ns) - now_ns - self.setting.offset_ns
        ahead_ns = self._resting.monotonic.at(running_ns) - running_ns
        jumped_ns = max(0, setting.monotonic_offset_ns - self.setting.monotonic_offset_ns)
        behind = ahead_ns < 0 and not setting.keep_gained
        monotonic_ns = jumped_ns if behind else ahead_ns + jumped_ns
        return Skews(
            _skew(wall_ns, setting.drift_ppm, now_ns),
            _skew(monotonic_ns, setting.monotonic_drift_ppm, running_ns),
        )

    # ------------------------------------------------------------------ strobe

    def _start_strobe(self, setting: Setting) -> None:
        self._strobe_stop = threading.Event()
        self.jumps = 0
        worker = threading.Thread(
            target=self._strobe, args=(setting, self._strobe_stop), name="strobe", daemon=True
        )
        worker.start()

    def _strobe(self, setting: Setting, stop: threading.Event) -> None:
        """Wrong and right in turn, scheduled by the true clock: a late change delays no other."""
        half_ns = round(setting.strobe_period_s * 5e8)
        start_ns, resting = time.monotonic_ns(), self._resting
        off = resting.wall._replace(offset_ns=resting.wall.offset_ns + setting.strobe_ns)
        while True:
            turn = (time.monotonic_ns() - start_ns) // half_ns
            with self._lock, suppress(AgentError, OSError):
                if stop.is_set():
                    return
                self.skews = resting if turn % 2 else resting._replace(wall=off)
                self.apply()
                self.jumps += 1
            until_ns = start_ns + (turn + 1) * half_ns
            if stop.wait(max(0, until_ns - time.monotonic_ns()) / 1e9):
                return

    # ------------------------------------------------------------------ healing

    def heal(self) -> None:
        """The true time for all processes; monotonic clocks stay ahead, for they cannot go back."""
        if self.active or self.setting.strobe_ns:
            self.set(Setting())

    def end_false_clocks(self) -> list[int]:
        """The true time for the processes whose clocks an agent had changed that was killed; their
        pids. A monotonic clock stays ahead by what it is. Raises Failed for one that another
        version of this program has changed."""
        ended: dict[int, None] = {}

        def end_one(process: PatchedProcess) -> bool:
            was_false = self._end_false_clock(process)
            if was_false:
                ended[process.pid] = None
            return was_false

        self._sweep(end_one)
        return list(ended)

    def _end_false_clock(self, process: PatchedProcess) -> bool:
        if not process.is_patched():
            return False
        if not process.reading().code_is_ours:
            raise Failed(
                f"another version of this program has changed the clock of process {process.pid}",
                "restart the container",
            )
        now_ns = time.monotonic_ns()
        found = process.skews()
        ahead_ns = max(0, found.monotonic.at(now_ns) - now_ns)
        resting = Skews(NONE, _skew(ahead_ns, 0, now_ns))
        if found != resting:
            process.set_skews(resting)
        if resting == TRUE:
            process.restore(self._node)
        return found != resting

    def close(self) -> None:
        """Ends the keeper and the strobe."""
        self._stop.set()
        self._strobe_stop.set()

    def apply(self) -> list[int]:
        """Give every process the clock as it should be; those that have it are not changed.

        Returns the processes that have it, without those that end or start meanwhile: the keeper
        finds new ones.
        """
        return list(self._for_each(self._apply_to))

    def readings(self) -> list[Reading]:
        """What each process's memory says. One whose clock cannot be changed is among them."""
        with self._lock:
            found = list(self._for_each(lambda p: p.reading()).values())
            left = [p.pid for p in self._without_vdso if is_there(p)]
        return found + [Reading(pid, False, TRUE, False, False, has_vdso=False) for pid in left]

    def blobs(self) -> dict[int, tuple[bytes, dict[str, int]]]:
        """For each patched process its code, if it is ours, and its entries."""
        ours = [r.pid for r in self.readings() if r.patched and r.code_is_ours]
        return {
            pid: blob for pid, blob in self._for_each(PatchedProcess.blob).items() if pid in ours
        }

    def _apply_to(self, process: PatchedProcess) -> bool:
        """Whether something had to be changed."""
        changes = True
        if not process.has_code():
            if not self.active:
                return False
            process.write_code(self.skews)
        elif process.skews() != self.skews:
            process.set_skews(self.skews)
        else:
            changes = False
        if self.active and not process.is_patched():
            process.patch(self._node)
            return True
        return changes

    def _restore(self) -> None:
        self._sweep(self._apply_to)
        self._sweep(self._restore_one)

    def _restore_one(self, process: PatchedProcess) -> bool:
        """Whether it had to be."""
        if not process.is_patched():
            return False
        process.restore(self._node)
        return True

    def _sweep(self, act: Callable[[PatchedProcess], bool]) -> None:
        """Repeats `act` for every process until it returns False for all, forks included."""
        passed_over: set[int] = set()
        for _ in range(SWEEPS):
            there = set(listed())
            done = self._for_each(act)
            ended = there - done.keys() - passed_over
            if not ended and not any(done.values()):
                return
            passed_over = there - done.keys()  # zombies, say: if they forked, it was before
        with self._node.all_held():
            self._for_each(act)

    def _for_each(self, act: Callable[[PatchedProcess], T]) -> dict[int, T]:
        """The results of `act` for every process of the node that still exists afterwards, by
        pid."""
        done: dict[int, T] = {}
        with self._lock:
            self._without_vdso.clear()
            for process in node_processes():
                try:
                    library = self._library(process)
                    if library is not None:
                        with open_process(process, library) as opened:
                            done[process.pid] = act(opened)
                except NoVdso:
                    self._without_vdso.append(process)
                except (FileNotFoundError, ProcessLookupError, ProcessGone):
                    continue
            self._libraries = {pid: lib for pid, lib in self._libraries.items() if pid in done}
        return done

    def _library(self, process: Process) -> Library | None:
        """The process's vDSO; read again when the process has executed another program."""
        base = base_of(process.thread)
        if base is None:
            return None
        known = self._libraries.get(process.pid)
        if known is None or known.base != base:
            with Memory(process.thread) as memory:
                known = memory.read_library(base)
            self._libraries[process.pid] = known
        return known

    def _keep(self) -> None:
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep_on, name="clock-keeper", daemon=True)
            self._keeper.start()

    def _keep_on(self) -> None:
        every_s = KEEPER_EVERY_S if SCOPE.namespace is None else KEEPER_CONFINED_EVERY_S
        while not self._stop.wait(every_s):
            with self._lock, suppress(AgentError, OSError):
                if self.active:
                    self.apply()


def _skew(offset_ns: int, drift_ppm: float, anchor_ns: int) -> Skew:
    rate = assembly.rate_of(drift_ppm)
    return Skew(anchor_ns if rate else 0, offset_ns, rate) if offset_ns or rate else NONE


def node_processes() -> list[Process]:
    """The processes that execute the node's program."""
    return [p for p in processes() if not is_engines(p)]


def is_there(process: Process) -> bool:
    """Whether it still executes the node's program."""
    now = read_process(process.pid)
    if now is None or now.state in DEAD or now.start_ticks != process.start_ticks:
        return False
    return not is_engines(now)


def await_node(clock: Clock, timeout_s: float) -> dict[str, Any]:
    """Waits until a process of the node runs, and has the false clock if one is set."""
    deadline = time.monotonic() + timeout_s
    found = poll_until(lambda: bool(node_processes()), timeout_s, AWAIT_EVERY_S)
    done_ns = time.monotonic_ns()
    clock_says = {}
    if found and clock.active:
        left = max(0.1, deadline - time.monotonic())
        found = poll_until(lambda: bool(clock.apply()), left, AWAIT_EVERY_S)
        done_ns = time.monotonic_ns()
        clock_says = {"clock": {"done_ns": done_ns, "offset_ns": clock.setting.offset_ns}}
    here = node_processes()
    if not found or not here:
        raise Failed(f"no process of the node within {timeout_s:g} s", "start the node's container")
    answer = {"done_ns": done_ns, "pids": [p.pid for p in here]}
    return here[0].to_json() | answer | clock_says
