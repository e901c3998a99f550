"""The clock's machine code: translated by an assembler; that for x86-64 run here."""

from __future__ import annotations

import ctypes
import mmap
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from faults.agent import assembly
from faults.agent.assembly import (
    CODE_AT,
    MACHINES,
    NONE,
    TRUE,
    Skew,
    Skews,
    build,
    machine_of,
    rate_of,
    this_machine,
)
from faults.agent.clock_code import Machine
from faults.agent.clock_code_aarch64 import AARCH64
from faults.agent.clock_code_aarch64 import SYSTEM_CALL_MEANS as AARCH64_SYSTEM_CALL
from faults.agent.clock_code_x86_64 import SYSTEM_CALL_MEANS as X86_64_SYSTEM_CALL
from faults.agent.clock_code_x86_64 import X86_64
from faults.agent.errors import Unsupported
from faults.agent.evidence import demonstrated_offset_ns

x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="runs x86-64 code")
REALTIME, MONOTONIC, COARSE, ALARM, TAI = 0, 1, 5, 8, 11
NS = 10**9
HOUR = 3600 * NS


@pytest.mark.parametrize(
    ("machine", "tools", "syntax", "system_call"),
    [
        (X86_64, "x86_64-linux-gnu-", ".intel_syntax noprefix\n", X86_64_SYSTEM_CALL),
        (AARCH64, "aarch64-linux-gnu-", "", AARCH64_SYSTEM_CALL),
    ],
    ids=lambda value: value.name if isinstance(value, Machine) else "",
)
def test_the_bytes_match_the_listing(
    machine: Machine, tools: str, syntax: str, system_call: str, tmp_path: Path
) -> None:
    """The GNU assembler translates the right side of the listing to its left side."""
    if not (shutil.which(f"{tools}as") and shutil.which(f"{tools}objcopy")):
        pytest.skip(f"{tools}as or {tools}objcopy is not installed")
    lines = []
    for line in machine.listing.splitlines():
        meaning = line if re.match(r"\w+:", line) else re.split(r"   +", line[4:])[1:2]
        lines.append("".join(meaning).partition(";")[0])
    source = syntax + "\n".join(lines) + "\n" + system_call
    source += f"\n.set turn, clock_gettime - {CODE_AT - assembly.TURN_AT}"
    source += f"\n.set slots, clock_gettime - {CODE_AT - assembly.SLOTS_AT}\n"
    if machine is X86_64:  # jumps of four bytes, as in the listing, however near the target
        source = re.sub(r"^(j\w+) ", r"{disp32} \1 ", source, flags=re.MULTILINE)
    (tmp_path / "code.s").write_text(source)
    subprocess.run([f"{tools}as", "-o", "code.o", "code.s"], cwd=tmp_path, check=True)
    subprocess.run(
        [f"{tools}objcopy", "-O", "binary", "-j", ".text", "code.o", "code"],
        cwd=tmp_path,
        check=True,
    )
    made = (tmp_path / "code").read_bytes()
    ours = build(machine, b"", 0, 0, [], TRUE).content[CODE_AT:]
    assert made.hex(" ") == ours.hex(" ")


class Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_int64), ("rest", ctypes.c_int64))


class Loaded:
    """The code in memory of this process, with its three functions to call."""

    def __init__(self, wall: Skew, monotonic: Skew = NONE) -> None:
        self.page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self.page))
        blob = build(X86_64, b"", 0, base, [], Skews(wall, monotonic))
        self.page.write(blob.content)
        self._at = {name: base + offset for name, offset in blob.entries.items()}
        self.data = Timespec()
        self.where = ctypes.addressof(self.data)

    def clock_gettime(self, clock: int) -> int:
        call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
        code = call(self._at["clock_gettime"])(clock, self.where)
        assert code == 0, code
        assert 0 <= self.data.rest < NS
        return int(self.data.seconds * NS + self.data.rest)

    def clock_gettime_error(self, clock: int, where: int | None) -> int:
        call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
        return int(call(self._at["clock_gettime"])(clock, where))

    def gettimeofday(self, zone: int | None = None, where: bool = True) -> int:
        call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        assert call(self._at["gettimeofday"])(self.where if where else None, zone) == 0
        assert 0 <= self.data.rest < 10**6
        return int(self.data.seconds * 10**6 + self.data.rest)

    def time(self, where: bool = False) -> int:
        call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)
        return int(call(self._at["time"])(self.where if where else None))


def between(read: int, before: int, after: int, slack: int = 0) -> bool:
    return before - slack <= read <= after + slack


SKEWS = st.builds(
    Skew,
    st.integers(0, 2 * 10**18),
    st.integers(-(10**18), 10**18),
    st.integers(-(10**6), 10**6).map(rate_of),
)


