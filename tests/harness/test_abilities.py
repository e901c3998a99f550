"""What an engine cannot have is refused before anything is started, in one sentence: against an
engine that answers as Podman, cgroup v2, other processors and old versions do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.kinds import kinds_of
from harness.cli import main
from harness.errors import EngineError, UsageError
from harness.runtimes.docker.abilities import NOBODY, Abilities, abilities_of, require_kinds
from harness.runtimes.docker.engine import connect
from harness.runtimes.docker.kind_checks import try_all
from tests.harness.fake_engine import EngineHandler, EngineServer, serving

DOCKER = {"Name": "Engine", "Version": "24.0.7"}
PODMAN = {"Name": "Podman Engine", "Version": "4.3.1"}
LIMITS = {"slow-cpu", "memory"}
DISKS = {"power", "slow-disk", "disk-stall", "disk-full", "disk-damage"}
CLOCKS = {"clock", "drift", "strobe", "monotonic"}


class FakeEngine(EngineServer):
    """Says what it is, and does nothing. `asked` has every request."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), _Handler)
        self.version: dict[str, Any] = {
            "ApiVersion": "1.43",
            "Version": "24.0.7",
            "Components": [DOCKER],
        }
        self.info: dict[str, Any] = {
            "Architecture": "x86_64",
            "CgroupVersion": "2",
            "CgroupDriver": "systemd",
            "CpuCfsQuota": True,
            "MemoryLimit": True,
            "OSType": "linux",
        }
        self.updates = True
        self.asked: list[str] = []


class _Handler(EngineHandler):
    server: FakeEngine

    def do_GET(self) -> None:  # noqa: N802
        path = "/" + self.path.rpartition("/")[2]
        self.server.asked.append(path)
        known = {"/version": self.server.version, "/info": self.server.info, "/_ping": "OK"}
        self.answer(200 if path in known else 404, known.get(path, {"message": "Not Found"}))

    def do_POST(self) -> None:  # noqa: N802
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(self.path.partition("/containers")[2])
        said = f"No such container: {NOBODY}" if self.server.updates else "Not Found"
        self.answer(404, {"message": said})


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    with serving(FakeEngine(tmp_path / "engine.sock"), monkeypatch) as made:
        yield made


def abilities() -> Abilities:
    api = connect()
    try:
        return abilities_of(api)
    finally:
        api.close()


@pytest.mark.parametrize("processor", ["x86_64", "aarch64", "arm64"])
def test_docker_with_cgroup_v2_can_have_everything(engine: FakeEngine, processor: str) -> None:
    engine.info["Architecture"] = processor
    found = abilities()
    assert not found.lacking
    assert str(found).endswith("cgroup v2") and found.processor in ("x86_64", "aarch64")
    require_kinds(found, kinds_of("docker"))


@pytest.mark.parametrize(
    ("version", "info", "updates", "lacking"),
    [
        ({"Components": [PODMAN]}, {"Architecture": "amd64"}, False, DISKS | LIMITS),
        ({"Components": [PODMAN]}, {}, True, DISKS),
        ({}, {"MemoryLimit": False}, True, {"memory"}),
        ({}, {"CgroupDriver": "none", "MemoryLimit": False, "CpuCfsQuota": False}, True, LIMITS),
        ({}, {"Architecture": "riscv64"}, True, CLOCKS),
        ({"Components": 5}, {"Architecture": ["\x1b[2J" * 100]}, True, CLOCKS),
    ],
    ids=["podman 4", "podman 5", "no memory group", "no groups", "riscv64", "nonsense"],
)  # fmt: skip
def test_what_it_cannot_have_is_named_with_the_reason(
    engine: FakeEngine,
    version: dict[str, Any],
    info: dict[str, Any],
    updates: bool,
    lacking: set[str],
) -> None:
    engine.version |= version
    engine.info |= info
    engine.updates = updates
    found = abilities()
    assert set(found.lacking) == lacking
    for kind in kinds_of("docker"):
        if kind not in lacking:
            require_kinds(found, [kind])
            continue
        with pytest.raises(UsageError, match=f"cannot have {kind} faults: ") as refused:
            require_kinds(found, ["kill", kind])
        assert "\n" not in refused.value.message and refused.value.message.isprintable()
        assert len(refused.value.message) < 250 and "--on sim" in refused.value.remedy


@pytest.mark.parametrize(
    ("version", "info", "words"),
    [
        ({"ApiVersion": "1.40"}, {}, "1.41 is needed"),
        ({}, {"OSType": "windows"}, "nodes need Linux"),
    ],
)
def test_an_engine_that_no_run_can_use_is_refused(
    engine: FakeEngine, version: dict[str, Any], info: dict[str, Any], words: str
) -> None:
    engine.version |= version
    engine.info |= info
    with pytest.raises(EngineError, match=words):
        abilities()


def test_systemd_s_control_groups_take_slices_only(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTIPAXOS_CGROUP_PARENT", "/runs")
    with pytest.raises(EngineError, match="the name of a slice only"):
        abilities()
    monkeypatch.setenv("ANTIPAXOS_CGROUP_PARENT", "antipaxos.slice")
    abilities()
    engine.info["CgroupDriver"] = "cgroupfs"
    monkeypatch.setenv("ANTIPAXOS_CGROUP_PARENT", "/runs")
    abilities()


def test_a_run_is_refused_before_anything_is_asked_of_the_engine(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.version["Components"] = [PODMAN]
    with pytest.raises(SystemExit) as ended:
        store = str(tmp_path / "runs")
        main(["run", "multi-paxos", "--faults", "kill,power", "--on", "docker", "--store", store])
    assert ended.value.code == UsageError.exit_code
    assert "this engine cannot have power faults: on Podman" in capsys.readouterr().err
    assert set(engine.asked) <= {"/version", "/info", "/_ping", f"/{NOBODY}/update"}
    assert not list(tmp_path.glob("runs/*"))


def test_doctor_does_not_try_what_the_engine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, ...]] = []

    class NoCluster:
        def __init__(self, *_: object, faults: tuple[str, ...], **__: object) -> None:
            tried.append(faults)
            raise EngineError("not here")

    monkeypatch.setattr("harness.runtimes.docker.kind_checks.Cluster", NoCluster)
    with pytest.raises(EngineError, match="not here"):
        list(try_all(None, {}, lacking=dict.fromkeys(DISKS, "no")))  # type: ignore[arg-type]
    (faults,) = tried
    assert "kill" in faults and not DISKS & set(faults)
