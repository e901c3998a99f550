"""Histories from the tests of other checkers, with their known verdicts.

They are not part of this project: ANTIPAXOS_PEER_HISTORIES names the folder that holds them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from histories.checker import check
from histories.checker.certificate import verify
from histories.models import model_named
from histories.reader import read_history

FOLDER = os.environ.get("ANTIPAXOS_PEER_HISTORIES")
pytestmark = pytest.mark.skipif(
    not FOLDER, reason="ANTIPAXOS_PEER_HISTORIES does not name the folder of recorded histories"
)
PEERS = Path(FOLDER or ".")


def judged(path: Path, model: str, failed_cas: str | None = None) -> str:
    verdict = check(path, model=model, failed_cas=failed_cas, linearization=True)
    operations = read_history(path, failed_cas=failed_cas).operations()
    verify(model_named(model), operations, verdict)
    return verdict.outcome


def test_etcd_recorded_by_jepsen() -> None:
    lines = (PEERS / "porcupine-etcd" / "verdicts.txt").read_text().split("\n")
    known = dict(line.split() for line in lines if line)
    found = {name: judged(PEERS / "porcupine-etcd" / name, "cas-register") for name in known}
    assert len(found) > 50
    assert found == known


def test_key_value_maps_of_texts() -> None:
    paths = sorted((PEERS / "porcupine-kv").glob("*.txt"))
    found = {path.stem: judged(path, "string-map") for path in paths}
    assert found == {
        "c01-bad": "invalid",
        "c01-ok": "valid",
        "c10-bad": "invalid",
        "c10-ok": "valid",
    }


@pytest.mark.parametrize("folder,outcome", [("good", "valid"), ("bad", "invalid")])
def test_registers_of_knossos(folder: str, outcome: str) -> None:
    paths = sorted((PEERS / "knossos-cas-register" / folder).glob("*.edn"))
    assert paths
    for path in paths:
        assert judged(path, "cas-register", "ignored") == outcome, path.name


def test_the_reference_finds_the_same() -> None:
    for path in sorted((PEERS / "porcupine-etcd").glob("*.log"))[:12]:
        with_kernel, without = (check(path, model="cas-register", kernel=k) for k in (True, False))
        assert with_kernel.outcome == without.outcome, path.name
