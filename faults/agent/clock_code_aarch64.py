"""The clock's code for aarch64: the listing, the jump to it, and which instructions may be moved.

`faults.agent.assembly` says what the code does; `vdso_patch` writes it into a process. The first
two instructions of the vDSO's functions become `bti c` (some processors demand it where functions
are called through pointers, others ignore it) and `b`. There is no `time` in this vDSO: libraries
call clock_gettime for it.

The code uses registers that a called function may change, and none of those that platforms reserve.
`turn` is read with acquire semantics, and once more behind a barrier for reads: a slot that was
being changed is never used. The listing is words in the order of memory and, beside them, what they
mean; every distance in it is fixed. A test has the GNU assembler translate the right side, and
another runs the code in an emulator.
"""

from __future__ import annotations

import struct
from typing import Final

from faults.agent.clock_code import Machine

LISTING: Final = """
clock_gettime:
    fd 7b be a9   stp x29, x30, [sp, #-32]!       ; w0 = clock, x1 = where to
    e0 07 01 a9   stp x0, x1, [sp, #16]
    48 00 00 94   bl real
    e2 07 41 a9   ldp x2, x1, [sp, #16]
    fd 7b c2 a8   ldp x29, x30, [sp], #32
    20 02 00 35   cbnz w0, done                   ; an error: nothing was written
    5f 7c 00 71   cmp w2, #31
    e8 01 00 54   b.hi done                       ; the clock of a process or of a device
    23 24 81 52   mov w3, #0x921
    63 24 c2 1a   lsr w3, w3, w2
    04 00 80 52   mov w4, #0                      ; the half of a slot for the time of day
    a3 00 00 37   tbnz w3, #0, adjust
    43 5a 80 52   mov w3, #0x2d2
    63 24 c2 1a   lsr w3, w3, w2
    03 01 00 36   tbz w3, #0, done                ; a clock that is left alone
    04 04 80 52   mov w4, #32                     ; the monotonic half
adjust:
    ef 03 1e aa   mov x15, x30
    25 18 40 a9   ldp x5, x6, [x1]
    1c 00 00 94   bl falsify
    25 18 00 a9   stp x5, x6, [x1]
    00 00 80 52   mov w0, #0
    e0 01 5f d6   ret x15
done:
    c0 03 5f d6   ret
gettimeofday:
    00 02 00 b4   cbz x0, zone                    ; x0 = where to, x1 = the time zone; or null
    fd 7b bd a9   stp x29, x30, [sp, #-48]!
    e0 07 01 a9   stp x0, x1, [sp, #16]
    00 00 80 52   mov w0, #0                      ; CLOCK_REALTIME
    e1 83 00 91   add x1, sp, #32
    2e 00 00 94   bl real
    e5 1b 42 a9   ldp x5, x6, [sp, #32]
    e0 07 41 a9   ldp x0, x1, [sp, #16]
    fd 7b c3 a8   ldp x29, x30, [sp], #48
    ef 03 1e aa   mov x15, x30
    04 00 80 52   mov w4, #0
    0c 00 00 94   bl falsify
    fe 03 0f aa   mov x30, x15
    09 7d 80 52   mov w9, #1000
    c6 08 c9 9a   udiv x6, x6, x9
    05 18 00 a9   stp x5, x6, [x0]
zone:
    a1 00 00 b4   cbz x1, no_zone
    00 00 80 d2   mov x0, #0
    28 15 80 52   mov w8, #169                    ; gettimeofday(null, zone)
    01 00 00 d4   svc #0
    c0 03 5f d6   ret
no_zone:
    00 00 80 52   mov w0, #0
    c0 03 5f d6   ret
falsify:
    09 40 99 52   mov w9, #0xca00                 ; x5, x6 = seconds, nanoseconds; x4 = which half
    49 73 a7 72   movk w9, #0x3b9a, lsl #16       ; 1,000,000,000
    a5 18 09 9b   madd x5, x5, x9, x6
    ea f4 ff 10   adr x10, turn
    0c f5 ff 10   adr x12, slots
again:
    4b fd df 08   ldarb w11, [x10]
    6d 01 00 12   and w13, w11, #1
    8d 19 0d 8b   add x13, x12, x13, lsl #6       ; a slot is 64 bytes
    ad 01 04 8b   add x13, x13, x4
    ae 41 40 a9   ldp x14, x16, [x13]             ; anchor, offset
    b1 09 40 f9   ldr x17, [x13, #16]             ; rate
    bf 39 03 d5   dmb ishld
    4d 01 40 39   ldrb w13, [x10]
    bf 01 0b 6b   cmp w13, w11
    e1 fe ff 54   b.ne again
    ae 00 0e cb   sub x14, x5, x14
    cd 7d 11 9b   mul x13, x14, x17
    ce 7d 51 9b   smulh x14, x14, x17
    cd 81 cd 93   extr x13, x14, x13, #32
    a5 00 10 8b   add x5, x5, x16
    a5 00 0d 8b   add x5, x5, x13
    a7 0c c9 9a   sdiv x7, x5, x9                 ; rounded down, so that the rest is never negative
    e6 94 09 9b   msub x6, x7, x9, x5
    66 00 f8 b6   tbz x6, #63, divided
    c6 00 09 8b   add x6, x6, x9
    e7 04 00 d1   sub x7, x7, #1
divided:
    e5 03 07 aa   mov x5, x7
    c0 03 5f d6   ret
real:
"""
SYSTEM_CALL_MEANS: Final = "mov w8, #113; svc #0; ret  // clock_gettime"
JUMP_SIZE: Final = 8
BTI_C: Final = bytes.fromhex("5f 24 03 d5")
BRANCH, REACH = 0x14000000, 1 << 27
"""`b` with a distance of 26 bits, in instructions: 128 MiB either way."""

