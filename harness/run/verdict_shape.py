"""verdict.json as it is read back: of the shape that `RunVerdict.to_json` writes, or refused.

A page, an explanation or a story needs only parts of it, and fields may be missing; but what is
there has its type, so that no reader has to ask; of the availability and of the faults' reports
only that they are objects. Whether it is true is another matter.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from histories.checker import EXIT_CODES
from histories.events import Json
from histories.text import quoted
from histories.untrusted import INTEGER_MAX

Shape: TypeAlias = "type | tuple[Shape, ...] | list[Shape] | dict[str, Shape] | None"
"""A type, None, one of several shapes, a list of one shape, or an object with these fields (others
may have any shape); "*" stands for every other field."""

_NUMBER: Final[Shape] = (int, float)
_OPERATION: Final[Shape] = {
    "process": (int, str),
    "f": str,
    "key": (str, None),
    "outcome": str,
    "call": int,
    "return": (int, None),
    "call_ns": int,
    "return_ns": (int, None),
    "node": (int, None),
}
_EVIDENCE: Final[Shape] = {
    "anomaly": str,
    "sentence": str,
    "operations": [_OPERATION],
    "could": [str],
    "minimal": bool,
}
_PARTITION: Final[Shape] = {
    "key": (str, None),
    "verdict": str,
    "operations": int,
    "method": str,
    "judged": int,
    "reason": (str, None),
    "weaker": [str],
    "evidence": (_EVIDENCE, None),
}
_LINEARIZABILITY: Final[Shape] = {
    "verdict": str,
    "sentence": str,
    "model": str,
    "operations": int,
    "checker": str,
    "seconds": _NUMBER,
    "notes": [str],
    "partitions": [_PARTITION],
    "reason": (str, None),
}
_AGREEMENT: Final[Shape] = {
    "verdict": str,
    "findings": [{"kind": str, "sentence": str, "slot": (int, str, None)}],
    "unaccounted": int,
    "notes": [str],
}
_VERDICT: Final[Shape] = {
    "verdict": str,
    "detectors": {"*": str},
    "reasons": [str],
    "notes": [str],
    "availability": {},
    "linearizability": (_LINEARIZABILITY, None),
    "agreement": (_AGREEMENT, None),
    "liveness": {"outcome": str, "reason": str},
    "faults": [{}],
}


def what_is_wrong(document: Json) -> str:
    """The first part of the document that does not have its shape, in words; "" if all do."""
    wrong = _wrong(document, _VERDICT, "it")
    if wrong or not isinstance(document, dict):
        return wrong
    outcome = document.get("verdict")
    return "" if outcome in EXIT_CODES else f"verdict is {quoted(outcome)}"


def _wrong(value: Json, shape: Shape, place: str) -> str:
    if isinstance(shape, tuple):  # of what is wrong, the first shape says most
        found = [_wrong(value, one, place) for one in shape]
        return "" if "" in found else found[0]
    if isinstance(shape, list) and isinstance(value, list):
        parts = (_wrong(one, shape[0], f"{place}[{n}]") for n, one in enumerate(value))
        return next(filter(None, parts), "")
    if isinstance(shape, dict) and isinstance(value, dict):
        return _wrong_field(value, shape, "" if place == "it" else f"{place}.")
    if _is(value, shape):
        return ""
    return f"{place} is {quoted(value)}"


def _wrong_field(value: dict[str, Json], shape: dict[str, Shape], prefix: str) -> str:
    other = shape.get("*")
    parts = (
        _wrong(one, shape.get(name, other), f"{prefix}{name}")
        for name, one in value.items()
        if name in shape or other is not None
    )
    return next(filter(None, parts), "")


def _is(value: Json, shape: Shape) -> bool:
    if shape is int:
        return type(value) is int and -INTEGER_MAX <= value < INTEGER_MAX
    return value is None if shape is None else isinstance(shape, type) and type(value) is shape


__all__ = ["what_is_wrong"]
