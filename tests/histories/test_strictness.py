"""Invalid histories and answers that must be refused: each of these once got a wrong verdict.

Every case is put to the kernel and to the reference, in memory and as a file where that makes a
difference.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from histories.checker import LiveChecker, check
from histories.checker.compiled import available
from histories.errors import BadHistory, BadInitial, UnknownOperation
from histories.events import Event
from histories.formats import edn, native
from histories.operations import DEPTH_MAX

both = pytest.mark.parametrize(
    "kernel",
    [
        pytest.param(
            True, marks=pytest.mark.skipif(not available(), reason="the kernel is not built here")
        ),
        False,
    ],
)


def one_after_the_other(*steps: tuple[str, Any, Any]) -> list[Event]:
    """A history of one client: (f, value given, value returned)."""
    events: list[Event] = []
    for f, given, returned in steps:
        at = len(events)
        events.append(Event(at, at, 0, "invoke", f, "k", given))
        events.append(Event(at + 1, at + 1, 0, "ok", f, "k", returned))
    return events


def outcome(kernel: bool, model: str, *steps: tuple[str, Any, Any], initial: Any = None) -> str:
    events = one_after_the_other(*steps)
    return check(events, model=model, initial=initial, kernel=kernel).outcome


def lines(path: Path, *events: dict[str, Any] | str) -> Path:
    path.write_text("".join((e if isinstance(e, str) else json.dumps(e)) + "\n" for e in events))
    return path


CALL = {"process": 0, "type": "invoke", "f": "write", "key": "a", "value": 1}
DONE = CALL | {"type": "ok"}


@both
@pytest.mark.parametrize("junk", ["junk", "{", '{"type":', "\n{}", "[1]", "\xff"])
def test_a_file_without_a_whole_event_is_not_a_history(
    tmp_path: Path, junk: str, kernel: bool
) -> None:
    path = tmp_path / "h.jsonl"
    path.write_bytes(junk.encode("latin-1"))
    with pytest.raises(BadHistory) as raised:
        check(path, kernel=kernel, format="native")
    assert raised.value.line == 1


@both
def test_a_torn_last_line_after_an_event_is_a_note(tmp_path: Path, kernel: bool) -> None:
    path = tmp_path / "h.jsonl"
    path.write_text(json.dumps(CALL) + "\n" + json.dumps(DONE)[:20])
    verdict = check(path, kernel=kernel)
    assert verdict.outcome == "valid"
    assert "line 2" in verdict.notes[0]


@both
@pytest.mark.parametrize("number", [2**53, 9210000000000000000, 2**63 - 1024, 2**63, -(2**63)])
def test_numbers_are_equal_in_every_notation(number: int, kernel: bool) -> None:
    assert outcome(kernel, "register", ("write", number, None), ("read", None, float(number))) == (
        "valid"
    )
    assert outcome(kernel, "register", ("write", float(number), None), ("read", None, number)) == (
        "valid"
    )
    assert outcome(kernel, "register", ("write", number, None), ("read", None, number + 2048)) == (
        "invalid"
    )


@both
@pytest.mark.parametrize("big", [2**61, 2**62, 2**63 - 1, 2**63, 2**80])
def test_tokens_of_any_size_are_compared(big: int, kernel: bool) -> None:
    def held(*tokens: int) -> list[tuple[str, Any, Any]]:
        return [s for t in tokens for s in (("acquire", None, t), ("release", None, None))]

    assert outcome(kernel, "fenced-lock", *held(1, big, big + 1)) == "valid"
    assert outcome(kernel, "fenced-lock", *held(big + 1, big)) == "invalid"
    assert outcome(kernel, "fenced-lock", *held(big, big)) == "invalid"
    assert outcome(kernel, "fenced-lock", *held(big + 1), initial=big) == "valid"
    assert outcome(kernel, "fenced-lock", *held(big), initial=big) == "invalid"


@both
@pytest.mark.parametrize("big", [2**30, 2**40 - 1, 2**62, 2**63, 2**100])
def test_counters_do_not_overflow(big: int, kernel: bool) -> None:
    adds = [("add", big, None)] * 4
    assert outcome(kernel, "counter", *adds, ("read", None, 4 * big)) == "valid"
    assert outcome(kernel, "counter", *adds, ("read", None, 4 * big - 2**64)) == "invalid"
    assert outcome(kernel, "counter", *adds, ("read", None, 5 * big), initial=big) == "valid"


@both
@pytest.mark.parametrize(
    ("initial", "steps", "wrapped"),
    [
        (2**63 - 1, [("inc", None, None)], -(2**63)),
        (2**63 - 1, [("add", 5, None)], -(2**63) + 4),
        (-(2**63), [("dec", None, None)], 2**63 - 1),
        (2**63, [], 0),
    ],
)
def test_a_counter_that_begins_at_the_limit_does_not_wrap_around(
    initial: int, steps: list[tuple[str, Any, Any]], wrapped: int, kernel: bool
) -> None:
    change = sum({"inc": 1, "dec": -1}.get(f, given) for f, given, _ in steps)
    for answer, expected in ((wrapped, "invalid"), (initial + change, "valid")):
        assert outcome(kernel, "counter", *steps, ("read", None, answer), initial=initial) == (
            expected
        )


@pytest.mark.parametrize(
    ("model", "good", "bad"),
    [
        ("string-map", "x", [1, ["x"], True]),
        ("counter", 3, ["3", [3], True, 1.5]),
        ("fenced-lock", 3, ["3", {}, False]),
        ("set", [1, 2], [1, "12", {"1": 2}]),
        ("queue", [1], ["1", {}, 0]),
        ("stack", [1], ["1", {}, 0]),
        ("log", [], ["", {}, False]),
        ("mutex", True, [1, "held", []]),
    ],
)
def test_a_model_accepts_only_valid_initial_values(model: str, good: Any, bad: list[Any]) -> None:
    check([], model=model, initial=good)
    for value in bad:
        with pytest.raises(BadInitial, match=f"the model {model} begins with"):
            check([], model=model, initial=value)
        with pytest.raises(BadInitial):
            LiveChecker(model, value)


@both
def test_an_object_is_not_a_list(kernel: bool) -> None:
    assert outcome(kernel, "kv", ("write", {}, None), ("append", 1, None)) == "invalid"
    assert outcome(kernel, "kv", ("write", {"a": 1}, None), ("append", 1, None)) == "invalid"
    assert outcome(kernel, "kv", ("write", [], None), ("append", 1, None)) == "valid"
    for answer in ({}, "", 0, False):
        for model in ("set", "log"):
            with pytest.raises(UnknownOperation, match="event 2: what read answers must be a list"):
                outcome(kernel, model, ("read", None, answer))
    for empty in (None, []):
        assert outcome(kernel, "set", ("read", None, empty)) == "valid"
        assert outcome(kernel, "log", ("read", None, empty)) == "valid"
    with pytest.raises(UnknownOperation):
        outcome(kernel, "log", ("append", 1, None), ("read", None, {"a": 1}))


def test_a_set_of_edn_is_the_same_in_any_order() -> None:
    values = [form.value for form in edn.forms("#{1 2 :a} #{:a 2 1} #{[2] [1]} #{[1] [2]}")]
    assert values[0] == values[1] != values[2] == values[3]
    with pytest.raises(BadHistory, match="same name twice"):
        list(edn.forms("{:a 1, :a 2}"))


@both
def test_a_completion_is_on_the_key_of_its_invocation(tmp_path: Path, kernel: bool) -> None:
    path = lines(tmp_path / "h.jsonl", CALL, DONE | {"key": "b"})
    with pytest.raises(BadHistory, match=r"line 2: process 0 .*completes on") as raised:
        check(path, kernel=kernel)
    assert raised.value.line == 2
    without = {name: value for name, value in DONE.items() if name != "key"}
    assert check(lines(path, CALL, without), kernel=kernel).outcome == "valid"


@both
@pytest.mark.parametrize("field", ["value", "node", "type", "key", "index", "observed"])
def test_a_field_may_not_be_given_twice(tmp_path: Path, field: str, kernel: bool) -> None:
    event = {"index": 0, "node": 1, "observed": None} | CALL
    line = json.dumps(event)[:-1] + f', "{field}": {json.dumps(event[field])}}}'
    with pytest.raises(BadHistory, match="twice"):
        check(lines(tmp_path / "h.jsonl", line), kernel=kernel)
    harmless = json.dumps(event)[:-1] + ', "note": 1, "note": 2}'
    assert check(lines(tmp_path / "h.jsonl", harmless), kernel=kernel).outcome == "valid"


@both
@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object(), [b"x"]])
def test_values_that_are_not_json_are_refused_with_their_event(value: Any, kernel: bool) -> None:
    events = one_after_the_other(("write", 1, None), ("write", value, None))
    with pytest.raises(BadHistory, match=r"event 3: .* is not a JSON value"):
        check(events, kernel=kernel)


@both
def test_a_number_beyond_every_float_is_refused(tmp_path: Path, kernel: bool) -> None:
    line = json.dumps(CALL).replace('"value": 1', '"value": 1e999')
    with pytest.raises(BadHistory, match="too large"):
        check(lines(tmp_path / "h.jsonl", line), kernel=kernel)


def nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


@both
@pytest.mark.parametrize("field", ["value", "note"])
def test_values_may_be_nested_up_to_the_limit(tmp_path: Path, field: str, kernel: bool) -> None:
    path = tmp_path / "h.jsonl"
    deepest = lines(path, CALL | {field: nested(DEPTH_MAX)})
    assert check(deepest, kernel=kernel).outcome == "valid"
    for depth in (DEPTH_MAX + 1, 500, 900):
        with pytest.raises(BadHistory, match="nested"):
            check(lines(path, CALL | {field: nested(depth)}), kernel=kernel)


@both
@pytest.mark.parametrize("depth", [DEPTH_MAX, DEPTH_MAX + 1, 500, 5000])
def test_nesting_in_memory(depth: int, kernel: bool) -> None:
    def judged() -> str:
        return outcome(kernel, "kv", ("write", nested(depth), None), ("read", None, nested(depth)))

    if depth <= DEPTH_MAX:
        assert judged() == "valid"
    else:
        with pytest.raises(BadHistory, match="nested"):
            judged()


@both
def test_a_whole_number_is_the_same_key_as_its_text(kernel: bool) -> None:
    events = [
        Event(0, 0, 0, "invoke", "write", 7, 1),  # type: ignore[arg-type]
        Event(1, 1, 0, "ok", "write", "7", 1),
        Event(2, 2, 0, "invoke", "read", "7"),
        Event(3, 3, 0, "ok", "read", 7, 2),  # type: ignore[arg-type]
    ]
    verdict = check(events, kernel=kernel)
    assert [(part.key, part.outcome) for part in verdict.partitions] == [("7", "invalid")]
    live = LiveChecker(kernel=kernel)
    live.feed(events)
    violation = live.judge().violation
    assert violation is not None
    assert violation.key == "7"


@both
@pytest.mark.parametrize("process", ["client-1", 2**40])
def test_live_accepts_everything_that_the_reference_can_judge(process: Any, kernel: bool) -> None:
    live = LiveChecker("counter", kernel=kernel)
    live.feed(event._replace(process=process) for event in one_after_the_other(("inc", 1, None)))
    assert live.judge().judged == 2
    more = one_after_the_other(("add", 2**70, None), ("read", None, 0))
    live.feed(e._replace(index=e.index + 2, time=e.time + 2, process=process) for e in more)
    progress = live.judge()
    assert progress.violation is not None
    assert progress.violation.outcome == "invalid"


READ = {"process": 0, "type": "invoke", "f": "read", "key": "a"}


@both
@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("Key", "key"),
        ("KEY", "key"),
        ("kye", "key"),
        ("ky", "key"),
        ("k", "key"),
        ("val", "value"),
        ("v", "value"),
        ("Value", "value"),
        ("vlaue", "value"),
        ("values", "value"),
        ("Observed", "observed"),
        ("obseved", "observed"),
        ("err", "error"),
        ("Error", "error"),
        ("oder", "order"),
        ("Time", "time"),
        ("NODE", "node"),
        ("Index", "index"),
    ],
)
def test_a_misspelt_field_is_refused(
    tmp_path: Path, misspelt: str, meant: str, kernel: bool
) -> None:
    second = {name: value for name, value in DONE.items() if name != meant} | {misspelt: 1}
    with pytest.raises(BadHistory, match=rf"is not a field of an event: is .{meant}. meant"):
        check(lines(tmp_path / "h.jsonl", CALL, second), kernel=kernel)
    with pytest.raises(BadHistory) as raised:
        check(lines(tmp_path / "h.jsonl", CALL, second), kernel=kernel)
    assert raised.value.line == 2


@both
def test_other_fields_are_kept(tmp_path: Path, kernel: bool) -> None:
    """What runs record beside the operation, what is spelt right beside it, and faults."""
    fields = {"client": 1, "seq": 4, "note": "x", "keys": ["a"], "mode": 1, "kind": "kill"}
    fault = {"process": "nemesis", "type": "info", "f": "inject", "val": 1, "Key": "b", "err": ""}
    path = lines(tmp_path / "h.jsonl", CALL | fields, fault, DONE | fields)
    verdict = check(path, kernel=kernel)
    assert (verdict.outcome, verdict.operations) == ("valid", 1)
    extra = native.read(path).events[0].extra
    assert extra == fields


@both
@pytest.mark.parametrize(
    "f", ["write", "cas", "append", "add", "enqueue", "push", "put", "remove", "contains", "insert"]
)
def test_an_invocation_without_its_value_is_refused(tmp_path: Path, f: str, kernel: bool) -> None:
    event = {name: value for name, value in CALL.items() if name != "value"} | {"f": f}
    with pytest.raises(BadHistory, match="line 1: has no value"):
        check(lines(tmp_path / "h.jsonl", event), kernel=kernel)


@both
@pytest.mark.parametrize(
    ("f", "model"),
    [("read", "kv"), ("get", "string-map"), ("dequeue", "queue"), ("pop", "stack")],
)
def test_an_answer_without_its_value_is_refused(
    tmp_path: Path, f: str, model: str, kernel: bool
) -> None:
    call = READ | {"f": f}
    more: dict[str, Any]
    for more in ({}, {"node": 2}):
        path = lines(tmp_path / "h.jsonl", call, call | {"type": "ok"} | more)
        with pytest.raises(BadHistory, match="line 2: has no value"):
            check(path, model=model, kernel=kernel)
    for more in ({"type": "ok", "value": None}, {"type": "fail"}, {"type": "info"}):
        path = lines(tmp_path / "h.jsonl", call, call | more)
        assert check(path, model=model, kernel=kernel).outcome == "valid"


@both
def test_values_that_may_be_left_out(tmp_path: Path, kernel: bool) -> None:
    """A completion that repeats nothing, a read's invocation, a read that `observed`."""
    silent = {name: value for name, value in DONE.items() if name != "value"}
    observed = READ | {"type": "ok", "observed": 1}
    path = lines(tmp_path / "h.jsonl", CALL, silent, READ, observed)
    assert check(path, kernel=kernel).outcome == "valid"
    path = lines(tmp_path / "h.jsonl", CALL, silent, READ, observed | {"observed": 2})
    assert check(path, kernel=kernel).outcome == "invalid"


@both
@pytest.mark.parametrize("key", [1.5, True, [], -1, 2**62])
def test_what_a_key_may_be_is_said(tmp_path: Path, key: Any, kernel: bool) -> None:
    accepted = "neither a text nor a whole number from 0 to 2"
    with pytest.raises(BadHistory, match=f"line 1: key .*is {accepted}"):
        check(lines(tmp_path / "h.jsonl", CALL | {"key": key}), kernel=kernel)
