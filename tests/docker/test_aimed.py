"""Aimed faults in containers: at a message, an answer, an election, a line of a log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from faults.kinds.aimed import Aimed
from tests.docker.test_fault_kinds import MS, SECOND, found, run

pytestmark = pytest.mark.docker


def aimed(identity: str, start_us: int, duration_us: int = 2_500 * MS, **fields: Any) -> Aimed:
    return Aimed(id=identity, start_us=start_us, duration_us=duration_us, **fields)


def test_each_trigger_affects_the_node_that_reaches_it(tmp_path: Path) -> None:
    """The line in the log is one that a node writes when it starts: it appears when the killed node
    has been started again."""
    result = run(
        tmp_path,
        [
            aimed("line", 100 * MS, nodes=(), moment="log-line", text='"ready"', action="pause"),
            aimed(
                "accept",
                200 * MS,
                1_200 * MS,
                nodes=(),
                moment="after-send",
                message="Accept",
                action="kill",
                count=3,
                hold_us=300 * MS,
            ),
            aimed("reply", 3_200 * MS, nodes=("leader",), moment="before-reply", action="isolate"),
            aimed(
                "never",
                3_300 * MS,
                nodes=(),
                moment="after-send",
                message="Accept",
                action="kill",
                count=1_000_000,
            ),
            aimed("elected", 3 * SECOND, nodes=(), moment="elected", action="pause"),
        ],
        7 * SECOND,
    )
    assert result.verdict.outcome == "valid", result.verdict.reasons
    faults = found(result)
    accept = faults["accept"]["inject"]["evidence"]
    assert accept["struck"] and accept["action"] == "kill" and accept["seen"] >= 3
    assert accept["struck_after_us"] < SECOND
    released = faults["accept"]["heal"]["evidence"][f"n{accept['node']}"]
    assert released["pid"] > 0, "after hold_us, and told at the end"
    line = faults["line"]["inject"]["evidence"]
    assert line["struck"] and line["node"] == accept["node"]
    assert faults["reply"]["inject"]["evidence"]["struck"]
    assert faults["never"]["inject"]["evidence"] == {"struck": False}
    elected = faults["elected"]["inject"]["evidence"]
    assert elected["struck"] and elected["node"] != faults["reply"]["inject"]["evidence"]["node"]
