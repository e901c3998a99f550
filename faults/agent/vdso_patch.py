"""One process whose clock is set: writes the clock's code and data into the vDSO of the target
process, changes them, and reads them back.

No state is kept outside of that memory, so a clock that a fork inherited is recognised.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from faults.agent import assembly
from faults.agent.assembly import CODE_AT, MAGIC, SAVED_AT, SAVED_SIZE, SLOT, TRUE, Skews
from faults.agent.clock_code import Machine
from faults.agent.errors import Failed, Unsupported
from faults.agent.namespaces import has_own_time_namespace
from faults.agent.node_processes import NodeProcesses
from faults.agent.processes import Process
from faults.agent.vdso import Library, Memory

CLEAR_TRIES: Final = 200
START_SIZE: Final = 32
"""Bytes of a function in which the instructions to move are looked for."""


class Reading(NamedTuple):
    """The state of a process's clock, read from its memory; or that it cannot be read there."""

    pid: int
    patched: bool
    skews: Skews
    code_is_ours: bool
    native: bool
    """The true time comes from the moved function; otherwise from the system call."""
    has_vdso: bool = True
    own_time_namespace: bool = False
    """Its monotonic clocks are another time than the agent's: at a wrong rate they jump, too."""

    def to_json(self) -> dict[str, Any]:
        """`offset_ns` is how far the wall clock is off now, `monotonic_ns` the same of the
        monotonic clock; `at_ns` is the time of the reading."""
        wall, monotonic = self.skews if self.patched else TRUE
        running_ns, now_ns = time.monotonic_ns(), time.time_ns()
        return {
            "pid": self.pid,
            "at_ns": running_ns,
            "patched": self.patched,
            "offset_ns": wall.at(now_ns) - now_ns,
            "rate": wall.rate,
            "monotonic_ns": monotonic.at(running_ns) - running_ns,
            "monotonic_rate": monotonic.rate,
            "code_is_ours": self.code_is_ours,
            "native": self.native,
            "has_vdso": self.has_vdso,
            "own_time_namespace": self.own_time_namespace,
        }


