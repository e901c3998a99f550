"""The vDSO: the small shared library that the kernel maps into every process.

A program reads the time by calling a function in it, not by a system call; CPython, the JVM, Go and
Rust all do. Its pages are private to the process once written, so a change affects this process
alone (and its forks), and is lost when it executes another program.

This file finds where it is mapped (the auxiliary vector), what it exports (its dynamic symbols),
and where it has unused space for a few hundred bytes.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final, NamedTuple

from faults.agent.assembly import MAGIC, machine_of
from faults.agent.clock_code import Machine
from faults.agent.errors import Failed, Unsupported

AT_SYSINFO_EHDR: Final = 33
PT_LOAD, PT_DYNAMIC = 1, 2
DT_HASH, DT_STRTAB, DT_SYMTAB, DT_GNU_HASH = 4, 5, 6, 0x6FFFFEF5
_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_SYM = struct.Struct("<IBBHQQ")
PAGE: Final = 4096
SIZE_MAX: Final = 16 * PAGE


class Library(NamedTuple):
    """`base`: where it is mapped; `size`: of the mapping; `functions`: offset and size by name."""

    base: int
    size: int
    functions: dict[str, tuple[int, int]]
    free_space: int
    """The offset of the unused space; see `find_free_space`."""
    free_space_size: int
    machine: Machine


def vdso_base(auxv: bytes) -> int | None:
    """The address of the vDSO in an auxiliary vector; None for a process that has none (yet)."""
    for at in range(0, len(auxv) - 15, 16):
        kind, value = struct.unpack_from("<QQ", auxv, at)
        if kind == AT_SYSINFO_EHDR:
            return int(value) or None
    return None


def base_of(pid: int) -> int | None:
    """The address of the vDSO of a process, or of that of a thread; None while it starts or ends.
    Raises NoVdso for one that runs and has none, or whose vector has another form, as that of a
    32-bit program."""
    try:
        auxv = Path(f"/proc/{pid}/auxv").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    base = vdso_base(auxv)
    if base is None and auxv.strip(b"\0"):
        raise NoVdso(pid)
    return base


def parse_library(base: int, image: bytes) -> Library:
    """The functions and unused space of a vDSO. Raises Unsupported for one of an unknown form."""
    if len(image) < _EHDR.size or image[:6] != b"\x7fELF\x02\x01":
        raise Unsupported("the process's vDSO is not 64-bit little-endian ELF", "run a 64-bit node")
    header = _EHDR.unpack_from(image)
    ph_at, ph_size, ph_count = header[5], header[9], header[10]
    machine = machine_of(header[2])
    loaded, dynamic = 0, 0
    for i in range(ph_count):
        kind, _, _, address, _, _, length, _ = _PHDR.unpack_from(image, ph_at + i * ph_size)
        if kind == PT_LOAD:
            loaded = max(loaded, address + length)
        elif kind == PT_DYNAMIC:
            dynamic = address
    functions = _functions(image, dynamic, machine)
    missing = [name for name in machine.symbols if name not in functions]
    if missing:
        raise Unsupported(f"this kernel's vDSO exports no {missing}", "use a common kernel")
    free_space, free_space_size = find_free_space(image, loaded)
    return Library(base, len(image), functions, free_space, free_space_size, machine)


def find_free_space(image: bytes, loaded: int) -> tuple[int, int]:
    """The larger unused space, as offset and size, after everything the loader reads.

    Either the zeros that fill the last page, or the section headers: debuggers read those from
    files, and no program reads them from memory. Where the clock's code is there already, as in a
    fork of a process that has it, that is the place.
    """
    header = _EHDR.unpack_from(image)
    table, size = header[6], header[11] * header[12]
    headers = ((table + 15) & ~15, size - 16) if loaded <= table <= len(image) - size else (0, 0)
    if (code := image.find(MAGIC)) >= 0:
        return headers if code == headers[0] else (code, len(image) - code)
    zeros = (len(image.rstrip(b"\0")) + 15) & ~15
    return max((zeros, len(image) - zeros), headers, key=lambda found: found[1])


def _functions(image: bytes, dynamic: int, machine: Machine) -> dict[str, tuple[int, int]]:
    tags: dict[int, int] = {}
    for at in range(dynamic, len(image) - 15, 16):
        tag, value = struct.unpack_from("<QQ", image, at)
        if tag == 0:
            break
        tags.setdefault(tag, value)
    names = {symbol.encode(): name for name, symbol in machine.symbols.items()}
    found = {}
    table, strings = tags[DT_SYMTAB], tags[DT_STRTAB]
    for i in range(_symbol_count(image, tags)):
        name_at, _, _, section, value, size = _SYM.unpack_from(image, table + i * _SYM.size)
        start = strings + name_at
        name = names.get(image[start : image.index(b"\0", start)])
        if name and section:
            found[name] = (value, size)
    return found


def _symbol_count(image: bytes, tags: dict[int, int]) -> int:
    """The number of symbols, from the hash table; in a GNU one it follows from the last chain."""
    if DT_HASH in tags:
        (_, chains) = struct.unpack_from("<II", image, tags[DT_HASH])
        return int(chains)
    at = tags[DT_GNU_HASH]
    buckets, first, bloom, _ = struct.unpack_from("<IIII", image, at)
    bucket_at = at + 16 + 8 * bloom
    last = int(max(struct.unpack_from(f"<{buckets}I", image, bucket_at)))
    while last >= first:
        (value,) = struct.unpack_from("<I", image, bucket_at + 4 * (buckets + last - first))
        last += 1
        if value & 1:
            return last
    return int(first)


class ProcessGone(Failed):
    """The process has ended, or executes another program by now."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"process {pid} is gone", "await the node first")


