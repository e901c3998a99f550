"""Text that came from outside, made harmless for a terminal.

Keys, values, error texts, names and nodes' logs are data. A terminal must show the characters that
would move its cursor, change its title or reverse the direction of writing, not obey them; and a
message that quotes a value must not be as long as the value. Everything that displays such text
takes it from here.
"""

from __future__ import annotations

import reprlib
import unicodedata
from typing import Any, Final

_SAFE: Final = frozenset("\n\t")
QUOTED_MAX: Final = 80


def printable(text: str) -> str:
    """The text with control and direction characters written out as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c in _SAFE or not _unsafe(c) else _escape(c) for c in text)


def one_line(text: str, width: int | None = None) -> str:
    """The same in one line, shortened to `width` characters."""
    if width is not None:
        text = text[: width + 1]  # escapes only make it longer
    line = printable(text).replace("\n", "⏎").replace("\t", " ")
    return line if width is None or len(line) <= width else line[: max(0, width - 1)] + "…"


def quoted(value: Any, most: int = QUOTED_MAX) -> str:
    """A value as an error message quotes it: `repr`, in one line of at most `most` characters. What
    is larger is not written out first."""
    try:
        return one_line(_repr(most).repr(value), most)
    except Exception:  # a foreign object, or a number that is too long to be written
        return f"<{one_line(type(value).__name__, most)}>"


def _repr(most: int) -> reprlib.Repr:
    short = reprlib.Repr()
    short.maxstring = short.maxother = most
    short.maxlong = 40
    short.maxlevel = 4
    return short


def _unsafe(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
