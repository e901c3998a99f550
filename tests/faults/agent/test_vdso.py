"""The vDSO's image: its functions, and the unused space."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from faults.agent import vdso
from faults.agent.assembly import MAGIC, this_machine
from faults.agent.errors import Unsupported
from faults.agent.vdso import (
    AT_SYSINFO_EHDR,
    Library,
    Memory,
    NoVdso,
    ProcessGone,
    base_of,
    find_free_space,
    parse_library,
    vdso_base,
)

EM_X86_64_AT, SECTION_TABLE_AT = 18, 40


@pytest.fixture(scope="module")
def image() -> bytes:
    base = base_of(os.getpid())
    assert base is not None
    with Memory(os.getpid()) as memory:
        return memory.read(base, memory.read_library(base).size)


def test_the_vector_and_the_map_agree() -> None:
    mapped = re.search(r"^(\w+)-(\w+) .*\[vdso\]$", Path("/proc/self/maps").read_text(), re.M)
    assert mapped is not None
    base = base_of(os.getpid())
    assert base == int(mapped[1], 16)
    with Memory(os.getpid()) as memory:
        assert memory.read_library(base).size == int(mapped[2], 16) - base


@pytest.mark.skipif(not shutil.which("readelf"), reason="no readelf to compare with")
def test_the_functions_are_where_readelf_finds_them(image: bytes, tmp_path: Path) -> None:
    (tmp_path / "vdso").write_bytes(image)
    command = ["readelf", "--dyn-syms", "--wide", str(tmp_path / "vdso")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    functions = parse_library(0, image).functions
    for name, symbol in this_machine().symbols.items():
        row = re.search(rf"([0-9a-f]{{16}}) +(\d+) FUNC .* {symbol}(@|$)", shown, re.M)
        assert row is not None
        assert functions[name] == (int(row[1], 16), int(row[2]))


def test_the_unused_space_is_after_everything_that_is_used(image: bytes) -> None:
    library = parse_library(0, image)
    used = max(start + size for start, size in library.functions.values())
    assert used < library.free_space
    assert library.free_space + library.free_space_size <= len(image)
    assert library.free_space % 16 == 0 and library.free_space_size > 512


def test_without_unused_zeros_the_section_headers_are_overwritten(image: bytes) -> None:
    full = image.rstrip(b"\0")
    full += b"x" * (-len(full) % 4096)
    offset, size = find_free_space(full, parse_library(0, image).free_space - 2000)
    (table,) = struct.unpack_from("<Q", full, SECTION_TABLE_AT)
    count = struct.unpack_from("<H", full, 60)[0]
    assert table <= offset and offset + size <= table + 64 * count


def test_the_clock_s_code_is_found_where_it_was_put(image: bytes) -> None:
    """A fork of a process that has it: the zeros that it was put into are none any more."""
    library = parse_library(0, image)
    at = library.free_space
    for size in (library.free_space_size, 600):
        code = (MAGIC + b"c" * size)[:size]
        assert parse_library(0, image[:at] + code + image[at + size :]) == library


def test_the_clock_s_code_in_place_of_the_section_headers_is_found(image: bytes) -> None:
    full = image.rstrip(b"\0")
    full += b"x" * (-len(full) % 4096)
    loaded = parse_library(0, image).free_space - 2000
    offset, size = find_free_space(full, loaded)
    coded = full[:offset] + MAGIC + full[offset + len(MAGIC) :]
    assert find_free_space(coded, loaded) == (offset, size)


def test_symbols_are_counted_by_the_gnu_table_alone(image: bytes) -> None:
    """Newer linkers leave the old hash table out."""
    data = bytearray(image)
    dynamic = image.index(struct.pack("<Q", 6) + image[0:0], 0x400)
    for at in range(dynamic & ~15, len(image) - 15, 16):
        (tag,) = struct.unpack_from("<Q", data, at)
        if tag == 4:
            struct.pack_into("<Q", data, at, 0x6FFFFFFF)
    expected = parse_library(0, image).functions
    if struct.pack("<Q", 0x6FFFFEF5) not in image:
        pytest.skip("this vDSO has no GNU hash table")
    assert parse_library(0, bytes(data)).functions == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({4: 1}, "not 64-bit"),
        ({0: 0}, "not 64-bit"),
        ({5: 2}, "little-endian"),
        ({EM_X86_64_AT: 243}, "ELF machine 243"),
    ],
)
def test_a_vdso_of_another_architecture_is_refused(
    image: bytes, change: dict[int, int], words: str
) -> None:
    data = bytearray(image)
    for at, value in change.items():
        data[at] = value
    with pytest.raises(Unsupported, match=words):
        parse_library(0, bytes(data))


def test_a_missing_function_is_named(image: bytes) -> None:
    with pytest.raises(Unsupported, match="exports no \\['time'\\]"):
        parse_library(0, image.replace(b"__vdso_time", b"__vdso_tame"))


def test_the_vector_of_a_process_without_a_vdso() -> None:
    pairs = struct.pack("<4Q", 3, 5, 0, 0)
    assert vdso_base(pairs) is None
    assert vdso_base(b"") is None
    assert vdso_base(struct.pack("<2Q", AT_SYSINFO_EHDR, 0x7000) + pairs) == 0x7000


def test_unmapped_memory_means_that_the_process_is_gone() -> None:
    with Memory(os.getpid()) as memory, pytest.raises(ProcessGone):
        memory.read(0x10, 8)
    with Memory(os.getpid()) as memory, pytest.raises(ProcessGone):
        memory.read_library(0x10)
    assert base_of(2**22 + 1) is None


def test_a_process_without_a_vdso_of_a_known_form_is_not_one_that_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = base_of(os.getpid())
    assert base is not None
    with Memory(os.getpid()) as memory:
        monkeypatch.setattr(memory, "read", lambda _, size: bytes(size)[:64])
        monkeypatch.setattr(vdso, "parse_library", _needs_more)
        with pytest.raises(NoVdso, match="64-bit"):
            memory.read_library(base)
        monkeypatch.setattr(vdso, "SIZE_MAX", 0)  # as one that is mapped in another size
        with pytest.raises(NoVdso):
            memory.read_library(base)


def _needs_more(_: int, image: bytes) -> Library:
    raise struct.error(f"{len(image)} bytes are too few")


@pytest.mark.parametrize(
    ("auxv", "runs"),
    [
        (struct.pack("<8I", 32, 0xF7F00560, AT_SYSINFO_EHDR, 0xF7F00000, 6, 4096, 0, 0), True),
        (struct.pack("<4Q", 6, 4096, 0, 0), True),
        (bytes(16), False),
        (b"", False),
    ],
    ids=["of 32 bits", "without a vDSO", "not filled yet", "ending"],
)
def test_a_vector_without_a_vdso(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, auxv: bytes, runs: bool
) -> None:
    (tmp_path / "auxv").write_bytes(auxv)
    monkeypatch.setattr(vdso, "Path", lambda _: tmp_path / "auxv")
    if not runs:
        assert base_of(5) is None
        return
    with pytest.raises(NoVdso):
        base_of(5)


def test_a_library_is_plain_data() -> None:
    assert Library(1, 2, {}, 3, 4, this_machine())._asdict()["free_space_size"] == 4