@x86_64
@given(SKEWS)
@example(NONE)
@example(Skew(0, -2 * 10**18, 0))  # before 1970: seconds round down
@example(Skew(10**18, HOUR, rate_of(-500_000)))
def test_all_three_functions_return_the_false_time_of_the_data(skew: Skew) -> None:
    code = Loaded(skew)
    before = skew.at(time.clock_gettime_ns(REALTIME))
    read = code.clock_gettime(REALTIME)
    after = skew.at(time.clock_gettime_ns(REALTIME))
    low, high = min(before, after), max(before, after)
    assert between(read, low, high)
    micro = code.gettimeofday()
    last = skew.at(time.clock_gettime_ns(REALTIME))
    assert between(micro, min(after, last) // 1000, max(after, last) // 1000)
    coarse_before = skew.at(time.clock_gettime_ns(COARSE))
    second = code.time(where=True)
    coarse_after = skew.at(time.clock_gettime_ns(COARSE))
    assert second == code.data.seconds
    low, high = sorted((coarse_before // NS, coarse_after // NS))
    assert between(second, low, high)


def require(clock: int) -> None:
    try:
        time.clock_gettime_ns(clock)
    except OSError:
        pytest.skip(f"this machine has no clock {clock} (it needs a real-time clock's alarm)")


@x86_64
@pytest.mark.parametrize("clock", [REALTIME, COARSE, ALARM, TAI])
def test_clocks_of_the_time_of_day_are_false(clock: int) -> None:
    require(clock)
    code = Loaded(Skew(0, HOUR, 0))
    before = time.clock_gettime_ns(clock)
    assert between(code.clock_gettime(clock) - HOUR, before, time.clock_gettime_ns(clock))


@x86_64
@pytest.mark.parametrize("clock", [1, 2, 3, 4, 6, 7, 9])
def test_clocks_that_only_run_are_true(clock: int) -> None:
    require(clock)
    code = Loaded(Skew(0, HOUR, rate_of(100_000)))
    before = time.clock_gettime_ns(clock)
    assert between(code.clock_gettime(clock), before, time.clock_gettime_ns(clock))


@x86_64
@given(SKEWS)
def test_the_monotonic_clocks_have_data_of_their_own(skew: Skew) -> None:
    code = Loaded(Skew(0, HOUR, 0), skew)
    for clock in (MONOTONIC, 4, 6, 7):
        readings = [skew.at(time.clock_gettime_ns(clock)), code.clock_gettime(clock)]
        readings.append(skew.at(time.clock_gettime_ns(clock)))
        low, high = sorted((readings[0], readings[2]))
        assert between(readings[1], low, high), clock
    before = time.clock_gettime_ns(REALTIME)
    assert between(code.clock_gettime(REALTIME) - HOUR, before, time.clock_gettime_ns(REALTIME))
    before = time.process_time_ns()
    assert between(code.clock_gettime(2), before, time.process_time_ns())


@x86_64
def test_errors_come_back_as_the_kernel_gives_them() -> None:
    code = Loaded(Skew(0, HOUR, 0))
    assert code.clock_gettime_error(10, code.where) == -22  # EINVAL: no such clock
    assert code.clock_gettime_error(REALTIME, None) == -14  # EFAULT
    assert code.clock_gettime_error(33, code.where) == -22  # beyond the bits of the mask


@x86_64
def test_a_clock_of_a_process_passes_through() -> None:
    """Its number is negative; only its low bits look like CLOCK_REALTIME's."""
    code = Loaded(Skew(0, HOUR, 0))
    own = ~0 << 3 | 2
    read = code.clock_gettime(own)
    assert between(read, 0, time.process_time_ns())


@x86_64
def test_gettimeofday_takes_null_and_the_time_zone() -> None:
    code = Loaded(Skew(0, HOUR, 0))
    zone = (ctypes.c_int * 2)(7, 7)
    code.data.seconds = code.data.rest = 5
    code.gettimeofday(zone=ctypes.addressof(zone), where=False)
    assert (code.data.seconds, code.data.rest) == (5, 5)
    assert list(zone) != [7, 7]


@x86_64
def test_the_other_slot_is_used_when_the_turn_changes() -> None:
    code = Loaded(NONE)
    other = assembly.SLOTS_AT + assembly.SLOT.size
    code.page[other : other + assembly.SLOT.size] = Skews(Skew(0, HOUR, 0)).pack()
    assert abs(code.clock_gettime(REALTIME) - time.time_ns()) < HOUR // 2
    for turn, offset in ((1, HOUR), (2, 0), (255, HOUR)):
        code.page[assembly.TURN_AT] = turn
        assert abs(code.clock_gettime(REALTIME) - time.time_ns() - offset) < HOUR // 2


@x86_64
@given(st.integers(-(10**18), 10**18))
def test_the_demonstration_runs_the_code_and_finds_the_offset(offset_ns: int) -> None:
    blob = build(X86_64, b"\x55" * 5, 0x7000, 0x8000, [], Skews(Skew(0, offset_ns, 0)))
    found = demonstrated_offset_ns(blob.content, blob.entries["clock_gettime"])
    assert found is not None and abs(found - offset_ns) < NS


@given(SKEWS, st.integers(0, 2 * 10**18))
def test_the_model_is_exact_at_the_anchor_and_keeps_its_rate(skew: Skew, later: int) -> None:
    assert skew.at(skew.anchor_ns) == skew.anchor_ns + skew.offset_ns
    gained = skew.at(later) - later - skew.offset_ns
    assert abs(gained - (later - skew.anchor_ns) * skew.rate / 2**32) <= 1 + abs(gained) / 2**50


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("55 48 89 e5 41 56 53 48 83 e4 f0", "55 48 89 e5 41 56"),  # Linux 6.18
        ("f3 0f 1e fa 55 48 89 e5", "f3 0f 1e fa 55"),  # with CET
        ("55 4c 8d 15 e8 97 ff ff 48 89 e5", ""),  # lea r10, [rip+...]
        ("e9 00 00 00 00 90 90 90", ""),  # a jump
        ("83 ff 17 0f 87 00 00 00 00", ""),  # cmp, then a conditional jump
        ("48 83 ec 10 85 ff 90", "48 83 ec 10 85 ff"),
        ("31 c0 c3 90 90", ""),  # returns: what follows is another function
    ],
)
def test_only_position_independent_instructions_are_moved(code: str, expected: str) -> None:
    assert X86_64.movable(bytes.fromhex(code)) == bytes.fromhex(expected)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("5f 24 03 d5 1f 3c 00 71 ff ff ff ff", "5f 24 03 d5 1f 3c 00 71"),  # bti c; cmp w0, #15
        ("3f 23 03 d5 fd 7b bf a9", "3f 23 03 d5 fd 7b bf a9"),  # paciasp; stp x29, x30, ...
        ("1f 3c 00 71 a8 02 00 54", ""),  # cmp; b.hi
        ("5f 24 03 d5 00 00 00 90", ""),  # adrp
        ("5f 24 03 d5 40 00 00 10", ""),  # adr
        ("5f 24 03 d5 40 00 00 58", ""),  # ldr x0, literal
        ("5f 24 03 d5 40 00 00 b4", ""),  # cbz x0
        ("5f 24 03 d5 40 00 00 37", ""),  # tbnz w0, #0
        ("02 00 00 14 1f 20 03 d5", ""),  # b; nop
        ("c0 03 5f d6 1f 20 03 d5", ""),  # ret; nop
        ("01 00 00 d4 1f 20 03 d5", ""),  # svc; nop
        ("5f 24 03 d5", ""),
    ],
)
def test_only_position_independent_instructions_are_moved_on_aarch64(
    code: str, expected: str
) -> None:
    assert AARCH64.movable(bytes.fromhex(code)) == bytes.fromhex(expected)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda one: one.name)
