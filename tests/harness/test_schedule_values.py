"""Any value in any field of a hand-written schedule: it is taken, or refused in one sentence."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faults.description import Fault
from faults.kinds import KINDS
from faults.schedule import schedule_from_json
from faults.schedule_file import GROUPS
from faults.shapes import SHAPES
from harness.errors import UsageError
from harness.run.config import RunConfig
from harness.run.feasible import check_feasible
from harness.run.run_sequence import with_schedule
from tests.faults.strategies import FIELDS

TIMES = st.sampled_from(["1us", "5ms", "1.5s", "2s"])
NODES = st.sampled_from(["leader", "all", "one", "half", "majority", "n1", "n2", 1])
LINKS = st.sampled_from(["n1>n2", "n2>n1"])
PLAIN = st.one_of(
    st.booleans(),
    st.integers(-2, 200),
    st.sampled_from([1 << 62, 1 << 64, -(1 << 64)]),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["", "a\nb", "kill", "flip", "in", *SHAPES]),
    st.just(datetime.date(2026, 1, 2)),
    st.sampled_from(["0s", "2s", "-2s", "1h", "9h", "1e3s", f"{'9' * 400}s"]),
    st.sampled_from([*GROUPS, "n9", f"n{'9' * 5000}", "n1>n1", "leader>n2", "n1>n9", ">"]),
)
ANY = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
ABSENT = object()
"""Drawn for a field that is left out."""
COMMON = {
    "nodes": NODES | st.just(["n2", "leader"]) | st.just(["n1"]),
    "at": TIMES | st.just(["1s", "6s"]),
    "for": TIMES,
}
RARE = {
    "id": st.text(max_size=5),
    "links": st.lists(LINKS, max_size=3),
    "every": TIMES,
    "from": TIMES,
    "until": TIMES,
    "times": st.integers(-1, 1 << 70),
    "release": st.lists(NODES, max_size=3),
    "colour": PLAIN,
}
RANDOM = {
    "mix": st.dictionaries(st.sampled_from(sorted(KINDS)), st.integers(0, 3), max_size=4),
    "every": TIMES,
    "shapes": st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3),
    "allow_all": st.booleans(),
}


def toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{toml(str(k))} = {toml(v)}' for k, v in value.items())} }}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, datetime.date):
        return value.isoformat()
    return str(value).lower()


def written(fields: dict[str, Any]) -> str:
    return "".join(f"{name} = {toml(v)}\n" for name, v in fields.items() if v is not ABSENT)


@st.composite
def values(draw: st.DrawFn, right: dict[str, st.SearchStrategy[Any]], ill: int) -> dict[str, Any]:
    """A value for each field: mostly one of its own, in one of `ill` cases any or none."""
    return {
        name: draw(ANY | st.just(ABSENT)) if draw(st.integers(1, ill)) == 1 else draw(strategy)
        for name, strategy in right.items()
    }


def own(kind: str) -> dict[str, st.SearchStrategy[Any]]:
    """The fields of a kind by their names in a file, with values that it may have."""
    names = {field.name for field in dataclasses.fields(KINDS[kind].fault)} - {
        field.name for field in dataclasses.fields(Fault)
    }
    known = {name: FIELDS[kind][name] for name in names & FIELDS[kind].keys() - {"cut"}}
    if "message" in known:
        known["message"] = st.sampled_from(["", "", "Accept"])
    return {
        name.removesuffix("_us"): strategy.map(lambda v: f"{v}us")
        if name.endswith("_us")
        else strategy
        for name, strategy in sorted(known.items())
    }


@st.composite
def schedules(draw: st.DrawFn, kind: str) -> str:
    """A schedule of a fault or two of this kind, and sometimes a random part."""
    text = written(draw(values({"duration": st.just("20s")}, 20)))
    for _ in range(draw(st.integers(1, 2))):
        fields = draw(values(COMMON, 12)) | draw(values(own(kind), 12))
        if draw(st.integers(1, 4)) == 1:
            more = draw(st.sampled_from(sorted(RARE)))
            fields |= draw(values({more: RARE[more]}, 3))
        text += f'[[fault]]\nkind = "{kind}"\n{written(fields)}'
    if draw(st.integers(1, 4)) == 1:
        text += f"[random]\n{written(draw(values(RANDOM, 4)))}"
    return text


def taken_or_refused(text: str, path: Path, on: str, nodes: int) -> bool:
    """Whether a run would have this schedule; else it is refused in one sentence."""
    path.write_text(text, encoding="utf-8")
    config = RunConfig.of(target="multi-paxos", on=on, nodes=nodes, time_us=30_000_000, seed=3)
    try:
        changed, schedule = with_schedule(config, path)
        check_feasible(changed, schedule)
    except UsageError as error:
        assert error.message.isprintable() and len(error.message) < 2_000
        return False
    again = schedule_from_json(json.loads(json.dumps(schedule.to_json(), allow_nan=False)))
    assert again == schedule
    return True


@pytest.mark.parametrize("kind", sorted(KINDS))
@given(st.data())
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_value_is_taken_or_refused_in_one_sentence(
    tmp_path: Path, kind: str, data: st.DataObject
) -> None:
    text = data.draw(schedules(kind))
    on = data.draw(st.sampled_from(["sim", "docker"]))
    nodes = data.draw(st.sampled_from([1, 2, 3, 5]))
    taken_or_refused(text, tmp_path / "schedule.toml", on, nodes)