_RELATIVE: Final = (
    # mask, value: instructions that mean another thing elsewhere, or after which nothing follows
    (0x1F000000, 0x10000000),  # adr, adrp
    (0x7C000000, 0x14000000),  # b, bl
    (0xFE000000, 0x54000000),  # b.cond
    (0x7E000000, 0x34000000),  # cbz, cbnz
    (0x7E000000, 0x36000000),  # tbz, tbnz
    (0x3B000000, 0x18000000),  # ldr (literal), prfm (literal)
    (0xFE000000, 0xD6000000),  # br, blr, ret, eret
    (0xFF000000, 0xD4000000),  # svc, brk and other exceptions
)


def jump(source: int, target: int) -> bytes:
    """`bti c; b target`, standing at `source`. Raises ValueError where the target is too far."""
    distance = target - (source + 4)
    if not -REACH <= distance < REACH or distance % 4:
        raise ValueError(f"a branch cannot reach from {source:#x} to {target:#x}")
    return BTI_C + struct.pack("<I", BRANCH | (distance >> 2) & 0x3FFFFFF)


def movable(code: bytes) -> bytes:
    """The first two instructions of `code`; empty when one of them means another thing elsewhere,
    or none is there."""
    if len(code) < JUMP_SIZE:
        return b""
    for word in struct.unpack_from("<2I", code):
        if word >> 16 == 0 or any(word & mask == value for mask, value in _RELATIVE):
            return b""  # (words from 0 on are not instructions)
    return code[:JUMP_SIZE]


AARCH64: Final = Machine(
    name="aarch64",
    elf_machine=183,
    symbols={
        "clock_gettime": "__kernel_clock_gettime",
        "gettimeofday": "__kernel_gettimeofday",
    },
    listing=LISTING,
    system_call=bytes.fromhex("28 0e 80 52 01 00 00 d4 c0 03 5f d6"),
    jump_size=JUMP_SIZE,
    jump=jump,
    movable=movable,
)
