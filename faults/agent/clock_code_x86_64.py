"""The clock's code for x86-64: the listing, the jump to it, and which instructions may be moved.

`faults.agent.assembly` says what the code does. The first five bytes of the vDSO's functions become
`jmp` to its entries.

The listing is bytes and, beside them, what they mean; `<name>` stands for four bytes: the distance
to that label. A test has the GNU assembler translate the right side and compares.
"""

from __future__ import annotations

import re
import struct
from typing import Final

from faults.agent.clock_code import Machine

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
SYSTEM_CALL_MEANS: Final = "mov eax, 228; syscall; ret  # clock_gettime"
JUMP_SIZE: Final = 5


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


X86_64: Final = Machine(
    name="x86_64",
    elf_machine=62,
    symbols={
        "clock_gettime": "__vdso_clock_gettime",
        "gettimeofday": "__vdso_gettimeofday",
        "time": "__vdso_time",
    },
    listing=LISTING,
    system_call=bytes.fromhex("b8 e4 00 00 00 0f 05 c3"),
    jump_size=JUMP_SIZE,
    jump=jump,
    movable=movable,
)
