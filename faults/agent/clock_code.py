"""What the code that falsifies a process's clock depends on: the kind of processor.

One file for each kind: `clock_code_x86_64`, `clock_code_aarch64`.
"""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Template(NamedTuple):
    """A listing as bytes, and its labels."""

    code: bytes
    labels: dict[str, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Machine:
    """A kind of processor.

    `elf_machine`: its number in ELF headers. `symbols`: by name, the vDSO's function that is
    replaced. `listing`: the code, from its entries to the label `real`. `system_call`:
    clock_gettime as a system call, that returns. `jump(source, target)`: the `jump_size` bytes that
    a function begins with from then on; 8 at most. `movable(code)`: whole instructions from the
    start of `code`, at least `jump_size` bytes, that are position independent; empty if there are
    none.
    """

    name: str
    elf_machine: int
    symbols: Mapping[str, str]
    listing: str
    system_call: bytes
    jump_size: int
    jump: Callable[[int, int], bytes]
    movable: Callable[[bytes], bytes]

    @property
    def entries(self) -> tuple[str, ...]:
        return tuple(self.symbols)

    def template(self, data: Mapping[str, int]) -> Template:
        """The listing, where `data` says how far in front of the code its data is. `real` is where
        it ends."""
        return _template(self.listing, tuple(data.items()))


@functools.cache
def _template(listing: str, data: tuple[tuple[str, int], ...]) -> Template:
    code = bytearray()
    labels = dict(data)
    references = []
    for line in listing.splitlines():
        if found := re.match(r"(\w+):", line):
            labels[found[1]] = len(code)
            continue
        for item in re.split(r"   +", line[4:])[0].split():
            if item.startswith("<"):
                references.append((len(code), item.strip("<>")))
                code += bytes(4)
            else:
                code.append(int(item, 16))
    for place, name in references:
        struct.pack_into("<i", code, place, labels[name] - (place + 4))
    return Template(bytes(code), labels)
