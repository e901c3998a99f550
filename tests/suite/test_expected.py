"""Accepted failures in a suite's file that match no failure of a night."""

from __future__ import annotations

import datetime
import tomllib
from pathlib import Path

import pytest

from harness.suite import plan
from harness.suite.findings import Finding, unmatched
from harness.suite.plan import Expected
from tests.suite.plans import run_night, suite

UNTIL = datetime.date(2030, 1, 31)


def expected(signature: str) -> Expected:
    return Expected(signature=signature, reason="why", until=UNTIL)


@pytest.mark.parametrize(
    ("signature", "why"),
    [
        ("raft:linearizability:stale read", "no such kind of evidence; kinds have hyphens: stale-"),
        ("raft:linearizability:stale-read", "it matched no failure of this night"),
        ("etcd@quay.io/etcd:v3.5:linearizability:stale-read", "it matched no failure of this"),
        ("raft:crash:KeyError in on_prepare", "it matched no failure of this night"),
        ("raft:liveliness:stale-read", "it is not TARGET:DETECTOR:KIND"),
        ("raft", "it is not TARGET:DETECTOR:KIND"),
    ],
)
def test_an_entry_without_a_failure_is_named(signature: str, why: str) -> None:
    (said,) = unmatched([expected(signature)], [])
    assert said.startswith(f"[[expected]] {signature}: ") and why in said


def test_an_entry_with_a_failure_is_not() -> None:
    found = Finding(
        signature="raft:linearizability:stale-read",
        subject="raft",
        detector="linearizability",
        kind="stale-read",
    )
    assert unmatched([expected(found.signature)], [found]) == []


def test_the_template_shows_a_signature_as_it_is_printed() -> None:
    text = plan.example()
    start = text.index("# [[expected]]")
    commented = text[start : text.index("[findings]", start)]
    lines = [line.removeprefix("# ") for line in commented.splitlines()]
    (entry,) = tomllib.loads("\n".join(lines))["expected"]
    assert unmatched([expected(entry["signature"])], [])[0].endswith("failure is corrected")


def test_a_night_prints_a_note(tmp_path: Path) -> None:
    text = """
[suite]
store = "nights"
[[cells]]
targets = ["raft"]
seeds = [1]
time = "500ms"
[[expected]]
signature = "raft:linearizability:stale read"
reason = "why"
until = 2030-01-31
"""
    _, finished = run_night(suite(tmp_path, text), "one")
    assert any("kinds have hyphens" in problem for problem in finished.problems)
    assert finished.outcome == "valid"
