"""Reading EDN, the notation of Clojure's data, as far as histories use it.

nil, true and false, numbers, texts, characters, keywords and symbols, lists, vectors, maps, sets,
tags (read over), comments, and `#_`. Keywords and symbols become texts, a keyword keeping its
colon, so that it can be told from a text in a map's names and is written back as it was. A set
becomes a list in an order of its own: the same set is the same list, however it was written.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from histories.errors import BadHistory
from histories.operations import DEPTH_MAX, TOO_DEEP, freeze

_TOKEN: Final = re.compile(
    r"""(?P<space>(?:[\s,]+|;[^\n]*)+)
      | (?P<text>"(?:[^"\\]|\\.)*")
      | (?P<discard>\#_)
      | (?P<set>\#\{)
      | (?P<tag>\#[A-Za-z][\w.*+!?$%&=<>/-]*)
      | (?P<open>[(\[{])
      | (?P<close>[)\]}])
      | (?P<char>\\(?:newline|space|tab|return|u[0-9a-fA-F]{4}|\S))
      | (?P<atom>[^\s,;"()\[\]{}\\\#][^\s,;"()\[\]{}\\]*)""",
    re.VERBOSE | re.DOTALL,
)
_INTEGER: Final = re.compile(r"[+-]?\d{1,4300}N?")
_FLOAT: Final = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?M?")
_WORDS: Final = {"nil": None, "true": True, "false": False}
_CLOSES: Final = {"(": ")", "[": "]", "{": "}"}
_CHARACTERS: Final = {"newline": "\n", "space": " ", "tab": "\t", "return": "\r"}


class Form(NamedTuple):
    """One value, and the line on which it begins."""

    value: Any
    line: int


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


_END: Final = object()
_DISCARDED: Final = object()


def forms(text: str) -> Iterator[Form]:
    """The values in a text, one after the other. Raises BadHistory, with the line."""
    tokens = _tokens(text)
    while True:
        value, line = _form(tokens, 0)
        if value is _END:
            return
        if value is not _DISCARDED:
            yield Form(value, line)


def _tokens(text: str) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise BadHistory(f"is not EDN: {text[at : at + 20]!r}", line=line)
        kind, token = str(match.lastgroup), match.group()
        if kind != "space":
            yield _Token(kind, token, line)
        line += token.count("\n")
        at = match.end()
    yield _Token("end", "", line)


def _form(tokens: Iterator[_Token], depth: int) -> tuple[Any, int]:
    token = next(tokens, _Token("end", "", 0))
    kind, text, line = token
    if depth > DEPTH_MAX:
        raise BadHistory(TOO_DEEP, line=line)
    if kind == "close":
        raise BadHistory(f"is not EDN: {text} closes nothing", line=line)
    value: Any = _END
    if kind == "atom":
        value = _atom(text, line)
    elif kind == "open":
        items = _items(tokens, _CLOSES[text], line, depth)
        value = _map(items, line) if text == "{" else items
    elif kind == "text":
        value = _text(text, line)
    elif kind == "set":
        value = sorted(_items(tokens, "}", line, depth), key=lambda item: repr(freeze(item)))
    elif kind == "char":
        value = _character(text[1:])
    elif kind in ("discard", "tag"):
        value = _needed(tokens, depth + 1, line)
    return (_DISCARDED if kind == "discard" else value), line


def _needed(tokens: Iterator[_Token], depth: int, line: int) -> Any:
    value = _DISCARDED
    while value is _DISCARDED:
        value, _ = _form(tokens, depth)
    if value is _END:
        raise BadHistory("is not EDN: it ends where a value should be", line=line)
    return value


def _items(tokens: Iterator[_Token], close: str, line: int, depth: int) -> list[Any]:
    items: list[Any] = []
    closing = _Closing(tokens)
    while not closing.closes(close, line):
        value, _ = _form(closing, depth + 1)
        if value is not _DISCARDED:
            items.append(value)
    return items


class _Closing(Iterator[_Token]):
    """Tokens with a look at the next one."""

    def __init__(self, tokens: Iterator[_Token]) -> None:
        self._tokens = tokens
        self._held: _Token | None = None

    def closes(self, close: str, line: int) -> bool:
        token = self._held or next(self._tokens, _Token("end", "", line))
        if token.kind == "end":
            raise BadHistory(f"is not EDN: a {close} is missing", line=line)
        if token.kind == "close":
            self._held = None
            if token.text != close:
                message = f"is not EDN: {token.text} where {close} should be"
                raise BadHistory(message, line=token.line)
            return True
        self._held = token
        return False

    def __next__(self) -> _Token:
        token, self._held = self._held, None
        return token if token is not None else next(self._tokens)


def _atom(text: str, line: int) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text.rstrip("N"))
    if _FLOAT.fullmatch(text):
        return _float(text.rstrip("M"), line)
    if text[0].isdigit():
        raise BadHistory(f"is not EDN: {text[:20]!r} is not a number", line=line)
    return text


def _float(text: str, line: int) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BadHistory("is not EDN: a number is too large", line=line)
    return number


def _text(text: str, line: int) -> str:
    try:
        found = json.loads(text.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r"))
    except ValueError as error:
        raise BadHistory(f"is not EDN: {error}", line=line) from None
    return str(found)


def _character(name: str) -> str:
    if len(name) == 5 and name[0] == "u":
        return chr(int(name[1:], 16))
    return _CHARACTERS.get(name, name)


def _map(items: list[Any], line: int) -> dict[str, Any]:
    if len(items) % 2:
        raise BadHistory("is not EDN: a map needs a value for every name", line=line)
    found = {_name(items[i]): items[i + 1] for i in range(0, len(items), 2)}
    if 2 * len(found) < len(items):
        raise BadHistory("is not EDN: a map has the same name twice", line=line)
    return found


def _name(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def written(value: Any) -> str:
    """A JSON value as EDN; texts that begin like keywords are keywords."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value if re.fullmatch(r":[\w.*+!?$%&=<>/-]+", value) else json.dumps(value)
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(written(v) for v in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{written(k)} {written(v)}' for k, v in value.items())}}}"
    return repr(value)
