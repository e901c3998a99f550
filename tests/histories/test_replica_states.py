"""Digests of replicas' states: comparing them, and reading them from a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from histories.agreement import check_agreement, check_folder
from histories.errors import BadHistory
from histories.folder import RunFolder
from histories.replica_states import LINE_BYTES_MAX, StateDigest, compare, read_states

LOG = {1: [{"slot": 1, "ballot": [1, 1], "commands": []}]}


def test_equal_digests_of_nodes_and_lives_agree() -> None:
    one = [StateDigest(128, "aa", 1), StateDigest(140, "bb", 1), StateDigest(128, "aa", 2)]
    found = compare({1: one, 2: [StateDigest(256, "cc", 1), StateDigest(140, "bb", 3)]})
    assert found.slots == 2 and not found.divergences


def test_two_digests_of_one_slot_are_a_finding_with_both() -> None:
    states = {
        1: [StateDigest(256, "cc", 1), StateDigest(128, "aa", 1), StateDigest(384, "ff", 1)],
        3: [StateDigest(128, "aa", 1), StateDigest(256, "dd", 2), StateDigest(384, "ee", 2)],
    }
    verdict = check_agreement(LOG, states=states)
    assert verdict.outcome == "invalid" and verdict.found == 1, "the first one of two nodes"
    (finding,) = verdict.findings
    assert (finding.kind, finding.slot, finding.nodes) == ("state-divergence", 256, (1, 3))
    assert finding.sentence == (
        "state after slot 256 differs: digest cc on node 1 in life 1, dd on node 3 in life 2"
    )
    assert finding.to_json()["states"] == [
        {"node": 1, "life": 1, "digest": "cc"},
        {"node": 3, "life": 2, "digest": "dd"},
    ]
    assert verdict.to_json()["states"] == verdict.states == 3


def test_one_node_may_disagree_with_itself() -> None:
    states = {2: [StateDigest(40, "aa", 1), StateDigest(40, "bb", 2)]}
    (finding,) = check_agreement(LOG, states=states).findings
    assert finding.nodes == (2,) and "in life 1, bb on node 2 in life 2" in finding.sentence


def test_every_node_that_differs_from_the_first_is_named() -> None:
    states = {n: [StateDigest(9, digest, 1)] for n, digest in ((1, "aa"), (2, "bb"), (3, "cc"))}
    findings = check_agreement(LOG, states=states).findings
    assert [finding.nodes for finding in findings] == [(1, 2), (1, 3)]


def test_sets_of_instances_are_compared_by_name() -> None:
    states = {
        1: [StateDigest("3,1,0", "aa")],
        2: [StateDigest("3,1,0", "bb"), StateDigest(3, "cc")],
    }
    (finding,) = check_agreement(LOG, states=states).findings
    assert finding.sentence.startswith("state after the set 3,1,0 differs: digest aa on node 1, ")


def folder_with(tmp_path: Path, *lines: Any) -> RunFolder:
    folder = RunFolder.create(tmp_path, "run")
    for node, (_, path) in enumerate([(n, folder.node_decided(n)) for n in (1, 2)], 1):
        path.write_text(json.dumps(LOG[1][0]) + "\n")
        text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
        (folder.nodes / f"n{node}.states.jsonl").write_text(text)
    return folder


def test_a_torn_last_line_is_noted_and_left_out(tmp_path: Path) -> None:
    line = {"time": 5, "life": 2, "slot": 128, "digest": "aa"}
    folder = folder_with(tmp_path, line, '{"slot":256,"dig')
    notes: list[str] = []
    path = dict(folder.state_files())[2]
    assert list(read_states(path, notes)) == [StateDigest(128, "aa", 2)]
    assert notes == ["n2.states.jsonl: line 2 is cut off in the middle"]
    found = check_folder(folder)
    assert found is not None and found.outcome == "valid" and found.states == 1


@pytest.mark.parametrize(
    "line",
    [
        "5\n",
        "\n",
        '{"slot":true,"digest":"aa"}\n',
        '{"slot":1.5,"digest":"aa"}\n',
        '{"slot":1,"digest":7}\n',
        '{"slot":1,"digest":"\\u001b[2J"}\n',
        '{"slot":1,"digest":""}\n',
        '{"slot":1,"digest":"aa","life":"2"}\n',
        '{"slot":"' + "x" * 2000 + '","digest":"aa"}\n',
        "[" * 4000 + "\n",
        "x" * (LINE_BYTES_MAX + 1),
    ],
)
def test_a_line_that_tells_no_digest_is_an_error_that_names_it(tmp_path: Path, line: str) -> None:
    folder = folder_with(tmp_path, {"slot": 1, "digest": "aa"}, line, {"slot": 2, "digest": "aa"})
    with pytest.raises(BadHistory, match="2"):
        check_folder(folder)
