"""The machine code that tells a process a false time (x86-64), and the data it reads.

It is put into a spare corner of the process's vDSO. The first five bytes of the vDSO's
`clock_gettime`, `gettimeofday` and `time` become jumps to the three entries below. Every entry gets
the true time, adds what the data says, and returns as the function would have:

    false = true + offset + (true - anchor) * rate / 2^32          (nanoseconds)

There are two such sets of data: one for the clocks that show the time of day (bits of 0x921:
CLOCK_REALTIME 0, _COARSE 5, _ALARM 8, CLOCK_TAI 11), one for those that run since boot (bits of
0x2d2: CLOCK_MONOTONIC 1, _RAW 4, _COARSE 6, CLOCK_BOOTTIME 7, _ALARM 9). The clocks of processes,
threads and devices pass through.

The true time comes from `real`: the five bytes that the jump replaced, moved here, followed by a
jump to what comes after them; so no clock needs a system call that did not before. Where those
bytes cannot be moved (an instruction relative to its address), `real` is the system call, which is
slower by a few hundred nanoseconds.

The data can be changed while threads read it: there are two slots, and `turn` says (by its lowest
bit) which one counts. A writer fills the other and then adds one to `turn`, one byte; a reader
reads `turn` again at the end, and starts over if it moved.

The listing is bytes and, beside them, what they mean; `<name>` stands for four bytes: the
distance to that label. A test has the GNU assembler translate the right side and compares.
"""

from __future__ import annotations

import functools
import re
import struct
from typing import Final, NamedTuple

NANOSECONDS: Final = 10**9
RATE_ONE: Final = 2**32
JUMP_SIZE: Final = 5
ENTRIES: Final = ("clock_gettime", "gettimeofday", "time")

LISTING: Final = """
clock_gettime:                ; edi = clock, rsi = where to
    57                        push rdi
    56                        push rsi
    e8 <real>                 call real
    5e                        pop rsi
    5f                        pop rdi
    85 c0                     test eax, eax
    0f 85 <done>              jnz done               ; an error: nothing was written
    83 ff 1f                  cmp edi, 31
    0f 87 <done>              ja done                ; the clock of a process or of a device
    ba 21 09 00 00            mov edx, 0x921
    0f a3 fa                  bt edx, edi
    0f 82 <wall>              jc wall
    ba d2 02 00 00            mov edx, 0x2d2
    0f a3 fa                  bt edx, edi
    0f 83 <done>              jnc done               ; a clock that is left alone
    bf 20 00 00 00            mov edi, 32            ; the monotonic half of a slot
    e9 <adjust>               jmp adjust
wall:
    31 ff                     xor edi, edi
adjust:
    48 69 06 00 ca 9a 3b      imul rax, [rsi], 1000000000
    48 03 46 08               add rax, [rsi+8]
    e8 <falsify>              call falsify
    b9 00 ca 9a 3b            mov ecx, 1000000000
    e8 <divide>               call divide
    48 89 06                  mov [rsi], rax
    48 89 56 08               mov [rsi+8], rdx
    31 c0                     xor eax, eax
done:
    c3                        ret

gettimeofday:                 ; rdi = where to, or null; rsi = the time zone, or null
    48 85 ff                  test rdi, rdi
    0f 84 <zone>              jz zone
    57                        push rdi
    56                        push rsi
    31 ff                     xor edi, edi           ; CLOCK_REALTIME
    e8 <now>                  call now
    5e                        pop rsi
    5f                        pop rdi
    b9 00 ca 9a 3b            mov ecx, 1000000000
    e8 <divide>               call divide
    48 89 07                  mov [rdi], rax
    48 89 d0                  mov rax, rdx
    31 d2                     xor edx, edx
    b9 e8 03 00 00            mov ecx, 1000
    48 f7 f1                  div rcx
    48 89 47 08               mov [rdi+8], rax
zone:
    48 85 f6                  test rsi, rsi
    0f 84 <no_zone>           jz no_zone
    31 ff                     xor edi, edi
    b8 60 00 00 00            mov eax, 96            ; gettimeofday(null, zone)
    0f 05                     syscall
    c3                        ret
no_zone:
    31 c0                     xor eax, eax
    c3                        ret

time:                         ; rdi = where to, or null
    57                        push rdi
    bf 05 00 00 00            mov edi, 5             ; CLOCK_REALTIME_COARSE, as time() does
    e8 <now>                  call now
    5f                        pop rdi
    b9 00 ca 9a 3b            mov ecx, 1000000000
    e8 <divide>               call divide
    48 85 ff                  test rdi, rdi
    0f 84 <time_done>         jz time_done
    48 89 07                  mov [rdi], rax
time_done:
    c3                        ret

now:                          ; edi = clock; rax = its false time
    48 83 ec 18               sub rsp, 24
    48 89 e6                  mov rsi, rsp
    e8 <real>                 call real
    48 69 04 24 00 ca 9a 3b   imul rax, [rsp], 1000000000
    48 03 44 24 08            add rax, [rsp+8]
    48 83 c4 18               add rsp, 24
    31 ff                     xor edi, edi
falsify:                      ; rax = a true time, then the false one; rdi = which half of a slot
    0f b6 0d <turn>           movzx ecx, byte ptr [rip+turn]
    89 ca                     mov edx, ecx
    83 e2 01                  and edx, 1
    c1 e2 06                  shl edx, 6             ; a slot is 64 bytes
    4c 8d 05 <slots>          lea r8, [rip+slots]
    49 01 d0                  add r8, rdx
    49 01 f8                  add r8, rdi
    4d 8b 08                  mov r9, [r8]           ; anchor
    4d 8b 50 08               mov r10, [r8+8]        ; offset
    4d 8b 58 10               mov r11, [r8+16]       ; rate
    3a 0d <turn>              cmp cl, [rip+turn]
    0f 85 <falsify>           jne falsify
    49 01 c2                  add r10, rax
    4c 29 c8                  sub rax, r9
    49 f7 eb                  imul r11
    48 0f ac d0 20            shrd rax, rdx, 32
    4c 01 d0                  add rax, r10
    c3                        ret

divide:                       ; rax / rcx: rax = quotient rounded down, rdx = rest, never negative
    48 99                     cqo
    48 f7 f9                  idiv rcx
    48 85 d2                  test rdx, rdx
    0f 89 <divided>           jns divided
    48 01 ca                  add rdx, rcx
    48 ff c8                  dec rax
divided:
    c3                        ret

real:                         ; edi = clock, rsi = where to: the true time
"""
SYSTEM_CALL: Final = "b8 e4 00 00 00 0f 05 c3"
SYSTEM_CALL_MEANS: Final = "mov eax, 228; syscall; ret  # clock_gettime"

