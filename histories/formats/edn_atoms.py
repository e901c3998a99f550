"""EDN's numbers, strings, characters, keywords and symbols, as JSON values; see `edn.py`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

from histories.errors import BadHistory

DIGITS_MAX: Final = 4300
_INTEGER: Final = re.compile(r"([+-]?)(0|[1-9]\d*)N?")
_HEX: Final = re.compile(r"([+-]?)0[xX]([0-9a-fA-F]+)N?")
_OCTAL: Final = re.compile(r"([+-]?)0([0-7]+)N?")
_RADIX: Final = re.compile(r"([+-]?)([1-9]\d?)[rR]([0-9a-zA-Z]+)N?")
_FLOAT: Final = re.compile(r"[+-]?(?:0|[1-9]\d*)(?:\.\d*)?(?:[eE][+-]?\d+)?")
_RATIO: Final = re.compile(r"[+-]?\d{1,4300}/\d{1,4300}")
_WORDS: Final = {"nil": None, "true": True, "false": False}
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPES: Final = {
    "t": "\t", "r": "\r", "n": "\n", "b": "\b", "f": "\f", "\\": "\\", '"': '"', "/": "/",
}  # fmt: skip
_CHARACTERS: Final = {
    "newline": "\n",
    "space": " ",
    "tab": "\t",
    "return": "\r",
    "formfeed": "\f",
    "backspace": "\b",
}
_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_NAMED: Final = re.compile(r"[:'][^\s,;\"()\[\]{}\\^`~@]+")
"""What a keyword and a symbol look like as JSON strings."""


def atom(text: str, line: int) -> Any:
    """The value of a token without quotes or brackets."""
    if text in _WORDS:
        return _WORDS[text]
    first = text[1:2] if text[0] in "+-" else text[0]
    if first.isdigit() and first.isascii():
        return _number(text, line)
    if text[0] == ":":
        if len(text) == 1:
            raise BadHistory("is not EDN: a keyword without a name", line=line)
        return text
    if text[0] == "'":
        raise BadHistory(f"is not EDN: {text[:20]!r} is quoted", line=line)
    return f"'{text}"


def _number(text: str, line: int) -> Any:
    if len(text) > DIGITS_MAX + 2:
        raise BadHistory("is not EDN: an integer of more than 4300 digits", line=line)
    for pattern, base in ((_INTEGER, 10), (_HEX, 16), (_OCTAL, 8)):
        if match := pattern.fullmatch(text):
            return int(match[1] + match[2], base)
    if _RATIO.fullmatch(text) and int(text.split("/")[1]):
        ratio = Fraction(text)
        return int(ratio) if ratio.denominator == 1 else {"#ratio": str(ratio)}
    if text.endswith("M") and _FLOAT.fullmatch(text[:-1]):
        return {"#decimal": text[:-1].lstrip("+")}
    if _FLOAT.fullmatch(text):
        return _float(text, line)
    return _radix(text, line)


def _float(text: str, line: int) -> Any:
    number = float(text)
    if not math.isfinite(number):
        raise BadHistory("is not EDN: a number is too large", line=line)
    return {"#double": number} if number.is_integer() else number


def _radix(text: str, line: int) -> int:
    match = _RADIX.fullmatch(text)
    try:
        if match is not None:
            return int(match[1] + match[3], int(match[2]))
    except ValueError:
        pass
    raise BadHistory(f"is not EDN: {text[:20]!r} is not a number", line=line)


def string(text: str, line: int) -> str:
    """The string that a token in quotes stands for."""
    if "\\" not in text:
        return text[1:-1]

    def unescaped(match: re.Match[str]) -> str:
        escape = match[1]
        if escape[0] == "u" and len(escape) == 5:
            return chr(int(escape[1:], 16))
        if escape[0] in "01234567":
            return chr(int(escape, 8))
        if escape not in _ESCAPES:
            raise BadHistory(f"is not EDN: \\{escape} is not an escape in a string", line=line)
        return _ESCAPES[escape]

    found = _ESCAPE.sub(unescaped, text[1:-1])
    if _PAIR.search(found):  # a character beyond 16 bits is two escapes
        return found.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return found


def character(name: str) -> str:
    """The character that `\\name` stands for."""
    if len(name) == 5 and name[0] == "u":
        return chr(int(name[1:], 16))
    if len(name) > 1 and name[0] == "o":
        return chr(int(name[1:], 8))
    return _CHARACTERS.get(name, name)


def quoted(text: str) -> str:
    """A string as a JSON string that cannot be confused with a keyword or a symbol."""
    return json.dumps(text) if text[:1] in _MARKS and is_taken(text, _is_name) else text


def _is_name(text: str) -> bool:
    return bool(_NAMED.fullmatch(text))


def unquoted(text: str) -> str:
    """The inverse of `quoted`."""
    if text.startswith('"'):
        try:
            inner = json.loads(text)
        except ValueError:
            return text
        if isinstance(inner, str) and quoted(inner) == text:
            return inner
    return text


_MARKS: Final = (":", "'", '"')


def is_taken(text: str, other: Callable[[str], bool]) -> bool:
    """Whether a string looks like another kind of value, or like a quoted string of that kind."""
    while text.startswith('"'):
        try:
            text = json.loads(text)
        except ValueError:
            return False
        if not isinstance(text, str):
            return False
    return other(text)
