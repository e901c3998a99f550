"""From options to faults: amounts with units, and the containers that a fault affects."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from faults import durations
from faults.description import BadFault, Fault
from faults.kinds import KINDS, fault_from_json
from faults.link_fault import DIRECTIONS, LinkFault
from faults.shapes import NAMED_SHAPES
from harness.errors import UsageError

SIZES_KIB: Final = {"kib": 1, "mib": 1 << 10, "gib": 1 << 20}
RATES_KBPS: Final = {"kbit": 1, "mbit": 1_000, "gbit": 1_000_000}
AMOUNT_MAX: Final = 1e18
"""More than any kind of fault allows, and an integer all the same."""
ISOLATED: Final = "isolate"


def time_us(text: str | float) -> int:
    """ "50ms", "-1.5s", "+1h": microseconds. Raises UsageError."""
    found = durations.parse_us(str(text).lower())
    if found is None:
        raise UsageError(f"{text!r} is not a time with a unit, such as {durations.EXAMPLES}")
    return found


def size_kib(text: str | float) -> int:
    """ "16MiB". Raises UsageError."""
    return round(_amount(text, SIZES_KIB, 'a size such as "16MiB"'))


def rate_kbps(text: str | float) -> int:
    """ "1mbit". Raises UsageError."""
    return round(_amount(text, RATES_KBPS, 'a rate such as "500kbit" or "1mbit"'))


def percent(text: str | float) -> int:
    """ "10%" or 10. Raises UsageError."""
    amount = _amount(str(text).removesuffix("%") + "%", {"%": 1}, 'a share such as "10%"')
    if amount != int(amount):
        raise UsageError(f"{text!r} is not a whole number of per cent")
    return int(amount)


def _amount(text: str | float, units: dict[str, int], wanted: str) -> float:
    found = re.fullmatch(r"\s*([-+]?\d+(?:\.\d+)?)\s*([a-z%]+)\s*", str(text).lower())
    if found is None or found[2] not in units:
        raise UsageError(f"{text!r} is not {wanted}")
    return max(-AMOUNT_MAX, min(float(found[1]) * units[found[2]], AMOUNT_MAX))


def fault_for(
    kind: str,
    identity: str,
    count: int,
    others: int = 0,
    *,
    direction: str = "out",
    **fields: Any,
) -> Fault:
    """A fault of the first `count` containers of a session; a link fault is towards the `others`
    that follow them, or towards all hosts where there are none. Raises UsageError."""
    if kind not in KINDS:
        raise UsageError(f"no fault kind {kind!r}; choose one of {', '.join(KINDS)}")
    nodes = tuple(range(1, count + 1))
    if kind == "partition" and fields.get("shape", ISOLATED) not in NAMED_SHAPES:
        raise UsageError(
            f"no partition shape {fields['shape']!r}; choose one of {', '.join(NAMED_SHAPES)}"
        )
    if kind == "partition" and count == 1 and not others:
        if fields.get("shape", ISOLATED) != ISOLATED:
            raise UsageError(
                f"the shape {fields['shape']} needs more than one container",
                remedy="name all containers that are to be cut from one another",
            )
        kind, direction, fields = "loss", "both", {"percent": 100}
    if issubclass(KINDS[kind].fault, LinkFault):
        fields |= _links(nodes, others, direction)
    elif kind == "partition":
        fields.setdefault("shape", ISOLATED)
        nodes = nodes[: _singled_out(fields["shape"], count, others)]
    times = {"start_us": 0, "duration_us": 0}
    cluster = range(1, count + others + 1)
    try:
        fault = fault_from_json({"kind": kind, "id": identity, "nodes": nodes, **times, **fields})
        why = fault.resolve(1, cluster).lacks_effect(cluster)
    except BadFault as error:
        raise UsageError(str(error)) from None
    if why is not None and kind == "partition":
        raise UsageError(
            f"the shape {fields['shape']} would change nothing among these {len(cluster)} "
            f"containers: {why}",
            remedy=f"name more containers, or choose the shape {ISOLATED}",
        )
    return fault


def _links(nodes: Sequence[int], others: int, direction: str) -> dict[str, Any]:
    if direction not in DIRECTIONS:
        raise UsageError(f"no direction {direction!r}; choose one of {', '.join(DIRECTIONS)}")
    if not others:
        return {"direction": direction, "clients": True}
    targets = range(len(nodes) + 1, len(nodes) + others + 1)
    out = [(a, b) for a in nodes for b in targets] if direction != "in" else []
    into = [(b, a) for a in nodes for b in targets] if direction != "out" else []
    return {"direction": direction, "links": tuple(out + into)}


def _singled_out(shape: str, count: int, others: int) -> int:
    """How many of the containers a shape refers to: those against `others`, or a half, or one."""
    if others:
        return count
    return {"halves": count // 2, "majorities-ring": count}.get(shape, 1)
