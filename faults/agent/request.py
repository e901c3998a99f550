"""Values taken out of the controller's requests, and validated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from faults.agent.errors import BadRequest

Request: TypeAlias = Mapping[str, Any]
Answer: TypeAlias = dict[str, Any]
TEXT_MAX: Final = 4096


def number(
    request: Request, name: str, least: float, most: float, default: float | None = None
) -> float:
    """A number of the request. Integers stay integers: nanoseconds do not fit a float."""
    value = request.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise BadRequest(f"{name} is {value!r}", f"give a number from {least} to {most}")
    return value


def text(request: Request, name: str) -> str:
    """A non-empty text of the request."""
    value = request.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_MAX:
        raise BadRequest(f"{name} is {value!r}", f"give a text of 1 to {TEXT_MAX} characters")
    return value


def nonce_of(request: Request) -> str:
    """The name of a round of probes."""
    nonce = str(request.get("nonce", ""))
    if not 0 < len(nonce) <= 100:
        raise BadRequest(f"nonce is {nonce!r}", "give one that no earlier round had")
    return nonce
