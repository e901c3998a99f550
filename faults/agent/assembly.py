"""The machine code that gives a process a false time, and the data it reads.

`vdso_patch` writes it into unused space of the process's vDSO. The first bytes of the vDSO's
`clock_gettime`, `gettimeofday` and (on x86-64) `time` become jumps to entries in it. Every entry
gets the true time, adds the offsets of the data, and returns as the function would have:

    false = true + offset + (true - anchor) * rate / 2^32          (nanoseconds)

There are two such sets of data: one for the clocks that show the time of day (bits of 0x921:
CLOCK_REALTIME 0, _COARSE 5, _ALARM 8, CLOCK_TAI 11), one for those that run since boot (bits of
0x2d2: CLOCK_MONOTONIC 1, _RAW 4, _COARSE 6, CLOCK_BOOTTIME 7, _ALARM 9). The clocks of processes,
threads and devices pass through.

The true time comes from `real`: the instructions that the jump replaced, moved here, followed by a
jump to what comes after them; so no clock needs a system call that did not before. Where they
cannot be moved (an instruction relative to its address), `real` is the system call, which is slower
by a few hundred nanoseconds.

The data can be changed while threads read it: there are two slots, and the lowest bit of `turn`
selects the current one. A writer fills the other and then adds one to `turn`, one byte; a reader
reads `turn` again at the end, and starts over if it changed.

The code itself is in a file for each kind of processor: `clock_code_x86_64`,
`clock_code_aarch64`.
"""

from __future__ import annotations

import platform
import struct
from typing import Final, NamedTuple

from faults.agent.clock_code import Machine, Template
from faults.agent.clock_code_aarch64 import AARCH64
from faults.agent.clock_code_x86_64 import X86_64
from faults.agent.errors import Unsupported

MACHINES: Final = (X86_64, AARCH64)
NANOSECONDS: Final = 10**9
RATE_ONE: Final = 2**32

# The data, in front of the code: magic, turn, two slots, and what up to three jumps replaced.
MAGIC: Final = b"AntiPxT2"
SLOT: Final = struct.Struct("<qqq8xqqq8x")
"""Anchor in ns, offset in ns, rate * 2^32: of the time of day, then of the monotonic clocks."""
TURN_AT, SLOTS_AT, SAVED_AT = 8, 16, 16 + 2 * SLOT.size
ENTRIES_MAX, SAVED_SIZE = 3, 8
CODE_AT: Final = SAVED_AT + SAVED_SIZE * ENTRIES_MAX
DATA: Final = {"turn": TURN_AT - CODE_AT, "slots": SLOTS_AT - CODE_AT}
TURN_MASK: Final = 0xFF


class Skew(NamedTuple):
    """How false the time is: `offset_ns`, and from `anchor_ns` on `rate` parts in 2^32 faster."""

    anchor_ns: int
    offset_ns: int
    rate: int

    def at(self, true_ns: int) -> int:
        """The false time at a true one: what the machine code computes."""
        return true_ns + self.offset_ns + ((true_ns - self.anchor_ns) * self.rate >> 32)


NONE: Final = Skew(0, 0, 0)


class Skews(NamedTuple):
    """How false both kinds of clocks of a process are."""

    wall: Skew = NONE
    monotonic: Skew = NONE

    def pack(self) -> bytes:
        return SLOT.pack(*self.wall, *self.monotonic)

    @classmethod
    def unpack(cls, data: bytes) -> Skews:
        numbers = SLOT.unpack(data)
        return cls(Skew(*numbers[:3]), Skew(*numbers[3:]))


TRUE: Final = Skews()


def rate_of(drift_ppm: float) -> int:
    """Parts per million, as the fixed point number that the code multiplies with."""
    return round(drift_ppm * RATE_ONE / 1e6)


class Blob(NamedTuple):
    """Data and code ready to be put at an address; `entries` are offsets of the three entries."""

    content: bytes
    entries: dict[str, int]


def machine_of(elf_machine: int) -> Machine:
    """The kind of processor with this number in ELF headers. Raises Unsupported."""
    for machine in MACHINES:
        if machine.elf_machine == elf_machine:
            return machine
    raise Unsupported(
        f"the process is of ELF machine {elf_machine}, and there is clock code for "
        f"{' and '.join(machine.name for machine in MACHINES)} only",
        "run this fault on such a host, or in the simulator",
    )


def this_machine() -> Machine:
    """The kind of processor that this program runs on. Raises Unsupported."""
    for machine in MACHINES:
        if machine.name == platform.machine():
            return machine
    raise Unsupported(
        f"this machine is {platform.machine()}, and there is clock code for "
        f"{' and '.join(machine.name for machine in MACHINES)} only",
        "run clock faults on such a host, or in the simulator",
    )


def template(machine: Machine) -> Template:
    """The listing as bytes; `real` is where it ends."""
    return machine.template(DATA)


def build(
    machine: Machine, moved: bytes, came_from: int, address: int, saved: list[bytes], skews: Skews
) -> Blob:
    """The blob to put at `address`.

    `moved` are whole instructions from the start of clock_gettime at `came_from` that are
    position independent (`Machine.movable`); empty if there are none. `saved` are the first bytes
    of the functions, in the order of the machine's entries.
    """
    code, labels = template(machine)
    if moved:
        back_at = address + CODE_AT + len(code) + len(moved)
        real = moved + machine.jump(back_at, came_from + len(moved))
    else:
        real = machine.system_call
    slot = skews.pack()
    kept = b"".join(s.ljust(SAVED_SIZE, b"\0") for s in saved)
    data = MAGIC + bytes(8) + slot + slot + kept.ljust(SAVED_SIZE * ENTRIES_MAX, b"\0")
    entries = {name: CODE_AT + labels[name] for name in machine.entries}
    return Blob(data + code + real, entries)
