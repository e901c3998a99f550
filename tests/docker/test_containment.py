"""What a node that runs wild, or a disk that is full, can do: nothing to the machine, and no run
that goes on without being recorded."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from harness.run.config import RunConfig
from harness.runtimes.docker.engine import LABEL, LABEL_ROLE
from harness.runtimes.docker.runtime import DockerRuntime
from tests.docker.conftest import OWN_RUNS, leftovers
from tests.docker.test_interruptions import ANTIPAXOS

pytestmark = pytest.mark.docker

ROUTES = "import pathlib; print(pathlib.Path('/proc/net/route').read_text())"
WRITES = """
import pathlib
for folder in ("/data", "/tmp", "/", "/opt/antipaxos", "/etc", "/var"):
    try:
        pathlib.Path(folder, "x").write_text("x")
    except OSError as error:
        print(folder, error.strerror)
"""
RUN_ID = "containment"


@pytest.fixture
def runtime() -> Iterator[DockerRuntime]:
    OWN_RUNS.add(RUN_ID)
    made = DockerRuntime(RunConfig.of(target="multi-paxos", nodes=3), RUN_ID)
    try:
        made.open()
        yield made
    finally:
        made.close()


def executed(api: docker.APIClient, container: str, program: str) -> str:
    made = api.exec_create(container, ["python3", "-c", program], user="10001:10001")
    return str(api.exec_start(made["Id"]).decode())


def test_containers_are_confined(api: docker.APIClient, runtime: DockerRuntime) -> None:
    wanted = {"label": [f"{LABEL}={RUN_ID}", f"{LABEL_ROLE}=node"]}
    found = [c["Id"] for c in api.containers(filters=wanted)]
    assert len(found) == 3
    for container in found:
        said = api.inspect_container(container)
        assert said["Config"]["Healthcheck"] == {"Test": ["NONE"]}
        host = said["HostConfig"]
        assert host["ReadonlyRootfs"] and host["Memory"] == 2 << 30 and host["PidsLimit"] == 2048
        refused = executed(api, container, WRITES).splitlines()
        folders = ("/", "/opt/antipaxos", "/etc", "/var")
        assert refused == [f"{folder} Read-only file system" for folder in folders]
        lines = executed(api, container, ROUTES).splitlines()
        routes = [line.split()[1] for line in lines[1:] if line.strip()]
        assert routes and "00000000" not in routes  # the pods' own network, and no way out of it
    # Clients reach the nodes all the same.
    assert all(runtime.status(node) is not None for node in (1, 2, 3))


@pytest.mark.skipif(os.getuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_ends_the_run_in_a_sentence(api: docker.APIClient, tmp_path: Path) -> None:
    store = tmp_path / "full"
    store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192k", "none", str(store)], check=True)
    try:
        words = ["run", "multi-paxos", "--nodes", "3", "--time", "10m", "--rate", "1000"]
        before = time.monotonic()
        done = subprocess.run(
            [*ANTIPAXOS, *words, "--faults", "none", "--store", str(store), "--json"],
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
        assert done.returncode == 71, done.stderr
        assert "No space left on device" in done.stderr and "--store" not in done.stdout
        assert "Traceback" not in done.stderr and "Exception" not in done.stderr
        assert time.monotonic() - before < 390, "it ended when the disk was full, not the run"
        assert not leftovers(api, store)
        checked = subprocess.run(
            [*ANTIPAXOS, "check", str(next(store.iterdir()))],
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 2, checked.stdout + checked.stderr
    finally:
        subprocess.run(["umount", str(store)], check=True)
