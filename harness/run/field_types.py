"""Whether the fields of a dataclass have the types that they are annotated with.

For what comes from outside: a program's arguments, or a configuration that was read from a file.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, Final

from harness.errors import UsageError

_NAMES = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    tuple: "a list",
    dict: "an object",
    type(None): "null",
}
_HINTS: Final[dict[type, Mapping[str, Any]]] = {}


def check_types(part: Any) -> None:
    """Raises UsageError that names the first field of another type, and the type that it has."""
    for name, wanted in _hints(type(part)).items():
        value = getattr(part, name)
        if not _fits(value, wanted):
            raise UsageError(f"{name} must be {_in_words(wanted)}, not {_shown(value)}")


def _hints(kind: type) -> Mapping[str, Any]:
    if kind not in _HINTS:
        _HINTS[kind] = typing.get_type_hints(kind)
    return _HINTS[kind]


def _fits(value: Any, wanted: Any) -> bool:
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, one) for one in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, arguments[0]) for item in value)
    if origin is not None:
        return isinstance(value, origin)
    if wanted in (int, float):
        return isinstance(value, (int, wanted)) and not isinstance(value, bool)
    return isinstance(value, wanted)


def _in_words(wanted: Any) -> str:
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_in_words(one) for one in arguments)
    if origin is tuple:
        return f"a list, each {_in_words(arguments[0])}"
    kind = origin or wanted
    return _NAMES.get(kind, str(kind))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
