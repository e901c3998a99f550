"""Messages, operations and faults as text, for one line of a story.

The data is from a folder and untrusted: `clean` makes it safe for one line of a terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from faults.description import FaultError
from faults.kinds import fault_from_json
from harness.report.fault_evidence import evidence_words
from histories.events import Event
from histories.text import one_line

TEXT_MAX: Final = 130
ITEMS_MAX: Final = 3
"""The maximum number of list items shown, relevant ones first."""

Matters = Callable[[Any], bool]


def clean(text: str, most: int = TEXT_MAX) -> str:
    """One line, without control characters, of bounded length."""
    return one_line(text, most)


def message(kind: str, fields: dict[str, Any], matters: Matters) -> str:
    """A message or a record: its class, and its fields."""
    return f"{kind}({', '.join(f'{k} {value(v, matters)}' for k, v in fields.items())})"


def value(part: Any, matters: Matters = lambda _: True) -> str:
    """A value inside of a message: commands and records by their fields, lists in brackets."""
    if isinstance(part, dict):
        if is_command(part):
            return command(part["f"], part["key"], part["value"])
        kind = part.get("kind", "")
        rest = ", ".join(f"{k} {value(v, matters)}" for k, v in part.items() if k != "kind")
        return f"{kind}({rest})"
    if isinstance(part, (list, tuple)):
        return _items(part, matters)
    return _scalar(part)


def _items(items: Iterable[Any], matters: Matters) -> str:
    items = list(items)
    shown = items
    if any(isinstance(item, dict) for item in items):
        shown = [item for item in items if matters(item)][:ITEMS_MAX]
        if not shown:
            shown = items if len(items) <= ITEMS_MAX else items[:1]
    more = f", … {len(items) - len(shown)} more" if len(shown) < len(items) else ""
    return "[" + ", ".join(value(item, matters) for item in shown) + more + "]"


def _scalar(part: Any) -> str:
    if part is None:
        return "null"
    return {True: "true", False: "false"}[part] if isinstance(part, bool) else str(part)


def is_command(part: Any) -> bool:
    """Whether this is the JSON form of a command."""
    return isinstance(part, dict) and {"client", "seq", "f", "key", "value"} == set(part)


def command(f: Any, key: Any, argument: Any) -> str:
    """A client's command."""
    if f == "noop":
        return "no-op"
    if f == "cas" and isinstance(argument, (list, tuple)) and len(argument) == 2:
        return f"cas {key} {_scalar(argument[0])}→{_scalar(argument[1])}"
    return f"{f} {key}" if argument is None else f"{f} {key}={_scalar(argument)}"


def operation(event: Event) -> str:
    """An event of a client."""
    asked = command(event.f, event.key, event.value)
    if event.type == "invoke":
        asked = command(event.f, event.key, None if event.f == "read" else event.value)
        return f"client {event.process} asks: {asked}"
    by = f" from n{event.node}" if event.node is not None else ""
    if event.type == "ok":
        read = f"read {event.key} = {_scalar(event.value)}"
        return f"client {event.process} receives{by}: {read if event.f == 'read' else asked} ok"
    if event.error == "mismatch":
        seen = _scalar(event.observed)
        return f"client {event.process} receives{by}: {asked} did not match, {event.key} = {seen}"
    outcome = "may or may not have happened" if event.type == "info" else "did not happen"
    return f"client {event.process} gives up: {asked} {outcome} ({event.error})"


def fault(event: Event) -> str:
    """A fault that was injected or healed."""
    what = describe_fault(event.value)
    extra = event.extra if isinstance(event.extra, dict) else {}
    evidence = extra.get("evidence")
    evidence = evidence if isinstance(evidence, dict) else {}
    seen = "; ".join(evidence_words(evidence))
    told = f" ({seen})" if seen else ""
    if event.f == "heal":
        return f"healed: {what}{told}"
    if evidence.get("struck"):
        return f"⚡ {what}: n{evidence.get('node')}{told}"
    return f"⚡ {what}{told}"


def struck(event: Event) -> bool:
    """Whether the fault took effect. An aimed one without its trigger did not."""
    extra = event.extra if isinstance(event.extra, dict) else {}
    evidence = extra.get("evidence")
    return not isinstance(evidence, dict) or evidence.get("struck") is not False


def describe_fault(document: Any) -> str:
    """A fault's description, or its kind if this version does not know it."""
    try:
        return str(fault_from_json(document).describe())
    except (FaultError, KeyError, TypeError, ValueError):
        return str(document.get("kind", "a fault")) if isinstance(document, dict) else "a fault"


def nodes(numbers: Iterable[int]) -> str:
    """n1, n2, n3"""
    return ", ".join(f"n{n}" for n in numbers)


def delays_ms(delays_us: Iterable[int]) -> str:
    """The delays of a broadcast, as one value if all are equal."""
    texts = [f"{delay_us / 1000:.1f}" for delay_us in delays_us]
    return f"{texts[0] if len(set(texts)) == 1 else ', '.join(texts)} ms"