class NoVdso(Unsupported):
    """The process runs, and has no vDSO of a known form: its clock cannot be changed."""

    def __init__(self, pid: int) -> None:
        super().__init__(
            f"process {pid} has no vDSO of a 64-bit program",
            "run a 64-bit node, on a kernel that was booted without vdso=0",
        )


class Memory:
    """The memory of another process, through /proc/PID/mem; read-only pages can be written."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._file = open(f"/proc/{pid}/mem", "r+b", buffering=0)  # noqa: SIM115, PTH123
        except PermissionError:
            raise Unsupported(
                f"may not open the memory of process {pid}",
                "give the agent's container SYS_PTRACE and DAC_OVERRIDE",
            ) from None

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, address: int, size: int) -> bytes:
        """Raises ProcessGone when the memory is not mapped (any more)."""
        try:
            self._file.seek(address)
            data = self._file.read(size)
        except OSError:
            raise ProcessGone(self.pid) from None
        if len(data) != size:
            raise ProcessGone(self.pid)
        return data

    def write(self, address: int, data: bytes) -> None:
        """Raises ProcessGone; Unsupported where the kernel forbids writing to read-only pages."""
        try:
            self._file.seek(address)
            self._file.write(data)
        except OSError:
            self.read(address, len(data))  # readable, so the write was refused
            raise Unsupported(
                "this kernel forbids writing to read-only pages through /proc/PID/mem",
                "boot it without proc_mem.force_override=never",
            ) from None
        if self.read(address, len(data)) != data:
            raise ProcessGone(self.pid)

    def read_library(self, base: int) -> Library:
        """The vDSO that is mapped at `base`. Raises ProcessGone; NoVdso where it is not mapped
        there, or not as a whole."""
        for line in Path(f"/proc/{self.pid}/maps").read_text().splitlines():
            start, end = (int(part, 16) for part in line.split(" ", 1)[0].split("-"))
            if start == base and end - start <= SIZE_MAX:
                image = self.read(base, end - start)
                try:
                    return parse_library(base, image)
                except (struct.error, LookupError, ValueError):
                    break
        if base_of(self.pid) == base:
            raise NoVdso(self.pid)
        raise ProcessGone(self.pid)
