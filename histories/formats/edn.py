"""Reading EDN, the notation of Clojure's data, as far as histories use it, into JSON values.

Two values are the same JSON value exactly where Clojure finds them equal:

    :a                   ":a"              a keyword keeps its colon
    "a"                  "a"               a string; one that looks like one of the others here is
    ":a"                 "\\":a\\""            quoted once more
    a                    "'a"              a symbol
    7, 7N, 0x7, 07       7
    1.5                  1.5
    1.0                  {"#double": 1.0}  Clojure's 1.0 is not 1; also "Inf", "-Inf", "NaN"
    1.0M, 1/2            {"#decimal": "1.0"}, {"#ratio": "1/2"}
    \\a                   {"#char": "a"}
    [1 2], (1 2)         [1, 2]
    #{1 2}               {"#set": [1, 2]}  whatever the order
    {:a 1, 2 3}          {":a": 1, "2": 3} names that are not strings are written as EDN
    #inst "x"            {"#tag": ["inst", "x"]}; so are records, #a.b.C{:x 1}

Comments, `#_` and metadata are ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from histories.errors import BadHistory
from histories.formats.edn_atoms import atom, character, is_taken, quoted, string
from histories.operations import DEPTH_MAX, SET, TOO_DEEP, freeze

_TOKEN: Final = re.compile(
    r"""(?P<space>(?:[\s,]+|;[^\n]*|\#![^\n]*)+)
      | (?P<text>"(?:[^"\\]|\\.)*")
      | (?P<discard>\#_)
      | (?P<set>\#\{)
      | (?P<special>\#\#[A-Za-z-]+)
      | (?P<namespace>\#::?[A-Za-z][\w.*+!?$%&=<>/-]*(?=[\s,]*\{))
      | (?P<tag>\#[A-Za-z][\w.*+!?$%&=<>/-]*)
      | (?P<meta>\^)
      | (?P<open>[(\[{])
      | (?P<close>[)\]}])
      | (?P<char>\\(?:newline|space|tab|return|formfeed|backspace|u[0-9a-fA-F]{4}|o[0-7]{1,3}|\S))
      | (?P<atom>[^\s,;"()\[\]{}\\\#^`~@][^\s,;"()\[\]{}\\^`~@]*)""",
    re.VERBOSE | re.DOTALL,
)
_MARKERS: Final = frozenset((SET, "#tag", "#double", "#decimal", "#ratio", "#char"))
_LITERAL: Final = re.compile(r"[+-]?\d|nil$|true$|false$|[\[{#\\]")
"""The prefixes of the written form of values other than strings."""
_CLOSES: Final = {"(": ")", "[": "]", "{": "}"}
_SPECIAL: Final = {"##Inf": "Inf", "##-Inf": "-Inf", "##NaN": "NaN"}


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
            raise BadHistory(f"is not EDN: {_why(text, at)}", line=line)
        kind, token = str(match.lastgroup), match.group()
        if kind != "space":
            yield _Token(kind, token, line)
        line += token.count("\n")
        at = match.end()
    yield _Token("end", "", line)


def _why(text: str, at: int) -> str:
    if text[at] == '"':
        return "a string without its end"
    if text[at] == "#" and text[at : at + 2] in ('#"', "#(", "#'"):
        return f"{text[at : at + 2]} is Clojure syntax, not EDN"
    return f"{text[at : at + 20]!r} begins no value"


def _form(tokens: Iterator[_Token], depth: int) -> tuple[Any, int]:
    kind, text, line = next(tokens, _Token("end", "", 0))
    if depth > DEPTH_MAX:
        raise BadHistory(TOO_DEEP, line=line)
    if kind == "close":
        raise BadHistory(f"is not EDN: {text} closes nothing", line=line)
    if kind == "end":
        return _END, line
    if kind == "discard":
        _needed(tokens, depth + 1, line)
        return _DISCARDED, line
    if kind == "meta":
        _needed(tokens, depth + 1, line)
        return _needed(tokens, depth + 1, line), line
    return _value(tokens, kind, text, line, depth), line


def _value(tokens: Iterator[_Token], kind: str, text: str, line: int, depth: int) -> Any:
    match kind:
        case "atom":
            return atom(text, line)
        case "text":
            return quoted(string(text, line))
        case "char":
            return {"#char": character(text[1:])}
        case "special":
            if text not in _SPECIAL:
                raise BadHistory(f"is not EDN: {text} is not a number", line=line)
            return {"#double": _SPECIAL[text]}
        case "tag":
            return {"#tag": [text[1:], _needed(tokens, depth + 1, line)]}
    return _collection(tokens, kind, text, line, depth)


def _collection(tokens: Iterator[_Token], kind: str, text: str, line: int, depth: int) -> Any:
    if kind == "namespace":
        next(tokens)  # the brace that the lookahead saw
        return _map(_items(tokens, "}", line, depth), line, text.lstrip("#:"))
    if kind == "set":
        return _set(_items(tokens, "}", line, depth), line)
    items = _items(tokens, _CLOSES[text], line, depth)
    return _map(items, line) if text == "{" else items


def untagged(value: Any) -> Any:
    """A record or another tagged value without its tag."""
    while isinstance(value, dict) and value.keys() == {"#tag"}:
        value = value["#tag"][1]
    return value


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
    """Tokens with one token of lookahead."""

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


def _set(items: list[Any], line: int) -> dict[str, Any]:
    by_value = {freeze(item): item for item in items}
    if len(by_value) < len(items):
        raise BadHistory("is not EDN: a set has the same element twice", line=line)
    return {SET: [by_value[value] for value in sorted(by_value, key=repr)]}


def _map(items: list[Any], line: int, namespace: str = "") -> dict[str, Any]:
    if len(items) % 2:
        raise BadHistory("is not EDN: a map needs a value for every name", line=line)
    found: dict[str, Any] = {}
    for i in range(0, len(items), 2):
        found[_name(items[i], namespace)] = items[i + 1]
    if 2 * len(found) < len(items):
        raise BadHistory("is not EDN: a map has the same name twice", line=line)
    return found


def _name(value: Any, namespace: str) -> str:
    if namespace and isinstance(value, str) and value.startswith(":") and "/" not in value:
        return f":{namespace}/{value[1:]}"
    return name_of(value)


def name_of(value: Any) -> str:
    """The name of a key or of a member of a map: a string as it is, where nothing else is written
    so; anything else as EDN."""
    return _key_name(value) if isinstance(value, str) else written(value)


def _key_name(text: str) -> str:
    """A string (or a keyword, or a symbol) as a name that cannot be confused with the written form
    of another value."""
    return json.dumps(text) if is_taken(text, _is_written) else text


def _is_written(text: str) -> bool:
    """Whether a text is exactly what `written` produces for a value other than a string, or a
    quoted one."""
    if text in _MARKERS:
        return True
    if not _LITERAL.match(text):
        return False
    try:
        found = [form.value for form in forms(text)]
    except BadHistory:
        return False
    return len(found) == 1 and not isinstance(found[0], str) and written(found[0]) == text


def written(value: Any) -> str:
    """A JSON value as EDN: the inverse of reading it, for every value that reading can produce."""
    if isinstance(value, str):
        return _written_string(value)
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(written(v) for v in value)}]"
    if isinstance(value, dict):
        return _written_map(value)
    if value is None or isinstance(value, bool):
        return {None: "nil", True: "true", False: "false"}[value]
    # In JSON 1.0 is 1.
    return repr(int(value) if isinstance(value, float) and value.is_integer() else value)


def _written_string(value: str) -> str:
    if quoted(value) != value:  # it looks like a keyword, a symbol, or a quoted string of that kind
        return value[1:] if value.startswith("'") else value
    return json.dumps(value)


def _written_map(value: dict[str, Any]) -> str:
    if len(value) == 1:
        (name, held), *_ = value.items()
        if name == SET and isinstance(held, (list, tuple)):
            return f"#{{{' '.join(written(v) for v in held)}}}"
        if name == "#tag" and isinstance(held, (list, tuple)) and len(held) == 2:
            return f"#{held[0]} {written(held[1])}"
        if name == "#double":
            return f"##{held}" if isinstance(held, str) else repr(float(held))
        if name in ("#decimal", "#ratio") and isinstance(held, str):
            return f"{held}M" if name == "#decimal" else held
        if name == "#char" and isinstance(held, str) and len(held) == 1:
            return f"\\u{ord(held):04x}" if ord(held) < 0x10000 else json.dumps(held)
    members = (f"{written_key(name)} {written(held)}" for name, held in value.items())
    return f"{{{', '.join(members)}}}"


def written_key(name: str) -> str:
    """The EDN from which `name_of` makes this name."""
    if _key_name(name) == name and quoted(name) == name:
        return json.dumps(name)
    text = name.removeprefix("'")
    try:
        found = [form.value for form in forms(text)]
    except BadHistory:
        found = []
    return text if len(found) == 1 and name_of(found[0]) == name else json.dumps(name)