# The data, in front of the code: magic, turn, two slots, and what the three jumps replaced.
MAGIC: Final = b"AntiPxT2"
SLOT: Final = struct.Struct("<qqq8xqqq8x")
"""Anchor in ns, offset in ns, rate * 2^32: of the time of day, then of the monotonic clocks."""
TURN_AT, SLOTS_AT, SAVED_AT = 8, 16, 16 + 2 * SLOT.size
CODE_AT: Final = SAVED_AT + 8 * len(ENTRIES)
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


class Template(NamedTuple):
    """The listing as bytes, its labels, and the places that wait for a label's distance."""

    code: bytes
    labels: dict[str, int]
    references: tuple[tuple[int, str], ...]


@functools.cache
def template() -> Template:
    """The listing read, once. `real` is where it ends."""
    code = bytearray()
    labels = {"turn": TURN_AT - CODE_AT, "slots": SLOTS_AT - CODE_AT}
    references = []
    for line in LISTING.splitlines():
        if found := re.match(r"(\w+):", line):
            labels[found[1]] = len(code)
            continue
        for item in line[4:30].split():
            if item.startswith("<"):
                references.append((len(code), item.strip("<>")))
                code += bytes(4)
            else:
                code.append(int(item, 16))
    for place, name in references:
        struct.pack_into("<i", code, place, labels[name] - (place + 4))
    return Template(bytes(code), labels, tuple(references))


def build(moved: bytes, came_from: int, address: int, saved: list[bytes], skews: Skews) -> Blob:
    """The blob to put at `address`.

    `moved` are whole instructions from the start of clock_gettime at `came_from` that may stand
    anywhere, five bytes of them or more; empty if there are none such. `saved` are the first bytes
    of the three functions, in the order of ENTRIES.
    """
    code, labels, _ = template()
    if moved:
        back_at = address + CODE_AT + len(code) + len(moved)
        real = moved + jump(back_at, came_from + len(moved))
    else:
        real = bytes.fromhex(SYSTEM_CALL)
    slot = skews.pack()
    data = MAGIC + bytes(8) + slot + slot + b"".join(s.ljust(8, b"\0") for s in saved)
    return Blob(data + code + real, {name: CODE_AT + labels[name] for name in ENTRIES})


def jump(source: int, target: int) -> bytes:
    """`jmp target`, standing at `source`."""
    return b"\xe9" + struct.pack("<i", target - (source + JUMP_SIZE))


_MOVABLE: Final = re.compile(
    rb"\xf3\x0f\x1e\xfa"  # endbr64
    rb"|\x41?[\x50-\x57]"  # push
    rb"|\x48\x89\xe5"  # mov rbp, rsp
    rb"|\x48\x83[\xe4\xec]."  # and/sub rsp, imm8
    rb"|[\x48\x49\x4c\x4d]?[\x89\x85\x31][\xc0-\xff]"  # mov/test/xor register, register
    rb"|\x48?\x63[\xc0-\xff]"  # movsxd register, register
    rb"|\x83[\xf8-\xff]."  # cmp register, imm8
    rb"|[\xb8-\xbf]....",  # mov register, imm32
    re.DOTALL,
)


def movable(code: bytes) -> bytes:
    """Whole instructions from the start of `code`, at least five bytes, that mean the same
    anywhere; empty when one comes that is not known to."""
    at = 0
    while at < JUMP_SIZE:
        found = _MOVABLE.match(code, at)
        if found is None:
            return b""
        at = found.end()
    return code[:at]
