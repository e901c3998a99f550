"""The clock's code for aarch64, run by an emulator of that processor."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.agent.assembly import CODE_AT, NONE, SLOT, SLOTS_AT, Skew, Skews, build, rate_of
from faults.agent.clock_code_aarch64 import AARCH64

COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64-static"
MISSING = [tool for tool in (COMPILER, EMULATOR) if shutil.which(tool) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

ADDRESS = 0x40000000
NS = 10**9
HOUR = 3600 * NS
REALTIME, MONOTONIC, PROCESS, RAW, COARSE, BOOTTIME = 0, 1, 2, 4, 5, 7
PACIASP_STP = bytes.fromhex("3f 23 03 d5 fd 7b bf a9")
"""The start of a function that is moved; it goes on, at `GOES_ON`, with what undoes it."""
GOES_ON = 4096


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("aarch64") / "clock_code"
    source = Path(__file__).with_name("clock_code.c")
    subprocess.run([COMPILER, "-static", "-O1", "-o", made, source], check=True)
    return made


class Emulated:
    """The code in an emulated process; `ask` has a function called there."""

    def __init__(self, program: Path, content: bytes, entries: dict[str, int]) -> None:
        blob = program.with_name("blob")
        blob.write_bytes(content)
        offsets = [str(entries[name]) for name in AARCH64.entries]
        self.process = subprocess.Popen(
            [EMULATOR, str(program), str(blob), *offsets],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, line: str) -> tuple[int, int, int, int]:
        """(true time before, what was shown, true time after, what was returned)"""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        before, shown, after, code = map(int, self.process.stdout.readline().split())
        return before, shown, after, code

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def started(program: Path, skews: Skews, moved: bytes = b"") -> Emulated:
    blob = build(AARCH64, moved, ADDRESS + GOES_ON - len(moved), ADDRESS, [], skews)
    content = blob.content
    if moved:
        undo = bytes.fromhex("fd 7b c1 a8 bf 23 03 d5")  # ldp x29, x30, [sp], #16; autiasp
        content = content.ljust(GOES_ON, b"\0") + undo + AARCH64.system_call
    return Emulated(program, content, blob.entries)


@pytest.fixture
def hour(program: Path) -> Iterator[Emulated]:
    emulated = started(program, Skews(Skew(0, HOUR, 0), Skew(0, 7 * NS, 0)))
    yield emulated
    emulated.close()


SKEWS = [
    NONE,
    Skew(0, -2 * 10**18, 0),  # before 1970: seconds round down
    Skew(10**18, HOUR, rate_of(-500_000)),
    Skew(1_700_000_000 * NS, -5, rate_of(999_999)),
    Skew(2 * 10**18, 3, rate_of(123.456)),  # an anchor in the future
]


@pytest.mark.parametrize("skew", SKEWS)
@pytest.mark.parametrize("moved", [b"", PACIASP_STP], ids=["system call", "moved"])
def test_it_tells_the_false_time_that_the_data_says(
    program: Path, skew: Skew, moved: bytes
) -> None:
    emulated = started(program, Skews(skew, skew), moved)
    try:
        for clock in (REALTIME, MONOTONIC, RAW, COARSE, BOOTTIME):
            before, shown, after, code = emulated.ask(f"c {clock}")
            assert code == 0
            assert skew.at(before) <= shown <= skew.at(after), clock
        before, shown, after, code = emulated.ask("g")
        assert code == 0
        assert skew.at(before) // 1000 <= shown <= skew.at(after) // 1000
    finally:
        emulated.close()


def test_the_two_kinds_of_clocks_have_data_of_their_own(hour: Emulated) -> None:
    for clock, ahead in ((REALTIME, HOUR), (COARSE, HOUR), (11, HOUR), (MONOTONIC, 7 * NS)):
        before, shown, after, code = hour.ask(f"c {clock}")
        assert code == 0 and before + ahead <= shown <= after + ahead, clock


@pytest.mark.parametrize("clock", [PROCESS, 3, ~0 << 3 | 2])
def test_clocks_of_processes_and_threads_pass_through(hour: Emulated, clock: int) -> None:
    before, shown, after, code = hour.ask(f"c {clock}")
    assert code == 0 and before <= shown <= after


def test_errors_come_back_as_the_kernel_gives_them(hour: Emulated) -> None:
    assert hour.ask("c 10")[3] == -22  # EINVAL: no such clock
    assert hour.ask("c 33")[3] == -22  # beyond the bits of the mask
    assert hour.ask("n 0")[3] == -14  # EFAULT


def test_gettimeofday_takes_null_and_the_time_zone(hour: Emulated) -> None:
    _, zone, _, code = hour.ask("z")
    assert code == 0 and zone != 7


def test_the_other_slot_counts_when_the_turn_changes(program: Path) -> None:
    blob = build(AARCH64, b"", 0, ADDRESS, [], Skews())
    other = SLOTS_AT + SLOT.size
    content = bytearray(blob.content)
    content[other : other + SLOT.size] = Skews(Skew(0, HOUR, 0)).pack()
    assert len(content) > CODE_AT
    emulated = Emulated(program, bytes(content), blob.entries)
    try:
        for turn, offset in ((0, 0), (1, HOUR), (2, 0), (255, HOUR)):
            emulated.ask(f"t {turn}")
            shown = emulated.ask("c 0")[1]
            assert abs(shown - time.time_ns() - offset) < HOUR // 2
    finally:
        emulated.close()