@given(st.binary(max_size=40))
def test_what_is_moved_is_the_start_or_nothing(machine: Machine, code: bytes) -> None:
    moved = machine.movable(code)
    assert code.startswith(moved)
    assert not moved or len(moved) >= machine.jump_size


@pytest.mark.parametrize("machine", MACHINES, ids=lambda one: one.name)
def test_a_jump_has_its_size_and_a_machine_its_number(machine: Machine) -> None:
    assert len(machine.jump(0x1000, 0x2000)) == machine.jump_size <= assembly.SAVED_SIZE
    assert machine_of(machine.elf_machine) is machine
    assert len(machine.entries) <= assembly.ENTRIES_MAX


def test_a_branch_of_aarch64_says_how_far_it_goes() -> None:
    assert AARCH64.jump(0x1000, 0x1008).hex(" ") == "5f 24 03 d5 01 00 00 14"
    assert AARCH64.jump(0x1000, 0x1000).hex(" ") == "5f 24 03 d5 ff ff ff 17"
    for target in (0x1006, 0x1004 + (1 << 27)):
        with pytest.raises(ValueError, match="cannot reach"):
            AARCH64.jump(0x1000, target)


def test_another_kind_of_processor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(Unsupported, match="riscv64"):
        this_machine()
    with pytest.raises(Unsupported, match="ELF machine 243"):
        machine_of(243)


def test_a_blob_knows_its_entries_and_what_it_replaced() -> None:
    saved = [b"abcde", b"fghij", b"klmno"]
    blob = build(X86_64, b"\x55" * 6, 0x1000, 0x2000, saved, Skews(Skew(1, 2, 3)))
    assert blob.content.startswith(assembly.MAGIC)
    assert tuple(blob.entries) == X86_64.entries
    assert blob.content[assembly.SAVED_AT : CODE_AT : 1] == b"abcde\0\0\0fghij\0\0\0klmno\0\0\0"
    back = blob.content[-5:]
    end = 0x2000 + len(blob.content)
    assert back[0] == 0xE9
    assert end + int.from_bytes(back[1:], "little", signed=True) == 0x1006
