"""SIGTERM and SIGHUP end every command as Ctrl-C does, from its first moment on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.terminal import as_at_a_terminal

ANTIPAXOS = [sys.executable, "-m", "antipaxos"]
WAIT_S = 120


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_sweep_says_what_it_has_done(number: signal.Signals, tmp_path: Path) -> None:
    words = ["sweep", "multi-paxos", "--seeds", "1000000", "--jobs", "2", "--store", str(tmp_path)]
    process = subprocess.Popen(
        [*ANTIPAXOS, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=as_at_a_terminal,  # noqa: PLW1509
    )
    assert process.stderr is not None
    while "of 1,000,000" not in (line := process.stderr.readline()):
        assert line, "it ended by itself"
    process.send_signal(number)
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 2 and " seeds from 0" in out
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_simulated_run_is_judged_so_far(number: signal.Signals, tmp_path: Path) -> None:
    words = ["run", "multi-paxos", "--on", "sim", "--seed", "1", "--time", "600s", "--json"]
    process = subprocess.Popen(
        [*ANTIPAXOS, *words, "--store", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=as_at_a_terminal,  # noqa: PLW1509
    )
    until = time.monotonic() + WAIT_S
    while not any(path.stat().st_size for path in tmp_path.glob("*/history.jsonl")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 2, err
    document = json.loads(out)
    assert document["verdict"] == "unknown" and document["operations"]["ok"] > 0
    assert "the run was interrupted: liveness was not checked" in document["reasons"]
    assert (
        json.loads((Path(document["folder"]) / "verdict.json").read_text())["verdict"] == "unknown"
    )
    assert "Traceback" not in err


def run_program(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=as_at_a_terminal,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_has_begun_nothing_says_so(number: signal.Signals) -> None:
    program = (
        "import os, click, harness.cli\n"
        "@click.command()\n"
        f"def waits(): os.kill(os.getpid(), {int(number)})\n"
        "harness.cli.cli.get_command = lambda *_: waits\n"
        "harness.cli.main(['waits'])\n"
    )
    done = run_program(program)
    assert done.returncode == 130, done.stderr
    assert "interrupted; nothing is left running" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_after_the_end_does_not_replace_the_exit_code(number: signal.Signals) -> None:
    program = (
        "import atexit, os, sys\n"
        f"atexit.register(os.kill, os.getpid(), {int(number)})\n"
        "from harness.start import main\n"
        "sys.argv = ['antipaxos', 'nonsense']\n"
        "main()\n"
    )
    done = run_program(program)
    assert done.returncode == 64, done.stderr
    assert "Traceback" not in done.stderr
