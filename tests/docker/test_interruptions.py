"""The controller is stopped or killed, or has no engine to work with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest

from harness.errors import StartError
from harness.run.config import RunConfig
from harness.runtimes.docker.engine import LABEL, LABEL_NODE, LABEL_ROLE, labels
from harness.runtimes.docker.runtime import DockerRuntime
from harness.runtimes.docker.start_guard import StartGuard
from tests.docker.conftest import OWN_RUNS, leftovers
from tests.terminal import as_at_a_terminal

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
        preexec_fn=as_at_a_terminal,  # noqa: PLW1509
    )


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {WAIT_S:g} s: {what}"
        time.sleep(0.05)


def history_of(store: Path) -> Path:
    """The history of the only run, once a fault has been injected in it."""
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


def test_clean_does_not_remove_a_run_in_progress(tmp_path: Path, api: docker.APIClient) -> None:
    process = start(
        tmp_path, "--time", "60s", "--fault-gap", "1s", "--faults", "partition", "--json"
    )
    history_of(tmp_path)
    clean = [*ANTIPAXOS, "clean"]
    subprocess.run(clean, capture_output=True, text=True, check=True)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 2, err
    assert json.loads(out)["operations"]["ok"] > 0
    assert not leftovers(api, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_heals_judges_and_removes(
    tmp_path: Path, api: docker.APIClient, number: signal.Signals
) -> None:
    process = start(tmp_path, "--time", "60s", "--fault-gap", "1s", "--json")
    history = history_of(tmp_path)
    process.send_signal(number)
    out, err = process.communicate(timeout=WAIT_S)
    result = json.loads(out)
    assert process.returncode == 2, err
    assert result["verdict"] == "unknown" and result["detectors"]["linearizability"] == "valid"
    assert any("interrupted" in reason for reason in result["reasons"])
    assert not leftovers(api, tmp_path)
    assert json.loads(history.read_text().splitlines()[-1])["interrupted"] is True


def test_three_quick_signals_leave_nothing_either(tmp_path: Path, api: docker.APIClient) -> None:
    process = start(tmp_path, "--time", "60s", "--fault-gap", "1s", "--json")
    history_of(tmp_path)
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.15)
    process.communicate(timeout=WAIT_S)
    assert not leftovers(api, tmp_path)


def test_kill_9_of_the_controller_leaves_nothing(tmp_path: Path, api: docker.APIClient) -> None:
    process = start(tmp_path, "--time", "60s", "--fault-gap", "1s", "--faults", "partition,pause")
    history = history_of(tmp_path)
    (run_id,) = {c["Labels"][LABEL] for c in containers(api, tmp_path)}
    process.kill()
    process.communicate(timeout=WAIT_S)
    wanted = {"label": f"{LABEL}={run_id}"}
    until(lambda: not api.containers(all=True, filters=wanted), "the reaper removed the containers")
    until(lambda: not api.networks(filters=wanted), "the reaper removed the network")
    until(lambda: not api.volumes(filters=wanted)["Volumes"], "the reaper removed the volumes")
    for line in history.read_text().splitlines():
        json.loads(line)  # complete up to the last event
    code, judged = check(history.parent)
    assert code == 2 and judged["verdict"] == "unknown"


def volumes(api: docker.APIClient, run_id: str) -> list[dict[str, Any]]:
    return list(api.volumes(filters={"label": f"{LABEL}={run_id}"})["Volumes"] or ())


def test_a_controller_that_dies_before_its_reaper_is_there_leaves_nothing(
    api: docker.APIClient,
) -> None:
    run_id = f"guarded-{os.getpid()}"
    OWN_RUNS.add(run_id)
    program = (
        "import os, signal\n"
        "from harness.runtimes.docker.engine import connect, labels\n"
        "from harness.runtimes.docker.start_guard import StartGuard\n"
        f"guard = StartGuard({run_id!r})\n"
        f"connect().create_volume({run_id!r}, labels=labels({run_id!r}, 'data'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    until(lambda: not volumes(api, run_id), "the volume is gone")


def test_a_guard_that_is_dismissed_removes_nothing(api: docker.APIClient) -> None:
    run_id = f"dismissed-{os.getpid()}"
    OWN_RUNS.add(run_id)
    guard = StartGuard(run_id)
    api.create_volume(run_id, labels=labels(run_id, "data"))
    try:
        guard.dismiss()
        guard.dismiss()
        assert volumes(api, run_id)
    finally:
        api.remove_volume(run_id)


def containers(api: docker.APIClient, store: Path) -> list[dict[str, Any]]:
    """The containers of the only run that is recorded in `store`."""
    (run,) = store.glob("*/run.json")
    run_id = json.loads(run.read_text())["id"]
    return list(api.containers(all=True, filters={"label": f"{LABEL}={run_id}"}))


def one(api: docker.APIClient, store: Path, role: str, node: int) -> str:
    for found in containers(api, store):
        if (found["Labels"][LABEL_ROLE], found["Labels"].get(LABEL_NODE)) == (role, str(node)):
            return str(found["Id"])
    raise AssertionError(f"no {role} {node}")


def answering(store: Path) -> None:
    """Wait until clients have been answered."""
    until(
        lambda: any(p.read_text().count('"type":"ok"') > 20 for p in store.glob("*/history.jsonl")),
        "some answers",
    )


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("segfault", 1, "n2 ended (SIGSEGV) without any fault"),
        ("stop", 2, "n2 was stopped by interference from outside"),
        ("pause", 2, "n2 was paused by interference from outside"),
        ("remove", 2, "n2 was removed by interference from outside"),
        ("agent", 2, "the agent of n2 ended"),
    ],
)
def test_unexpected_ends_and_interference_are_findings(
    tmp_path: Path, api: docker.APIClient, what: str, code: int, words: str
) -> None:
    process = start(tmp_path, "--time", "6s", "--faults", "none", "--json")
    answering(tmp_path)
    node = one(api, tmp_path, "node", 2)
    if what == "segfault":
        pid = api.inspect_container(node)["State"]["Pid"]
        os.kill(pid, signal.SIGSEGV)
    elif what == "stop":
        os.kill(api.inspect_container(node)["State"]["Pid"], signal.SIGSTOP)
    elif what == "pause":
        api.pause(node)
        time.sleep(0.5)
        api.unpause(node)
    elif what == "remove":
        api.remove_container(node, force=True)
    else:
        api.kill(one(api, tmp_path, "agent", 2))
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == code, out + err
    assert "Traceback" not in err
    assert any(words in reason for reason in json.loads(out)["reasons"]), out
    judged_again, _ = check(next(tmp_path.glob("*/history.jsonl")).parent)
    assert judged_again == code
    assert not leftovers(api, tmp_path)


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


MUTE = """
from harness.targets.interface import NodeSpec
from harness.targets.paxos_family import PaxosTarget

class Mute(PaxosTarget):
    def node(self, node, addresses, cluster, seed):
        return NodeSpec(command=("not a configuration",))

TARGETS = (Mute("multi-paxos"),)
"""


def test_a_node_that_never_becomes_ready_shows_its_last_lines(tmp_path: Path) -> None:
    path = tmp_path / "mute.py"
    path.write_text(MUTE)
    runtime = DockerRuntime(RunConfig.of(target=str(path), nodes=3, on="docker"), "mute-nodes")
    try:
        with pytest.raises(StartError, match="not a configuration") as failed:
            runtime.open()
    finally:
        runtime.close()
    assert failed.value.exit_code >= 64 and "last lines" in str(failed.value)


def test_settings_that_the_protocol_refuses_are_refused_before_anything_starts(
    tmp_path: Path,
) -> None:
    process = start(tmp_path, "--set", "reads=telepathy")
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 64, out + err
    assert "telepathy" in err and not list(tmp_path.iterdir())


def test_a_missing_engine_is_reported_in_one_sentence(tmp_path: Path) -> None:
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
    if done.returncode == 127 and "shared libraries" in done.stderr:
        pytest.skip("another user may not read this interpreter's library")
    assert done.returncode == 69, done.stderr
    assert "group docker" in done.stderr