class PatchedProcess:
    """See the top of this file."""

    def __init__(self, pid: int, library: Library, memory: Memory) -> None:
        self.pid = pid
        self._library = library
        self._machine = library.machine
        self._memory = memory
        self._free_space = library.base + library.free_space

    def has_code(self) -> bool:
        return self._memory.read(self._free_space, len(MAGIC)) == MAGIC

    def is_patched(self) -> bool:
        """Whether the entry of clock_gettime jumps to our code."""
        return self.has_code() and self._entry(0)[1] == self._jump(0)

    def skews(self) -> Skews:
        turn = self._memory.read(self._free_space + assembly.TURN_AT, 1)[0]
        data = self._memory.read(self._slot(turn), SLOT.size)
        return Skews.unpack(data)

    def set_skews(self, skews: Skews) -> None:
        """Fill the slot that is not in use, then switch to it."""
        turn_at = self._free_space + assembly.TURN_AT
        turn = (self._memory.read(turn_at, 1)[0] + 1) & assembly.TURN_MASK
        self._memory.write(self._slot(turn), skews.pack())
        self._memory.write(turn_at, bytes([turn]))

    def write_code(self, skews: Skews) -> None:
        """Put code and data into the unused space. It is not executed before `patch`."""
        saved = [self._entry(i)[1] for i in self._entries]
        blob = self._build(saved, skews)
        if len(blob.content) > self._library.free_space_size:
            raise Unsupported(
                f"this kernel's vDSO has {self._library.free_space_size} spare bytes, and the "
                f"clock's code needs {len(blob.content)}",
                "report the kernel's version",
            )
        self._memory.write(self._free_space, blob.content)

    def patch(self, node: NodeProcesses) -> None:
        """The entries become jumps, while the process is stopped outside of them."""
        writes = [(self._entry(i)[0], self._jump(i)) for i in self._entries]
        for _ in range(CLEAR_TRIES):
            with node.held(self.pid):
                if self._is_clear():
                    for address, content in writes:
                        self._memory.write(address, content)
                    return
            time.sleep(0.001)
        raise Failed(
            f"process {self.pid} was always found at the start of a clock function",
            "is it paused there? Resume it, then try again",
        )

    def restore(self, node: NodeProcesses) -> None:
        """Restore the entries. The code stays: a thread may still be in it."""
        with node.held(self.pid):
            for i, saved in enumerate(self._saved()):
                self._memory.write(self._entry(i)[0], saved)

    def reading(self) -> Reading:
        """Reads the clock's state, comparing the code byte by byte with the expected code."""
        if not self.has_code():
            return Reading(self.pid, False, TRUE, False, False)
        saved = self._saved()
        blob = self._build(saved, TRUE)
        size = len(blob.content) - CODE_AT
        code = self._memory.read(self._free_space + CODE_AT, size)
        ours = code == blob.content[CODE_AT:]
        native = bool(self._machine.movable(self._start_of_clock_gettime(saved)))
        own_time = has_own_time_namespace(self._memory.pid)
        return Reading(
            self.pid, self.is_patched(), self.skews(), ours, native, own_time_namespace=own_time
        )

    def blob(self) -> tuple[bytes, dict[str, int]]:
        """The data and code as found in the process, and the positions of the entries in them."""
        blob = self._build(self._saved(), TRUE)
        return self._memory.read(self._free_space, len(blob.content)), blob.entries

    def _build(self, saved: list[bytes], skews: Skews) -> assembly.Blob:
        moved = self._machine.movable(self._start_of_clock_gettime(saved))
        came_from = self._entry(0)[0]
        return assembly.build(self._machine, moved, came_from, self._free_space, saved, skews)

    def _start_of_clock_gettime(self, saved: list[bytes]) -> bytes:
        start = self._entry(0)[0]
        replaced = self._machine.jump_size
        return saved[0] + self._memory.read(start + replaced, START_SIZE - replaced)

    @property
    def _entries(self) -> range:
        return range(len(self._machine.entries))

    def _entry(self, i: int) -> tuple[int, bytes]:
        name, needed = self._machine.entries[i], self._machine.jump_size
        offset, size = self._library.functions[name]
        if size < needed:
            raise Unsupported(f"{name} of this vDSO has {size} bytes", "use a common kernel")
        address = self._library.base + offset
        return address, self._memory.read(address, needed)

    def _jump(self, i: int) -> bytes:
        name = self._machine.entries[i]
        offset, _ = self._library.functions[name]
        entry = entry_offsets(self._machine)[name]
        return self._machine.jump(self._library.base + offset, self._free_space + entry)

    def _saved(self) -> list[bytes]:
        size = self._machine.jump_size
        data = self._memory.read(self._free_space + SAVED_AT, SAVED_SIZE * len(self._entries))
        return [data[SAVED_SIZE * i : SAVED_SIZE * i + size] for i in self._entries]

    def _slot(self, turn: int) -> int:
        return self._free_space + assembly.SLOTS_AT + (turn & 1) * SLOT.size

    def _is_clear(self) -> bool:
        """Whether no thread is between the bytes that are about to change.

        /proc shows where a stopped thread will continue. A thread in a signal handler that
        interrupted exactly these bytes is not detected; this needs a signal within a jump's
        length.
        """
        starts = [self._entry(i)[0] for i in self._entries]
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            try:
                words = (task / "syscall").read_text().split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # this thread has ended
            if words[0] == "running":
                return False
            place = int(words[-1], 16)
            if any(start < place < start + self._machine.jump_size for start in starts):
                return False
        return True


@functools.cache
def entry_offsets(machine: Machine) -> dict[str, int]:
    """The positions of the entries in a blob; they do not depend on `real`."""
    return assembly.build(machine, b"", 0, 0, [], TRUE).entries


@contextmanager
def open_process(process: Process, library: Library) -> Iterator[PatchedProcess]:
    """The process, with its memory open for the length of the block."""
    with Memory(process.thread) as memory:
        yield PatchedProcess(process.pid, library, memory)
