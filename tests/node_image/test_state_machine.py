"""The key-value machine: its operations, its sessions, and that snapshots lose nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_image.protocols.interface import NOOP, Answer, Command
from node_image.state_machine import KeyValue, same_json


def ask(machine: KeyValue, seq: int, f: str, value: Any = None, client: int = 1) -> Answer:
    return machine.apply(Command(client, seq, f, "x", value))


def test_reads_writes_and_a_key_never_written() -> None:
    machine = KeyValue()
    assert ask(machine, 1, "read") == Answer(None, None)
    assert ask(machine, 2, "write", 9) == Answer()
    assert ask(machine, 3, "read") == Answer(None, 9)
    assert machine.apply(NOOP) == Answer()


def test_compare_and_set_answers_with_what_it_saw() -> None:
    machine = KeyValue()
    assert ask(machine, 1, "cas", [None, 1]) == Answer()
    assert ask(machine, 2, "cas", [5, 2]) == Answer("mismatch", 1)
    assert ask(machine, 3, "cas", [1, 2]) == Answer()
    assert ask(machine, 4, "read").value == 2


@pytest.mark.parametrize("value", [None, 3, [1], [1, 2, 3], "ab", {"a": 1}])
def test_compare_and_set_of_anything_but_a_pair_is_unsupported(value: Any) -> None:
    machine = KeyValue()
    assert ask(machine, 1, "cas", value).error == "unsupported"
    assert ask(machine, 2, "read").value is None


def test_append_makes_lists_and_does_not_change_values_read_before() -> None:
    machine = KeyValue()
    ask(machine, 1, "append", 1)
    seen = ask(machine, 2, "read").value
    ask(machine, 3, "append", 2)
    assert seen == [1]
    assert ask(machine, 4, "read").value == [1, 2]
    ask(machine, 5, "write", 7)
    assert ask(machine, 6, "append", 3).error == "unsupported"


def test_an_unknown_operation_is_unsupported() -> None:
    assert ask(KeyValue(), 1, "increment").error == "unsupported"


def test_a_retried_command_is_applied_once_and_gets_the_recorded_answer() -> None:
    machine = KeyValue()
    ask(machine, 1, "write", 1)
    first = ask(machine, 2, "cas", [1, 2])
    ask(machine, 1, "write", 1, client=2)
    assert ask(machine, 2, "cas", [1, 2]) == first == Answer()
    assert ask(machine, 9, "read").value == 1, "the retry changed nothing"


def test_a_late_duplicate_does_nothing_and_gets_an_indefinite_answer() -> None:
    machine = KeyValue()
    ask(machine, 5, "write", 5)
    assert ask(machine, 4, "write", 4) == Answer("interrupted")
    assert ask(machine, 6, "read").value == 5


def test_client_0_has_no_session() -> None:
    machine = KeyValue()
    for _ in range(2):
        ask(machine, 0, "append", 1, client=0)
    assert ask(machine, 1, "read").value == [1, 1]


def test_sessions_are_bounded_and_the_least_active_goes_first() -> None:
    machine = KeyValue(sessions_max=2)
    ask(machine, 1, "append", "a", client=1)
    ask(machine, 1, "append", "b", client=2)
    ask(machine, 1, "append", "a", client=1)  # a retry counts as activity
    ask(machine, 1, "append", "c", client=3)  # client 2 is forgotten
    ask(machine, 1, "append", "a", client=1)
    ask(machine, 1, "append", "b", client=2)
    assert ask(machine, 9, "read").value == ["a", "b", "c", "b"]


def test_sessions_max_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        KeyValue(0)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
commands = st.builds(
    Command,
    st.integers(0, 4),
    st.integers(0, 5),
    st.sampled_from(["read", "write", "cas", "append", "noop", "what"]),
    st.sampled_from("xyz"),
    values | st.tuples(values, values).map(list),
)


@settings(deadline=None)
@given(st.lists(commands, max_size=40), st.lists(commands, max_size=20), st.integers(1, 3))
def test_a_restored_machine_behaves_like_the_original(
    before: list[Command], after: list[Command], sessions_max: int
) -> None:
    original = KeyValue(sessions_max)
    for command in before:
        original.apply(command)
    written = json.dumps(original.snapshot())
    restored = KeyValue(sessions_max)
    restored.apply(Command(9, 9, "write", "x", "gone"))
    restored.restore(json.loads(written))
    assert [original.apply(c) for c in after] == [restored.apply(c) for c in after]
    assert original.snapshot() == restored.snapshot()


@settings(deadline=None)
@given(st.lists(commands, max_size=30), st.lists(commands, max_size=10))
def test_a_snapshot_does_not_change_afterwards(before: list[Command], after: list[Command]) -> None:
    machine = KeyValue()
    for command in before:
        machine.apply(command)
    snapshot = machine.snapshot()
    written = json.dumps(snapshot)
    for command in after:
        machine.apply(command)
    assert json.dumps(snapshot) == written


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1, True),
        (1, True, False),
        (0, False, False),
        (None, None, True),
        (None, 0, False),
        ("1", 1, False),
        ([1], [1], True),
        ([1], (1,), True),
        ([1], [True], False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
    ],
)
def test_equality_is_that_of_json(one: Any, other: Any, same: bool) -> None:
    assert same_json(one, other) is same
