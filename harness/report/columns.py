"""Columns of numbers and a table of texts, encoded compactly for a page.

A column is a typed array in little-endian bytes, optionally as differences (for values that never
decrease), compressed with zlib if this is worthwhile, in base64: a million operations fit into a
few megabytes, and a browser decodes them in a fraction of a second (`static/js/columns.js`).
"""

from __future__ import annotations

import base64
import itertools
import json
import sys
import zlib
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

Encoded: TypeAlias = dict[str, Any]

COMPRESSED_FROM_BYTES: Final = 512
COMPRESSION_LEVEL: Final = 6
_TYPES: Final = (("u8", "B", 1 << 8), ("u16", "H", 1 << 16), ("u32", "I", 1 << 32))


def encode_numbers(values: Sequence[int], *, rising: bool = False) -> Encoded:
    """A column of integers from 0 to 2^53, in the smallest type that holds them.

    `rising`: the values never decrease; then their differences are stored.
    """
    stored: Sequence[int] = values
    if rising and values:
        stored = [values[0]]
        stored += [after - before for before, after in itertools.pairwise(values)]
    most = max(stored, default=0)
    for name, code, limit in _TYPES:
        if most < limit:
            return _packed(array(code, stored), name, len(values), rising)
    return _packed(array("d", stored), "f64", len(values), rising)


def encode_floats(values: Sequence[float]) -> Encoded:
    """A column of 32-bit floats; NaN for missing values."""
    return _packed(array("f", values), "f32", len(values), False)


def _packed(numbers: array[Any], name: str, count: int, rising: bool) -> Encoded:
    if sys.byteorder == "big":
        numbers.byteswap()
    return {"type": name, "count": count, "rising": rising} | _bytes(numbers.tobytes())


def _bytes(data: bytes) -> Encoded:
    compressed = len(data) >= COMPRESSED_FROM_BYTES
    if compressed:
        data = zlib.compress(data, COMPRESSION_LEVEL)
    return {"zip": compressed, "data": base64.b64encode(data).decode("ascii")}


class Texts:
    """Texts by number, each stored once. Number 0 stands for no text."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._of_plain: dict[Any, int] = {}

    def __len__(self) -> int:
        return len(self._numbers) + 1

    def number(self, text: str) -> int:
        """The number of a text, new or known."""
        return self._numbers.setdefault(text, len(self._numbers) + 1)

    def of_json(self, value: Any) -> int:
        """The number of a value's JSON text."""
        plain = value.__class__ is int or value.__class__ is str or value is None
        if plain:
            known = self._of_plain.get(value)
            if known is not None:
                return known
        number = self.number(str(value) if value.__class__ is int else _json(value))
        if plain:
            self._of_plain[value] = number
        return number

    def list(self) -> list[str]:
        """The texts in the order of their numbers, "" first for 0."""
        return ["", *self._numbers]

    def encode(self) -> Encoded:
        """All texts as one UTF-8 blob and the rising positions at which they end."""
        blobs = [text.encode("utf-8", "replace") for text in self._numbers]
        ends, position = [0], 0
        for blob in blobs:
            position += len(blob)
            ends.append(position)
        return {"ends": encode_numbers(ends, rising=True)} | _bytes(b"".join(blobs))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


class Names:
    """A small dictionary of names, for columns that repeat them. Number 0 stands for no name."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._numbers: dict[str, int] = {}
        for name in names:
            self.number(name)

    def number(self, name: str | None) -> int:
        if name is None:
            return 0
        return self._numbers.setdefault(name, len(self._numbers) + 1)

    def list(self) -> list[str]:
        """The names in the order of their numbers, "" first for 0."""
        return ["", *self._numbers]
