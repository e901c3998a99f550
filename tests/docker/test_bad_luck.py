"""What happens when the controller is stopped, or killed, or has nothing to work with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from harness.errors import StartError
from harness.run.config import RunConfig
from harness.runtimes.docker.engine import LABEL, LABEL_ROLE
from harness.runtimes.docker.runtime import DockerRuntime
from harness.targets import NodeImage
from tests.docker.conftest import leftovers

pytestmark = pytest.mark.docker

ANTIPAXOS = [sys.executable, "-c", "from harness.cli import main; main()"]
WAIT_S = 60.0


def start(store: Path, *options: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    words = ["run", "multi-paxos", "--nodes", "3", "--seed", "1", "--store", str(store), *options]
    return subprocess.Popen(
        [*ANTIPAXOS, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | (env or {}),
    )


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {WAIT_S:g} s: {what}"
        time.sleep(0.05)


def history_of(store: Path) -> Path:
    """The history of the only run, once a fault has been carried out in it."""
    found: list[Path] = []

    def has_fault() -> bool:
        found[:] = store.glob("*/history.jsonl")
        return bool(found) and '"f":"inject"' in found[0].read_text()

    until(has_fault, "a fault in the history")
    return found[0]


def check(path: Path) -> tuple[int, dict[str, object]]:
    done = subprocess.run(
        [*ANTIPAXOS, "check", str(path), "--json"], capture_output=True, text=True, check=False
    )
    return done.returncode, json.loads(done.stdout)


def test_clean_spares_a_run_that_goes_on(tmp_path: Path, api: docker.APIClient) -> None:
    process = start(
        tmp_path, "--time", "60s", "--fault-gap", "1s", "--faults", "partition", "--json"
    )
    history_of(tmp_path)
    clean = [*ANTIPAXOS, "clean"]
    subprocess.run(clean, capture_output=True, text=True, check=True)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    assert json.loads(out)["operations"]["ok"] > 0
    assert not leftovers(api)


def test_ctrl_c_heals_judges_and_removes(tmp_path: Path, api: docker.APIClient) -> None:
    process = start(tmp_path, "--time", "60s", "--fault-gap", "1s", "--json")
    history = history_of(tmp_path)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=WAIT_S)
    result = json.loads(out)
    assert process.returncode == 0, err
    assert result["verdict"] == "valid" and result["detectors"]["liveness"] == "unknown"
    assert not leftovers(api)
    assert json.loads(history.read_text().splitlines()[-1])["interrupted"] is True


def test_kill_9_of_the_controller(tmp_path: Path, api: docker.APIClient) -> None:
    process = start(tmp_path, "--time", "60s", "--fault-gap", "1s", "--faults", "partition,pause")
    history = history_of(tmp_path)
    process.kill()
    process.communicate(timeout=WAIT_S)

    wanted = {"label": [LABEL, f"{LABEL_ROLE}=agent"]}
    agents = [c["Id"] for c in api.containers(filters=wanted)]
    assert len(agents) == 3
    until(
        lambda: all(b'"healed"' in api.logs(a, stdout=False) for a in agents), "the agents healed"
    )
    for line in history.read_text().splitlines():
        json.loads(line)  # whole up to the last event

    code, judged = check(history.parent)
    assert code == 0 and judged["verdict"] == "valid"

    cleaned = subprocess.run([*ANTIPAXOS, "clean"], capture_output=True, text=True, check=False)
    assert cleaned.returncode == 0 and "things removed" in cleaned.stdout
    assert not leftovers(api)


def test_a_corrupt_history_is_an_error_with_its_line(tmp_path: Path) -> None:
    process = start(tmp_path, "--time", "1s", "--faults", "none", "--json")
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    history = Path(json.loads(out)["folder"]) / "history.jsonl"
    lines = history.read_text().splitlines()
    lines[10] = lines[10][:20]
    history.write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [*ANTIPAXOS, "check", str(history.parent)], capture_output=True, text=True, check=False
    )
    assert done.returncode not in (0, 1, 2)
    assert "11" in done.stderr and "history.jsonl" in done.stderr


class Mute(NodeImage):
    """Nodes that are told nonsense, and end at once."""

    def command(self, settings: dict[str, object]) -> list[str]:
        return ["not a configuration"]


def test_a_node_that_never_becomes_ready_shows_its_last_words() -> None:
    config = RunConfig.of(target="multi-paxos", nodes=3, on="docker")
    runtime = DockerRuntime(config, "mute-nodes", target=Mute())
    try:
        with pytest.raises(StartError, match="not a configuration") as failed:
            runtime.open()
    finally:
        runtime.close()
    assert failed.value.exit_code >= 64 and "last words" in str(failed.value)


def test_settings_that_the_protocol_refuses_are_refused_before_anything_starts(
    tmp_path: Path,
) -> None:
    process = start(tmp_path, "--set", "reads=telepathy")
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 64, out + err
    assert "telepathy" in err and not list(tmp_path.iterdir())


def test_no_engine_is_one_clear_sentence(tmp_path: Path) -> None:
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/no.sock"}
    process = start(tmp_path, "--on", "docker", env=nowhere)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 69
    assert "no Docker engine answers" in err and "--on sim" in err


def test_no_permission_on_the_socket_says_what_to_do(tmp_path: Path) -> None:
    if os.geteuid() == 0 and not os.access("/usr/bin/setpriv", os.X_OK):
        pytest.skip("needs setpriv to become another user")
    someone = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    done = subprocess.run(
        [*someone, sys.executable, "-c", "from harness.cli import main; main(['clean'])"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )
    if "Permission denied" in done.stderr and "python" in done.stderr.split(":")[0]:
        pytest.skip("another user may not read this interpreter")
    assert done.returncode == 69, done.stderr
    assert "group docker" in done.stderr
