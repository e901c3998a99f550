"""Proof that a process's clock is false, beyond the content of its memory.

The code in the target's vDSO, byte for byte with its data, is copied into a page of the agent's own
and called there. Its result minus the true time is the offset that the target sees. The code is
only called if it is, byte for byte, the code that this agent would write; the part that fetches the
true time is replaced by the system call, because the moved function refers to the target's memory.
"""

from __future__ import annotations

import mmap
import time
from typing import Any, Final

from faults.agent import assembly
from faults.agent.assembly import CODE_AT

CLOCK_REALTIME: Final = 0
CLOCK_MONOTONIC: Final = 1
READ_AND_EXECUTE: Final = mmap.PROT_READ | mmap.PROT_EXEC


def demonstrated_offset_ns(blob: bytes, entry: int, clock: int = CLOCK_REALTIME) -> int | None:
    """How far the code's time is off the true one, by running it; None if this Python cannot.

    The two clocks are read one after the other: the result is exact to some microseconds.
    """
    try:
        import ctypes  # noqa: PLC0415  (Debian's smallest Python has none)
    except ImportError:
        return None

    class Timespec(ctypes.Structure):
        _fields_ = (("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_int64))

    machine = assembly.this_machine()
    listing = len(assembly.template(machine).code)
    runnable = blob[: CODE_AT + listing] + machine.system_call
    page = mmap.mmap(-1, mmap.PAGESIZE)
    page.write(runnable)
    base = ctypes.addressof(ctypes.c_char.from_buffer(page))
    # Written first and executable then: the kernel brings aarch64's caches into line.
    if ctypes.CDLL(None).mprotect(ctypes.c_void_p(base), mmap.PAGESIZE, READ_AND_EXECUTE):
        return None  # a policy against executable memory
    function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)(base + entry)
    answer = Timespec()
    before_ns = time.clock_gettime_ns(clock)
    function(clock, ctypes.addressof(answer))
    between_ns = (before_ns + time.clock_gettime_ns(clock)) // 2
    return int(answer.seconds * assembly.NANOSECONDS + answer.nanoseconds) - between_ns


def clock_evidence(clock: Any) -> dict[str, Any]:
    """The answer to `probe_clock`: per process what is patched, and what its code does."""
    blobs = clock.blobs()
    shown = []
    for reading in clock.readings():
        says = reading.to_json()
        if reading.pid in blobs:
            blob, entries = blobs[reading.pid]
            entry = entries["clock_gettime"]
            says["demonstrated_at_ns"] = time.monotonic_ns()
            says["demonstrated_ns"] = demonstrated_offset_ns(blob, entry)
            says["demonstrated_monotonic_ns"] = demonstrated_offset_ns(blob, entry, CLOCK_MONOTONIC)
        shown.append(says)
    return {
        "done_ns": time.monotonic_ns(),
        "offset_ns": clock.setting.offset_ns,
        "strobe_jumps": clock.jumps if clock.setting.strobe_ns else 0,
        "patched": bool(shown) and all(says["patched"] for says in shown),
        "processes": shown,
    }
