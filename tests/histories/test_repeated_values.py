"""Long histories whose values repeat, with verdicts that are known by construction.

Some operations never return, so that a breadth-first search alone would keep every way to have used
them, and a depth-first one alone would try them all where none helps.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.repeated_values import Repeated, make
from histories.checker import check
from histories.checker.certificate import verify
from histories.checker.compiled import available
from histories.checker.evidence import fails_alone
from histories.checker.reference import partitions
from histories.formats import native
from histories.models import model_named

pytestmark = pytest.mark.skipif(not available(), reason="the kernel is not built here")

MODEL = model_named("cas-register")
SHAPES = [
    Repeated(operations, clients, stale=stale, seed=seed)
    for operations, clients in [(300, 5), (1_000, 20), (3_000, 10), (10_000, 20)]
    for stale in (None, 0.4)
    for seed in (1, 2)
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_the_verdict_is_the_known_one(tmp_path: Path, shape: Repeated) -> None:
    path = tmp_path / "h.jsonl"
    make(path, shape)
    verdict = check(path, model="cas-register", linearization=True, time_limit_s=60)
    operations = native.read(path).operations()
    if shape.stale is None:
        assert verdict.outcome == "valid"
        assert verify(MODEL, operations, verdict) > shape.operations * 0.9
        return
    assert verdict.outcome == "invalid"
    (part,) = verdict.partitions
    assert part.evidence is not None
    assert part.evidence.minimal
    assert len(part.evidence.operations) < 100
    assert fails_alone(MODEL, part.evidence.operations, partitions(operations)[part.key])


def test_the_evidence_shows_a_write_of_what_was_read(tmp_path: Path) -> None:
    """A value that was written once: without its write a reader could not see what is wrong."""
    path = tmp_path / "h.jsonl"
    make(path, Repeated(1_000, 10, unknown=0.0, stale=0.5))
    evidence = check(path, model="cas-register", time_limit_s=60).evidence
    assert evidence is not None
    written = {op.value[1] if op.f == "cas" else op.value for op in evidence.operations}
    reads = [op for op in evidence.operations if op.f == "read" and op.result is not None]
    assert reads
    assert {op.result for op in reads} <= written


def test_strings_with_many_clients_at_once(tmp_path: Path) -> None:
    """Appends of 40 clients at once, and reads that show the order of all of them: configurations
    that are not a prefix of an answer are not followed."""
    path = tmp_path / "h.jsonl"
    clients, text, lines = 40, "", []

    def event(process: int, kind: str, f: str, value: str | None) -> None:
        line = {"process": process, "type": kind, "f": f, "key": "k", "value": value}
        lines.append(json.dumps(line))

    for turn in range(10):
        for client in range(clients):
            event(client, "invoke", "append", f"{client}.{turn} ")
        for client in sorted(range(clients), key=lambda c: (c * 7 + turn) % clients):
            text += f"{client}.{turn} "
        for client in range(clients):
            event(client, "ok", "append", f"{client}.{turn} ")
        event(clients, "invoke", "get", None)
        event(clients, "ok", "get", text)
    path.write_text("\n".join(lines) + "\n")
    assert check(path, model="string-map", time_limit_s=60).outcome == "valid"
    path.write_text("\n".join(lines[:-1]) + "\n" + lines[-1].replace("39.9 ", "", 1) + "\n")
    verdict = check(path, model="string-map", time_limit_s=60)
    assert verdict.outcome == "invalid"
