"""The evidence for a history that is not linearizable, and that it is correct."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from histories.checker import Verdict, check
from histories.checker.descriptions import described, shown
from histories.checker.evidence import fails_alone
from histories.events import Event
from histories.models import model_named
from histories.operations import pair
from tests.histories.generating import history, linearizable

KERNELS = pytest.mark.parametrize("kernel", [True, False])


def story(*steps: str) -> list[Event]:
    """Events from lines such as "2 ok read 7": process, type, f, value (k=null is the key "x").

    A value "?8" is what a mismatch observed; "-" is not a value.
    """
    events: list[Event] = []
    begun: dict[int, Any] = {}
    for at, step in enumerate(steps):
        who, kind, f, *rest = step.split()
        more: dict[str, Any] = {}
        value: Any = None if not rest or rest[0] == "-" else _value(rest[0])
        if kind == "mismatch":
            more = {"error": "mismatch"}
            if rest:
                more |= {"observed": value, "has_observed": True}
            kind, value = "fail", begun[int(who)]
        if kind == "invoke":
            begun[int(who)] = value
        events.append(Event(at, (at + 1) * 1_000_000, int(who), kind, f, "x", value, **more))
    return events


def _value(text: str) -> Any:
    if "," in text or text.startswith("["):
        inner = text.strip("[]")
        return [_value(t) for t in inner.split(",")] if inner else []
    if text == "null":
        return None
    return int(text) if text.lstrip("-").isdigit() else text


def op(who: int, f: str, value: str = "-", answer: str | None = None) -> list[str]:
    """One operation, its two events next to each other."""
    return [f"{who} invoke {f} {value}", f"{who} ok {f} {value if answer is None else answer}"]


STORIES: dict[str, tuple[str, list[str], str]] = {
    "stale-read": (
        "kv",
        [*op(1, "write", "7"), *op(2, "write", "9"), *op(4, "read", "-", "7")],
        "client 4 read x=7 at 0.006 s, although x=9 had been acknowledged to client 2 at 0.004 s "
        "and nobody wrote 7 again",
    ),
    "stale-initial": (
        "kv",
        [*op(2, "write", "9"), *op(4, "read", "-", "null")],
        "client 4 read x=null at 0.004 s, although x=9 had been acknowledged to client 2 at "
        "0.002 s, and nobody wrote null",
    ),
    "backward-read": (
        "kv",
        [
            *op(1, "write", "7"),
            "2 invoke write 9",
            *op(4, "read", "-", "9"),
            *op(5, "read", "-", "7"),
        ],
        "client 5 read x=7 at 0.007 s, although x=9 had been seen by client 4 at 0.005 s and "
        "nobody wrote 7 again",
    ),
    "unwritten-value": (
        "kv",
        [*op(1, "write", "7"), *op(4, "read", "-", "8")],
        "client 4 read x=8 at 0.004 s, which nobody had ever written",
    ),
    "dirty-read": (
        "kv",
        ["1 invoke write 8", "1 fail write 8", *op(4, "read", "-", "8")],
        "client 4 read x=8 at 0.004 s, although the only write of it had failed",
    ),
    "future-read": (
        "kv",
        [*op(4, "read", "-", "8"), *op(1, "write", "8")],
        "client 4 read x=8 at 0.002 s, before anybody had begun to write it (client 1 did at "
        "0.003 s)",
    ),
    "lost-update": (
        "kv",
        [*op(1, "write", "7"), *op(2, "cas", "7,8"), *op(3, "cas", "7,9")],
        "clients 2 and 3 were both told that they had set x from 7 (to 8 at 0.004 s, to 9 at "
        "0.006 s), but 7 was written only once",
    ),
    "contradiction": (
        "kv",
        [*op(1, "write", "7"), "2 invoke cas 7,8", "2 mismatch cas 7"],
        "client 2 could not set x from 7 to 8 (it found 7) at 0.004 s, which is the value that it "
        "expected",
    ),
    "taken-twice": (
        "queue",
        [*op(1, "enqueue", "7"), *op(2, "dequeue", "-", "7"), *op(3, "dequeue", "-", "7")],
        "7 was put in once and taken twice: client 2: dequeue x -> 7 at 0.004 s, and client 3: "
        "dequeue x -> 7 at 0.006 s",
    ),
    "lost-element": (
        "queue",
        [*op(1, "enqueue", "7"), *op(2, "dequeue", "-", "null")],
        "client 2: dequeue x -> null at 0.004 s: it found nothing, although 7 had been put in by "
        "client 1 at 0.002 s and not been taken",
    ),
    "lost-element of a set": (
        "set",
        [*op(1, "add", "7"), *op(1, "add", "8"), *op(2, "read", "-", "[8]")],
        "client 2 read x=[8] at 0.006 s, without 7, which had been acknowledged to client 1 at "
        "0.002 s and which nobody removed",
    ),
    "double-apply": (
        "log",
        [*op(1, "append", "7"), *op(2, "read", "-", "[7,7]")],
        "client 2 read x=[7, 7] at 0.004 s: it holds 7 more often than it was appended",
    ),
    "lost-element of a list": (
        "kv",
        [*op(1, "append", "7"), *op(1, "append", "8"), *op(2, "read", "-", "[8]")],
        "client 2 read x=[8] at 0.006 s, without 7, whose append had been acknowledged to client 1 "
        "at 0.002 s",
    ),
    "double-apply of an addition": (
        "counter",
        [*op(1, "add", "2"), *op(2, "read", "-", "4")],
        "client 2 read x=4 at 0.004 s, more than the 2 that all additions begun until then add up "
        "to, as if one had been applied twice",
    ),
    "lost-element of a text": (
        "string-map",
        [*op(1, "append", "ab"), *op(1, "append", "cd"), *op(2, "get", "-", "cd")],
        'client 2 read x="cd" at 0.006 s, without "ab", whose append had been acknowledged to '
        "client 1 at 0.002 s",
    ),
    "double-apply of a text": (
        "string-map",
        [*op(1, "append", "ab"), *op(2, "get", "-", "abab")],
        'client 2 read x="abab" at 0.004 s: it holds "ab" more often than it was appended',
    ),
    "unwritten-value of a text": (
        "string-map",
        [*op(1, "append", "ab"), *op(2, "get", "-", "abz")],
        'client 2 read x="abz" at 0.004 s, which is more than was appended until then',
    ),
    "backward-read of a text": (
        "string-map",
        ["1 invoke append ab", *op(2, "get", "-", "ab"), *op(3, "get", "-", "null"), "1 ok append"],
        'client 3 read x="" at 0.005 s, although client 2 read x="ab" at 0.003 s',
    ),
    "different-orders of a text": (
        "string-map",
        [
            "1 invoke append ab",
            "2 invoke append cd",
            "3 invoke get -",
            "4 invoke get -",
            "3 ok get abcd",
            "4 ok get cdab",
            "1 ok append",
            "2 ok append",
        ],
        'client 3 read x="abcd" at 0.005 s, client 4 read x="cdab" at 0.006 s: neither begins the '
        "other",
    ),
    "stale-read of a text": (
        "string-map",
        [*op(1, "put", "a"), *op(2, "put", "b"), *op(4, "get", "-", "a")],
        'client 4 read x="a" at 0.006 s, although x="b" had been acknowledged to client 2 at '
        '0.004 s and nobody wrote "a" again',
    ),
    "stale-initial of a text": (
        "string-map",
        [*op(1, "put", "a"), *op(4, "get", "-", "null")],
        'client 4 read x="" at 0.004 s, although x="a" had been acknowledged to client 1 at '
        '0.002 s, and nobody wrote ""',
    ),
    "two-holders": (
        "mutex",
        [*op(1, "acquire"), *op(2, "acquire")],
        "client 1: acquire x at 0.002 s, and client 2: acquire x at 0.004 s, and "
        "nobody had released it",
    ),
}


@KERNELS
@pytest.mark.parametrize("name", STORIES)
def test_the_sentence(name: str, kernel: bool) -> None:
    model, steps, sentence = STORIES[name]
    verdict = check(story(*steps), model=model, kernel=kernel)
    assert verdict.outcome == "invalid"
    assert verdict.sentence == sentence
    assert verdict.evidence is not None
    anomaly = name.split(" of ", maxsplit=1)[0].replace("stale-initial", "stale-read")
    assert verdict.evidence.anomaly == anomaly
    assert verdict.evidence.minimal


@KERNELS
def test_noise_around_the_failure_is_left_out(kernel: bool) -> None:
    model, steps, _ = STORIES["stale-read"]
    before = [
        step
        for i in range(100, 140)
        for step in (*op(6, "write", str(i)), *op(7, "read", "-", str(i)))
    ]
    after = [step for i in range(200, 240) for step in op(6, "write", str(i))]
    events = story(*before, *steps, *after)
    verdict = check(events, model=model, kernel=kernel)
    assert verdict.evidence is not None
    assert [(o.f, o.value, o.result) for o in verdict.evidence.operations if o.f == "read"] == [
        ("read", None, 7)
    ]
    assert len(verdict.evidence.operations) == 3
    assert verdict.sentence.startswith("client 4 read x=7")
    assert fails_alone(model_named(model), verdict.evidence.operations, pair(events))


LISTS_GONE_WRONG = {
    # The last read of a list in place of 1 to 60; the anomaly; how many operations show it.
    "double-apply": ([*range(1, 61), 7], 2),
    "lost-element": ([v for v in range(1, 61) if v != 30], 2),
    "unwritten-value": ([*range(1, 61), 999], 1),
    "different-orders": ([*range(1, 20), 21, 20, *range(22, 61)], 3),
}


@KERNELS
@pytest.mark.parametrize("anomaly", LISTS_GONE_WRONG)
@pytest.mark.parametrize("model", ["log", "kv"])
def test_only_the_elements_that_matter_are_shown_of_lists(
    model: str, anomaly: str, kernel: bool
) -> None:
    last, enough = LISTS_GONE_WRONG[anomaly]
    steps: list[str] = []
    for value in range(1, 61):
        steps += op(value % 5, "append", str(value))
        if value % 4 == 0:
            steps += op(8, "read", "-", str([*range(1, value + 1)]).replace(" ", ""))
    events = story(*steps, *op(9, "read", "-", str(last).replace(" ", "")))
    verdict = check(events, model=model, kernel=kernel)
    assert verdict.evidence is not None
    assert verdict.evidence.anomaly == anomaly
    assert verdict.evidence.minimal
    assert len(verdict.evidence.operations) <= enough
    assert "left out of the lists" in verdict.sentence
    assert fails_alone(model_named(model), verdict.evidence.operations, pair(events))


@KERNELS
def test_what_a_read_could_have_returned(kernel: bool) -> None:
    verdict = check(story(*STORIES["stale-read"][1]), kernel=kernel)
    assert verdict.evidence is not None
    assert verdict.evidence.could == ("client 4 read x=7 at 0.006 s; it could have returned 9",)


@KERNELS
def test_a_read_could_not_have_returned_what_was_overwritten(kernel: bool) -> None:
    steps = [
        *op(1, "write", "5"),
        *op(2, "write", "6"),
        "3 invoke write 7",
        *op(4, "read", "-", "9"),
    ]
    verdict = check(story(*steps), kernel=kernel)
    assert verdict.evidence is not None
    assert [o.f for o in verdict.evidence.operations] == ["read"]
    assert verdict.evidence.could == (
        "client 4 read x=9 at 0.007 s; it could have returned 6 or 7",
    )


@KERNELS
def test_every_answer_that_the_whole_history_allows_is_named(kernel: bool) -> None:
    """Where only one read is wrong, an enumeration determines what it could have returned."""
    model, looked = model_named("cas-register"), 0
    for seed in range(1500):
        events = history("cas-register", seed, largest=7)
        verdict = check(events, model="cas-register", kernel=kernel)
        if verdict.evidence is None or len(verdict.evidence.could) != 1:
            continue
        operations = pair(events)
        line = verdict.evidence.could[0]
        read = next(o for o in verdict.evidence.operations if line.startswith(described(o)))
        values = {o.value if o.f == "write" else o.value[1] for o in operations if o.value}
        possible = {
            shown(value)
            for value in {None, *values}
            if linearizable(
                model,
                [o._replace(result=value) if o.call == read.call else o for o in operations],
            )
        }
        if not possible:
            continue  # another operation is wrong, too
        looked += 1
        said = set(line.rsplit(" have returned ", 1)[1].split(" or "))
        assert possible <= said, (seed, line)
    assert looked > 20


@KERNELS
def test_a_chain_of_compare_and_sets_is_followed(kernel: bool) -> None:
    events = story(
        *op(1, "write", "1"),
        *op(1, "cas", "1,2"),
        *op(1, "cas", "2,3"),
        *op(2, "read", "-", "2"),
    )
    verdict = check(events, kernel=kernel)
    assert verdict.outcome == "invalid"
    assert verdict.sentence == (
        "client 2 read x=2 at 0.008 s, although x=3 had been acknowledged to client 1 at 0.006 s "
        "and nobody wrote 2 again"
    )


@KERNELS
def test_a_failed_cas_without_its_observation_may_be_in_between(kernel: bool) -> None:
    between = [
        "1 invoke write 7",
        "1 ok write 7",
        "2 invoke cas 7,9",
        *op(1, "write", "8"),
        "2 mismatch cas",
    ]
    assert check(story(*between), kernel=kernel).outcome == "valid"
    nowhere = [*op(1, "write", "7"), "2 invoke cas 7,9", "2 mismatch cas", *op(3, "read", "-", "7")]
    assert check(story(*nowhere), kernel=kernel).outcome == "invalid"


def test_verdicts_are_json_and_back() -> None:
    for model, steps, _ in STORIES.values():
        verdict = check(story(*steps), model=model)
        back = Verdict.from_json(verdict.to_json())
        assert back.sentence == verdict.sentence
        assert back.evidence == verdict.evidence
        assert back.partitions[0].weaker == verdict.partitions[0].weaker
        assert back.exit_code == 1
    nothing = dataclasses.replace(verdict, outcome="unknown", partitions=(), reason="no answer")
    assert Verdict.from_json(nothing.to_json()).sentence == nothing.sentence == "no answer"


def test_the_weaker_levels_that_a_history_meets_and_breaks() -> None:
    verdict = check(story(*STORIES["stale-read"][1]))
    assert verdict.partitions[0].weaker == (
        "it is still sequentially consistent: each client could have seen one order of all",
    )
    own = check(story(*op(1, "write", "7"), *op(1, "write", "9"), *op(1, "read", "-", "7")))
    assert own.partitions[0].weaker == (
        "it is not even sequentially consistent",
        "read your writes broken: client 1 read x=7 at 0.006 s after it had itself written 9",
    )
    back = check(
        story(
            *op(1, "write", "7"),
            *op(2, "read", "-", "7"),
            *op(2, "write", "9"),
            *op(3, "read", "-", "9"),
            *op(3, "read", "-", "7"),
        )
    )
    assert back.partitions[0].weaker[1:] == (
        "monotonic reads broken: client 3 read x=7 at 0.010 s after it had read 9",
        "writes follow reads broken: client 3 read x=7 at 0.010 s after it had read what client 2 "
        "wrote after reading that, 9",
    )
    mine = check(
        story(
            *op(1, "write", "7"),
            *op(1, "write", "9"),
            *op(3, "read", "-", "9"),
            *op(3, "read", "-", "7"),
        )
    )
    assert mine.partitions[0].weaker[2] == (
        "monotonic writes broken: client 3 read x=7 at 0.008 s after it had read what the same "
        "client 1 wrote later, 9"
    )
