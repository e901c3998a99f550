"""The owner of a lock: the client that an operation names, else its process."""

from __future__ import annotations

from typing import Any

from histories.models.interface import ANY, Kind, Signature, is_number
from histories.operations import Bool, Operation, members_of

NAMES = ("client", "owner", ":client", ":owner")
TOKENS = ("fence", "token", ":fence", ":token")

ACQUIRE = Signature(ANY, ANY)


def owner_of(operation: Operation) -> Any:
    """The client or owner in the value of the invocation, where there is one; else the process."""
    members = members_of(operation.value)
    for name in NAMES if members else ():
        if members and name in members:
            return ("client", members[name])
    return operation.process


def token_of(result: Any) -> int | None:
    """The fencing token in an answer: a whole number, or a map with a `fence` or a `token`."""
    members = members_of(result)
    if members is not None:
        result = next((members[name] for name in TOKENS if name in members), None)
    return result if isinstance(result, int) else None


TOKEN = Kind(
    "a token (a whole number, or a map with a fence or a token), or false",
    lambda v: is_number(v) or v is Bool.FALSE or token_of(v) is not None,
)
