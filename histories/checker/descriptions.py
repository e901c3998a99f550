"""Operations in English, and what each of them shows about the value that a register held."""

from __future__ import annotations

import json
from typing import Any

from histories.operations import NEVER, Operation, thaw

READS = ("read", "get")
WRITES = ("write", "put")
ANSWERED = frozenset(("read", "get", "dequeue", "pop", "contains", "balance", "total", "drain"))
"""Operations whose answer is shown also where it is null."""


def saw(op: Operation) -> tuple[Any, ...]:
    """The one value that the register held just before the operation took effect, where known."""
    if op.f == "cas" and op.outcome == "ok":
        return (op.value[0],)
    if op.seen and (op.f in READS or op.outcome == "mismatch"):
        return (op.result,)
    return ()


def left(op: Operation) -> tuple[Any, ...]:
    """The one value that the register held just after it, where known."""
    if op.f == "delete" and op.outcome == "ok":
        return (None,)
    if op.f in WRITES and op.outcome == "ok":
        return (op.value,)
    if op.f == "cas" and op.outcome == "ok":
        return (op.value[1],)
    return saw(op)


def wrote(op: Operation) -> tuple[Any, ...]:
    """The one value that the operation wrote, or may have written. A compare-and-set from a value
    to itself writes nothing."""
    if op.f == "delete":
        return (None,)
    if op.f in WRITES:
        return (op.value,)
    if op.f == "cas" and op.outcome != "mismatch" and op.value[0] != op.value[1]:
        return (op.value[1],)
    return ()


def described(op: Operation) -> str:
    """One operation in words: "client 4 read x=7 at 12.310 s"."""
    who, name = f"client {op.process}", name_of(op)
    when = f"at {seconds(op.ret_ns if op.ret != NEVER else op.call_ns)}"
    if op.f in READS and op.seen:
        return f"{who} read {name}={shown(op.result)} {when}"
    if op.f in WRITES:
        done = "wrote" if op.outcome == "ok" else "may have written"
        return f"{who} {done} {name}={shown(op.value)} {when}"
    if op.f == "cas":
        change = f"{name} from {shown(op.value[0])} to {shown(op.value[1])}"
        if op.outcome == "mismatch":
            found = f" (it found {shown(op.result)})" if op.seen else ""
            return f"{who} could not set {change}{found} {when}"
        return f"{who} {'set' if op.outcome == 'ok' else 'may have set'} {change} {when}"
    key = "" if op.key is None else f" {op.key}"
    argument = "" if op.value is None else f" {shown(op.value)}"
    doubt = "" if op.outcome == "ok" else " (outcome unknown)"
    return f"{who}: {op.f}{key}{argument}{answer(op)}{doubt} {when}"


def answer(op: Operation) -> str:
    """-> what it returned, for operations that return something."""
    gives = op.f in ANSWERED or op.observed or (op.result is not None and op.result != op.value)
    return f" -> {shown(op.result)}" if op.seen and gives else ""


def name_of(op: Operation) -> str:
    return "value" if op.key is None else str(op.key)


def shown(value: Any) -> str:
    text = json.dumps(thaw(value), ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:40]}…{text[-16:]}"


def seconds(ns: int) -> str:
    return f"{ns / 1e9:.3f} s"
