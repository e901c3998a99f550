"""Text that came from outside, made harmless for a terminal.

Keys, values, error texts and nodes' logs are data. A terminal must show the characters that would
move its cursor, change its title or reverse the direction of writing, not obey them.
"""

from __future__ import annotations

import unicodedata

_SAFE = frozenset("\n\t")


def printable(text: str) -> str:
    """The text with control and direction characters written out as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c in _SAFE or not _unsafe(c) else _escape(c) for c in text)


def one_line(text: str, width: int | None = None) -> str:
    """The same in one line, shortened to `width` characters."""
    line = printable(text).replace("\n", "⏎").replace("\t", " ")
    return line if width is None or len(line) <= width else line[: max(0, width - 1)] + "…"


def _unsafe(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
