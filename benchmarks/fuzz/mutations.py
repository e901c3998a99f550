"""Seeded mutations of texts and bytes: single bytes, ranges, lines, and JSON tokens."""

from __future__ import annotations

import random
import re
from typing import Final

TOKEN: Final = re.compile(rb'"(?:[^"\\\n]|\\.)*"|-?\d+(?:\.\d+)?|true|false|null|[\[\]{}]')
VALUES: Final = (
    *b"NaN Infinity -Infinity 1e999 -0 0.1 1e2 -1 0 1 2 5 null true false [] {} [[]] [1]".split(),
    *b"9223372036854775807 9223372036854775808 4611686018427387904".split(),
    *b'"" "x" "n1" "nemesis" "ok" "fail" "mismatch" "leader" {"id":[1]} {"#set":[1,2]}'.split(),
    *b'"\\ud83d" "\\u0000" "\\u001b[2J" "\\u202e" "\xc3\xa4"'.split(),
    *(b"9" * 400, b'"' + b"a" * 300 + b'"', b'"' + b"\xc2\x9b" * 9000 + b'"'),
    *(b"[" * 120 + b"]" * 120, b"[" * 5000, b'{"a":' * 110 + b"1" + b"}" * 110),
)
"""Replacements for tokens; also inserted elsewhere."""
BYTES: Final = b'\x00 \xff \x1b[2J \x9b \n \r\n , : " { \\'.split(b" ")


def mutated(draw: random.Random, data: bytes, times_max: int = 3) -> bytes:
    """`data` after one to `times_max` mutations, some of which may change nothing."""
    for _ in range(draw.randint(1, times_max)):
        data = draw.choice(_CHANGES)(draw, data)
    return data


def _byte(draw: random.Random, data: bytes) -> bytes:
    if not data:
        return data
    at = draw.randrange(len(data))
    return data[:at] + bytes((draw.randrange(256),)) + data[at + 1 :]


def _piece(draw: random.Random, data: bytes) -> bytes:
    at = draw.randrange(len(data) + 1)
    return data[:at] + draw.choice(BYTES) + data[at:]


def _cut(draw: random.Random, data: bytes) -> bytes:
    at = draw.randrange(len(data) + 1)
    return data[:at] + data[at + draw.randint(1, 40) :]


def _end(draw: random.Random, data: bytes) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def _copy(draw: random.Random, data: bytes) -> bytes:
    at, other = draw.randrange(len(data) + 1), draw.randrange(len(data) + 1)
    return data[:at] + data[other : other + draw.randint(1, 80)] + data[at:]


def _token(draw: random.Random, data: bytes) -> bytes:
    """Replace a JSON token by another value."""
    tokens = list(TOKEN.finditer(data, draw.randrange(len(data) + 1)))[:40]
    if not tokens:
        return data
    found = draw.choice(tokens)
    return data[: found.start()] + draw.choice(VALUES) + data[found.end() :]


def _exchange(draw: random.Random, data: bytes) -> bytes:
    """Replace a token by another one of the same text."""
    tokens = list(TOKEN.finditer(data))
    if len(tokens) < 2:
        return data
    one, other = draw.choice(tokens), draw.choice(tokens)
    return data[: one.start()] + other.group() + data[one.end() :]


def _line(draw: random.Random, data: bytes) -> bytes:
    """Remove, duplicate or move a line."""
    lines = data.split(b"\n")
    line = lines.pop(draw.randrange(len(lines)))
    for _ in range(draw.randint(0, 2)):
        lines.insert(draw.randrange(len(lines) + 1), line)
    return b"\n".join(lines)


_CHANGES: Final = (_byte, _piece, _cut, _end, _copy, _token, _token, _token, _exchange, _line)
