"""`antipaxos doctor` on a machine with an engine, and on one without."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from faults.kinds import KINDS, kinds_of
from harness.cli import cli
from harness.runtimes.docker.kind_checks import sample

pytestmark = pytest.mark.docker


def test_every_kind_is_tried_and_missing_ones_have_a_remedy() -> None:
    result = CliRunner().invoke(cli, ["doctor", "--json"], standalone_mode=False)
    said = json.loads(result.stdout.splitlines()[-1])
    assert result.return_value == 0 and said["ok"]
    found = {fault["kind"]: fault for fault in said["faults"]}
    assert list(found) == list(KINDS)
    for kind, fault in found.items():
        if kind in kinds_of("docker"):
            assert fault["available"] and fault["how"], fault
        else:
            assert not fault["available"] and fault["remedy"]


def test_without_an_engine_it_gives_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    result = CliRunner().invoke(cli, ["doctor", "--json"], standalone_mode=False)
    said = json.loads(result.stdout.splitlines()[-1])
    assert result.return_value == 69 and not said["ok"] and said["faults"] == []
    (broken,) = [found for found in said["machine"] if found["what"] == "containers"]
    assert "no Docker engine answers" in broken["says"] and "start Docker" in broken["says"]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_sample_of_each_kind_can_be_drawn(kind: str) -> None:
    fault = sample(kind)
    assert fault.kind == kind and fault.is_resolved
