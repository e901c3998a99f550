"""What each model accepts and refuses, in small hand-written histories; kernel and reference."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from histories.checker import Verdict, check
from histories.checker.certificate import verify
from histories.checker.compiled import available
from histories.errors import UnknownModel, UnknownOperation
from histories.events import Event
from histories.models import MODELS, model_class, model_named
from histories.models.interface import Signature
from histories.operations import pair

both = pytest.mark.parametrize(
    "kernel",
    [
        pytest.param(
            True, marks=pytest.mark.skipif(not available(), reason="the kernel is not built here")
        ),
        False,
    ],
)
OK = object()


def events(*steps: tuple[Any, ...]) -> list[Event]:
    """A history from steps (process, f, argument, answer), each a whole operation; answer OK: the
    argument itself. (process, type, f, value[, error]) is one event."""
    found: list[Event] = []
    for step in steps:
        at = len(found)
        if step[1] in ("invoke", "ok", "fail", "info"):
            process, kind, f, value = step[:4]
            error = step[4] if len(step) > 4 else None
            found.append(Event(at, at, process, kind, f, None, value, error=error))
            continue
        process, f, given, answer = step
        found.append(Event(at, at, process, "invoke", f, None, given))
        told = given if answer is OK else answer
        found.append(Event(at + 1, at + 1, process, "ok", f, None, told))
    return found


def judged(model: str, kernel: bool, *steps: tuple[Any, ...], initial: Any = None) -> Verdict:
    return check(events(*steps), model=model, initial=initial, kernel=kernel)


TRANSFER = {"from": "a", "to": "b", "amount": 10}
LISTED = {":from": 0, ":to": 1, ":amount": 10}
CLIENT = {"client": "c1"}
CASES: list[tuple[str, Any, str, list[tuple[Any, ...]]]] = [
    ("bank", None, "valid", [(0, "read", None, [1000, 1000]), (0, "transfer", LISTED, OK),
                             (1, "read", None, [990, 1010])]),
    ("bank", None, "invalid", [(0, "read", None, [1000, 1000]), (0, "transfer", LISTED, OK),
                               (1, "read", None, [1000, 1000])]),
    ("bank", None, "invalid", [(0, "read", None, {"a": 5}), (1, "read", None, {"a": 5, "b": 1})]),
    ("bank", [5, 5], "invalid", [(0, "transfer", LISTED, OK)]),
    ("bank", {"balances": [5, 5], "overdraft": True}, "valid",
     [(0, "transfer", LISTED, OK), (0, "read", None, [-5, 15])]),
    ("bank", {"a": 20}, "valid", [(0, "transfer", TRANSFER, OK), (0, "total", None, 20),
                                  (1, "balance", "b", 10), (1, "read", None, {"a": 10, "b": 10})]),
    ("bank", {"a": 20}, "invalid", [(0, "transfer", TRANSFER, OK), (0, "total", None, 21)]),
    ("bank", None, "invalid", [(0, "total", None, 20), (1, "read", None, {"a": 21})]),
    ("multi-register", None, "valid", [(0, "write", {"x": 1, "y": 2}, OK),
                                       (1, "read", ["y", "x"], [2, 1])]),
    ("multi-register", None, "invalid", [(0, "write", {"x": 1, "y": 2}, OK),
                                         (0, "write", {"x": 3, "y": 4}, OK),
                                         (1, "read", None, {"x": 3, "y": 2})]),
    ("kv", None, "valid", [(0, "write", 1, OK), (0, "delete", None, True),
                           (1, "read", None, None), (1, "delete", None, 0)]),
    ("kv", None, "invalid", [(0, "write", 1, OK), (0, "delete", None, None), (1, "read", None, 1)]),
    ("kv", None, "invalid", [(0, "delete", None, True)]),
    ("string-map", None, "valid", [(0, "put", "a", OK), (0, "delete", None, None),
                                   (0, "append", "b", OK), (1, "get", None, "b")]),
    ("string-map", None, "invalid", [(0, "put", "a", OK), (0, "delete", None, None),
                                     (1, "get", None, "a")]),
    ("revision-kv", None, "valid", [(0, "put", "a", 3), (1, "get", None, ["a", 3]),
                                    (1, "cas", [3, "b"], {"revision": 5}),
                                    (0, "get", None, {"value": "b", "mod_revision": 5}),
                                    (0, "delete", None, 6), (1, "get", None, None)]),
    ("revision-kv", None, "invalid", [(0, "put", "a", 3), (0, "put", "b", 3)]),
    ("revision-kv", None, "invalid", [(0, "put", "a", 3), (0, "cas", [2, "b"], 4)]),
    ("revision-kv", None, "invalid", [(0, "put", "a", 3), (0, "put", "a", 4),
                                      (1, "get", None, ["a", 3])]),
    ("revision-kv", None, "valid", [(0, "invoke", "put", "a"), (0, "info", "put", "a"),
                                    (1, "get", None, ["a", 7]), (1, "get", None, ["a", 7])]),
    ("revision-kv", None, "invalid", [(0, "invoke", "put", "a"), (0, "info", "put", "a"),
                                      (1, "get", None, ["a", 7]), (1, "get", None, ["a", 8])]),
    ("mutex", None, "valid", [(0, "acquire", None, None), (1, "release", None, None)]),
    ("mutex", None, "valid", [(0, "acquire", None, True), (1, "acquire", None, False)]),
    ("mutex", None, "invalid", [(1, "acquire", None, False)]),
    ("owned-mutex", None, "invalid", [(0, "acquire", None, None), (1, "release", None, None)]),
    ("owned-mutex", None, "valid", [(0, "acquire", CLIENT, None), (1, "release", CLIENT, None)]),
    ("owned-mutex", None, "invalid", [(0, "acquire", None, None), (0, "acquire", None, None)]),
    ("owned-mutex", None, "valid", [(0, "acquire", None, None), (1, "release", None, False)]),
    ("reentrant-mutex", None, "valid", [(0, "acquire", None, None), (0, "acquire", None, None),
                                        (0, "release", None, None), (1, "acquire", None, False),
                                        (0, "release", None, None), (1, "acquire", None, True)]),
    ("reentrant-mutex", None, "invalid", [(0, "acquire", None, None), (0, "acquire", None, None),
                                          (0, "release", None, None), (1, "acquire", None, None)]),
    ("reentrant-mutex", 2, "invalid", [(0, "acquire", None, None)] * 3),
    ("fenced-lock", None, "valid", [(0, "acquire", None, {"fence": 4}), (1, "release", None, None),
                                    (1, "acquire", None, {"fence": 5})]),
    ("owned-fenced-lock", None, "invalid", [(0, "acquire", None, 4), (1, "release", None, None)]),
    ("owned-fenced-lock", None, "invalid", [(0, "acquire", None, 4), (0, "release", None, None),
                                            (1, "acquire", None, 4)]),
    ("reentrant-fenced-lock", None, "valid", [(0, "acquire", None, 4), (0, "acquire", None, 4)]),
    ("reentrant-fenced-lock", None, "invalid", [(0, "acquire", None, 4), (0, "acquire", None, 5)]),
    ("semaphore", 2, "valid", [(0, "acquire", None, None), (1, "acquire", None, True),
                               (2, "acquire", None, False), (0, "release", 2, None)]),
    ("semaphore", 2, "invalid", [(0, "acquire", 2, None), (1, "acquire", None, None)]),
    ("semaphore", None, "invalid", [(0, "release", None, None)]),
    ("queue", None, "valid", [(0, "enqueue", 1, OK), (0, "enqueue", 2, OK),
                              (1, "drain", None, [1, 2]), (1, "dequeue", None, None)]),
    ("queue", None, "invalid", [(0, "enqueue", 1, OK), (0, "enqueue", 2, OK),
                                (1, "drain", None, [2, 1])]),
    ("queue", None, "invalid", [(0, "enqueue", 1, OK), (0, "enqueue", 2, OK),
                                (1, "drain", None, [1])]),
    ("queue", None, "valid", [(0, "enqueue", 1, OK), (0, "enqueue", 2, OK),
                              (1, "invoke", "drain", None), (2, "invoke", "drain", None),
                              (1, "ok", "drain", [2]), (2, "ok", "drain", [1])]),
    ("queue", None, "invalid", [(0, "enqueue", 1, OK), (1, "invoke", "dequeue", None),
                                (1, "fail", "dequeue", None, "empty")]),
    ("stack", None, "invalid", [(0, "push", 1, OK), (1, "invoke", "pop", None),
                                (1, "fail", "pop", None, ":empty")]),
    ("queue", None, "valid", [(0, "enqueue", 1, OK), (1, "invoke", "dequeue", None),
                              (1, "fail", "dequeue", None, "timeout")]),
    ("unordered-queue", None, "valid", [(0, "enqueue", 1, OK), (0, "enqueue", 2, OK),
                                        (1, "dequeue", None, 2), (1, "drain", None, [1])]),
    ("unordered-queue", None, "invalid", [(0, "enqueue", 1, OK), (1, "dequeue", None, None)]),
    ("unordered-queue", None, "invalid", [(0, "enqueue", 1, OK), (1, "dequeue", None, 1),
                                          (1, "dequeue", None, 1)]),
    ("set", None, "invalid", [(0, "add", 1, False)]),
    ("set", None, "valid", [(0, "add", 1, True), (0, "add", 1, False), (1, "remove", 1, True),
                            (1, "remove", 1, False), (1, "read", None, {"#set": []})]),
    ("set", None, "invalid", [(0, "add", 1, OK), (1, "remove", 1, False)]),
    ("priority-queue", None, "valid", [(0, "insert", 5, OK), (0, "insert", [3, "x"], OK),
                                       (1, "delete-min", None, [3, "x"]),
                                       (1, "delete-min", None, 5), (1, "delete-min", None, None)]),
    ("priority-queue", None, "invalid", [(0, "insert", 5, OK), (0, "insert", 3, OK),
                                         (1, "delete-min", None, 5)]),
    ("priority-queue", None, "valid", [(0, "insert", 5, OK), (0, "insert", 3, OK),
                                       (1, "delete-max", None, 5)]),
    ("unique-ids", None, "valid", [(0, "generate", None, 1), (1, "generate", None, "1")]),
    ("unique-ids", None, "invalid", [(0, "generate", None, 1), (1, "generate", None, 1)]),
    ("counter", None, "valid", [(0, "add", 3, OK), (1, "read", None, [2, 4])]),
    ("counter", None, "invalid", [(0, "add", 3, OK), (1, "read", None, [0, 2])]),
    ("counter-range", None, "valid", [(0, "invoke", "add", 3), (1, "read", None, 2),
                                      (1, "read", None, 0), (0, "ok", "add", 3)]),
    ("counter-range", None, "invalid", [(0, "add", 3, OK), (1, "read", None, 2)]),
    ("watch", None, "valid", [(0, "put", "a", 2), (0, "put", "b", 5), (0, "delete", None, 6),
                              (1, "watch", None, [[2, "a"], [5, "b"]]),
                              (1, "watch", 5, [[5, "b"], [6, None]])]),
    ("watch", None, "invalid", [(0, "put", "a", 2), (0, "put", "b", 5),
                                (1, "watch", None, [[5, "b"], [2, "a"]])]),
    ("watch", None, "invalid", [(0, "put", "a", 2), (0, "put", "b", 5), (0, "put", "c", 6),
                                (1, "watch", None, [[2, "a"], [6, "c"]])]),
    ("watch", None, "invalid", [(0, "put", "a", 2), (1, "watch", None, [[2, "a"], [2, "a"]])]),
    ("register", None, "valid", [(0, "write", None, 7), (1, "read", None, 7)]),
    ("register", None, "valid", [(0, "write", 3, 7), (1, "read", None, 7)]),
    ("register", None, "invalid", [(0, "write", 3, 7), (1, "read", None, 3)]),
    ("cas-register", 1, "valid", [(0, "cas", None, [1, 2]), (1, "read", None, 2)]),
]  # fmt: skip


@both
@pytest.mark.parametrize("number", range(len(CASES)))
def test_small_histories(number: int, kernel: bool) -> None:
    model, initial, outcome, steps = CASES[number]
    verdict = judged(model, kernel, *steps, initial=initial)
    assert verdict.outcome == outcome, CASES[number]
    if outcome == "invalid":
        assert verdict.evidence is not None and verdict.evidence.operations
    else:
        sure = check(
            events(*steps), model=model, initial=initial, kernel=kernel, linearization=True
        )
        if not any("drains" in note for note in sure.notes):
            verify(model_named(model, initial), pair(events(*steps)), sure)


REFUSED: list[tuple[str, list[tuple[Any, ...]], str]] = [
    ("set", [(0, "contains", 1, 1)], "what contains answers must be true or false, not 1"),
    ("set", [(0, "contains", 1, None)], "must be true or false, not null"),
    ("set", [(0, "add", 1, 5)], "what add answers must be true, false, null or the value"),
    ("set", [(0, "remove", 1, "yes")], "what remove answers must be"),
    ("set", [(0, "read", None, {"a": 1})], "what read answers must be a list or a set"),
    ("fenced-lock", [(0, "acquire", None, "7")], "what acquire answers must be a token"),
    ("fenced-lock", [(0, "acquire", None, None)], "what acquire answers must be a token"),
    ("owned-fenced-lock", [(0, "acquire", None, {})], "what acquire answers must be a token"),
    ("counter", [(0, "read", None, "1")], "what read answers must be a whole number, or a range"),
    (
        "counter",
        [(0, "read", None, [2, 1])],
        "what read answers must be a whole number, or a range",
    ),
    ("log", [(0, "read", None, "x")], "what read answers must be a list or null"),
    ("queue", [(0, "drain", None, 3)], "what drain answers must be a list or null"),
    ("string-map", [(0, "get", None, 3)], "what get answers must be a string or null"),
    ("bank", [(0, "transfer", {"from": 1}, OK)], "the value of transfer must be"),
    ("bank", [(0, "read", None, ["x"])], "what read answers must be whole numbers by account"),
    ("multi-register", [(0, "write", 3, OK)], "the value of write must be a map, not 3"),
    ("semaphore", [(0, "acquire", 0, OK)], "the value of acquire must be a whole number above 0"),
    ("priority-queue", [(0, "insert", "x", OK)], "the value of insert must be a number, or"),
    ("unique-ids", [(0, "generate", None, None)], "what generate answers must be an id, not null"),
    ("revision-kv", [(0, "put", 1, "x")], "what put answers must be a revision"),
    ("revision-kv", [(0, "cas", ["x", 1], OK)], r"must be \[expected revision, new value\]"),
    ("watch", [(0, "watch", None, [["a", 1]])], r"must be a list of \[revision, value\]"),
    ("cas-register", [(0, "cas", 1, OK)], r"must be \[expected, new\], not 1"),
]


@both
@pytest.mark.parametrize(("model", "steps", "why"), REFUSED)
def test_values_of_wrong_kinds_are_refused_with_the_reason(
    model: str, steps: list[tuple[Any, ...]], why: str, kernel: bool
) -> None:
    with pytest.raises(UnknownOperation, match=why):
        judged(model, kernel, *steps)


def test_every_model_is_found_by_name_and_lists_its_operations() -> None:
    assert len(MODELS) == len(set(MODELS)) >= 24
    for name in MODELS:
        model = model_class(name)
        assert model.name == name
        assert all(isinstance(s, Signature) for s in model.operations.values())
        assert model().reads <= model.operations.keys()
        assert model.begins.text
    with pytest.raises(UnknownModel, match=r"bank.*watch"):
        model_named("kvv")
    page = (Path(__file__).parents[2] / "docs" / "checker.md").read_text()
    assert [name for name in MODELS if f"`{name}`" not in page] == []


def test_notes_qualify_verdicts() -> None:
    nothing = [(0, "invoke", "write", 1), (0, "info", "write", 1), (1, "invoke", "read", None)]
    for kernel in (True, False):
        vacuous = judged("register", kernel, *nothing)
        assert "no operation was acknowledged" in vacuous.notes[0]
        changed = judged("register", kernel, (0, "write", None, 7), (1, "read", None, 7))
        assert "1 operation completed with another value" in changed.notes[0]
        nil = events((0, "write", 1, OK), (0, "read", None, None))
        as_null = check(nil, model="register", kernel=kernel)
        assert as_null.outcome == "invalid"
        assert "Knossos" in as_null.notes[0]
        unknown = check(nil, model="register", kernel=kernel, nil_reads="unknown")
        assert (unknown.outcome, unknown.notes) == ("valid", ())
        written = (*nil, *events((0, "write", None, None), (0, "write", 2, OK)))
        numbered = [e._replace(index=i, time=i) for i, e in enumerate(written)]
        assert not check(numbered, model="register", kernel=kernel).notes


def test_a_failed_read_is_not_a_failed_write() -> None:
    steps = [(0, "invoke", "read", None), (0, "fail", "read", None), (1, "read", None, None)]
    for kernel in (True, False):
        verdict = judged("cas-register", kernel, *steps, initial=0)
        assert verdict.sentence.endswith("which nobody had ever written")
        failed = [(0, "invoke", "write", 5), (0, "fail", "write", 5), (1, "read", None, 5)]
        verdict = judged("cas-register", kernel, *failed, initial=0)
        assert verdict.sentence.endswith("although the only write of it had failed")


FOLDER = os.environ.get("ANTIPAXOS_CHECKER_CASES")
FOREIGN: dict[str, tuple[str, Any, str]] = {
    "ahorn_set_bool_results.edn": ("set", None, "invalid"),
    "edn_key_kinds.edn": ("cas-register", None, "valid"),
    "edn_set_vs_vector.edn": ("register", None, "invalid"),
    "ellecli_json_array.json": ("register", None, "valid"),
    "etcd_put_delete.jsonl": ("string-map", None, "valid"),
    "hazelcast_lock_other_owner.edn": ("mutex", None, "valid"),
    "hazelcast_queue_drain.edn": ("queue", None, "valid"),
    "jepsen_history.txt": ("register", None, "valid"),
    "jepsen_independent_no_reads.edn": ("cas-register", None, "valid"),
    "knossos_crash_info.edn": ("register", None, "valid"),
    "knossos_value_at_completion.edn": ("register", None, "valid"),
    "openraft1910_vacuous.edn": ("cas-register", None, "valid"),
    "porcupine1_bank.edn": ("bank", None, "valid"),
    "queue_empty_fail.edn": ("queue", None, "invalid"),
    "sentence_failed_write_of_null.edn": ("cas-register", 0, "invalid"),
    "verify_info_only.jsonl": ("kv", None, "invalid"),
}


@both
@pytest.mark.skipif(not FOLDER, reason="ANTIPAXOS_CHECKER_CASES names no folder of histories")
@pytest.mark.parametrize("name", FOREIGN)
def test_histories_from_published_reports(name: str, kernel: bool) -> None:
    model, initial, outcome = FOREIGN[name]
    path = Path(FOLDER or ".") / name
    assert check(path, model=model, initial=initial, kernel=kernel).outcome == outcome
