"""Clusters of other software, in containers, under the same faults and the same checker."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from harness.run.config import RunConfig
from harness.run.run_sequence import RunResult, execute
from harness.runtimes.docker.engine import connect
from harness.runtimes.docker.images import EngineImages
from harness.targets import settings_of, target_named

pytestmark = pytest.mark.docker
DOCS = Path(__file__).parent.parent.parent / "docs" / "targets.md"


def run(store: Path, target: str, **options: Any) -> RunResult:
    settings = settings_of(target, options.pop("settings", {}))
    config = RunConfig.of(target=target, nodes=3, settings=settings, **options)
    return execute(config, store)


def test_etcd_survives_partitions_kills_pauses_and_clocks(tmp_path: Path) -> None:
    faults = ("partition", "kill", "pause", "clock")
    result = run(
        tmp_path, "etcd", faults=faults, time_us=15_000_000, seed=7, fault_gap_us=1_500_000
    )
    assert result.verdict.outcome == "valid", result.verdict.reasons
    assert {fault["kind"] for fault in result.verdict.faults} == set(faults)
    assert result.verdict.availability.outcomes["ok"] > 500
    assert result.verdict.detectors()["agreement"] == "not judged"


def test_etcd_of_another_image(tmp_path: Path) -> None:
    """Of one like those that etcd publishes: another user, no entry point, a pulled name."""
    api = connect()
    images = EngineImages(api, lambda _: None)
    etcd = target_named("etcd").image(images)
    dockerfile = f"FROM {etcd}\nUSER root\nRUN mv /usr/bin/etcd /usr/local/bin/\nENTRYPOINT []\n"
    image = images.build("antipaxos/test-etcd", dockerfile, {})
    try:
        result = run(
            tmp_path, "etcd", settings={"image": image}, faults=("kill",), time_us=4_000_000
        )
    finally:
        api.remove_image(image, force=True)
        api.close()
    assert result.verdict.outcome == "valid", result.verdict.reasons
    assert result.folder.read_json("run.json")["versions"]["image"] == image


def test_serializable_reads_of_etcd_are_found_to_be_stale(tmp_path: Path) -> None:
    for seed in range(1, 6):
        result = run(
            tmp_path,
            "etcd",
            settings={"reads": "serializable"},
            faults=("partition", "pause"),
            time_us=12_000_000,
            seed=seed,
            stop_at_first=True,
        )
        if result.verdict.outcome == "invalid":
            assert "read" in result.verdict.reasons[0]
            return
    pytest.fail("five seeds, and no stale read was found")


def test_pysyncobj_survives_the_same_faults(tmp_path: Path) -> None:
    if find_spec("pysyncobj") is None:  # importing it would replace socket.inet_ntop
        pytest.skip("pysyncobj is not installed")
    result = run(tmp_path, "pysyncobj", time_us=3_000_000, rate=100.0)
    assert result.verdict.outcome == "valid", result.verdict.reasons


def test_the_target_of_the_docs_runs_unchanged(tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(), re.M | re.S)
    path = tmp_path / "redis_replicas.py"
    path.write_text(code)
    result = run(tmp_path, str(path), settings={"reads": "primary"}, time_us=4_000_000)
    assert result.verdict.outcome == "valid", result.verdict.reasons
