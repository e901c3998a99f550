"""Invalid options are refused at the entry, with the choices; configurations round-trip as JSON."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click import Context
from click.testing import CliRunner

from harness.cli import COMMANDS, cli, main
from harness.cli.options import Duration, Names, Setting
from harness.errors import UsageError
from harness.run.config import RunConfig
from harness.run.engine import again, schedule_for


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"target": "paxoss"}, "multi-paxos"),
        ({"mutant": "M99"}, "M5"),
        ({"faults": ("earthquake",)}, "partition"),
        ({"workload": "chess"}, "kv"),
        ({"on": "moon"}, "docker"),
        ({"transport": "pigeon"}, "udp"),
        ({"nodes": 0}, "nodes"),
        ({"nodes": 1000}, "nodes"),
        ({"learners": 5}, "votes"),
        ({"time_us": 0}, "time"),
        ({"time_us": -5}, "time"),
        ({"concurrency": 0}, "concurrency"),
        ({"rate": 0.0}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"keys": 0}, "keys"),
        ({"settings": {"heartbeat_us": -1}}, "heartbeat_us"),
        ({"settings": {"no_such_thing": 1}}, "no_such_thing"),
    ],
)
def test_invalid_options_are_refused_and_the_choices_are_named(
    settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        RunConfig.of(**({"target": "multi-paxos"} | settings))


def test_an_even_cluster_is_accepted_with_a_note() -> None:
    assert "4 voters tolerate 1" in RunConfig.of(target="multi-paxos", nodes=4).remarks()[0]
    assert not RunConfig.of(target="multi-paxos", nodes=5).remarks()


def test_json_and_back() -> None:
    config = RunConfig.of(
        target="multi-paxos",
        faults=("kill", "clock"),
        shapes=("halves",),
        seed=4,
        settings={"reads": "quorum"},
    )
    assert RunConfig.from_json(config.to_json()) == config
    with pytest.raises(UsageError, match="colour"):
        RunConfig.from_json(config.to_json() | {"colour": "red"})


def test_the_command_to_run_it_again_gives_the_same_configuration() -> None:
    config = RunConfig.of(
        target="multi-paxos",
        nodes=3,
        faults=("kill", "clock"),
        time_us=4_500_000,
        rate=50.0,
        seed=11,
        mutant="M5",
        allow_all=True,
        fault_gap_us=700_000,
        settings={"reads": "quorum"},
    )
    words = shlex.split(again(config))
    assert words[:3] == ["antipaxos", "run", "multi-paxos"]
    run = cli.get_command(Context(cli), "run")
    assert run is not None
    given = run.make_context("run", words[2:]).params
    assert given["time_us"] == config.time_us and given["fault_gap_us"] == 700_000
    assert given["faults"] == config.faults.kinds and given["mutant"] == "M5"
    assert dict(given["settings"]) == config.cluster.settings and given["allow_all"] is True


def test_the_same_seed_draws_the_same_schedule() -> None:
    config = RunConfig.of(target="multi-paxos", faults=("kill", "partition"), seed=3)
    assert schedule_for(config) == schedule_for(config)
    assert schedule_for(config).faults


@pytest.mark.parametrize(
    ("text", "micros"),
    [("30s", 30_000_000), ("500ms", 500_000), ("2m", 120_000_000), ("3", 3_000_000)],
)
def test_durations(text: str, micros: int) -> None:
    assert Duration()(text) == micros


def test_lists_and_settings() -> None:
    assert Names()("kill, pause") == ("kill", "pause") and Names()("none") == ()
    assert Setting()("reads=quorum") == ("reads", "quorum")
    assert Setting()("snapshot_every=5") == ("snapshot_every", 5)


@pytest.mark.parametrize(
    "words",
    [
        ["run", "multi-paxos", "--time", "soon"],
        ["run", "multi-paxos", "--seed", "seven"],
        ["run", "multi-paxos", "--on", "sim", "--faults", "none,kill"],
        ["run", "multi-paxos", "--on", "sim", "--rate", "inf"],
        ["check", "--initial", "{", "pyproject.toml"],
        ["check", "--initial", '["a"', "pyproject.toml"],
        ["run"],
        ["run", "nonsense", "--on", "sim"],
        ["mutants", "nonsense"],
        ["sweep", "multi-paxos", "--seeds", "0"],
        ["fly"],
    ],
)
def test_wrong_usage_has_its_own_exit_code(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == UsageError.exit_code


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_a_help_text(command: str) -> None:
    shown = CliRunner().invoke(cli, [command, "--help"])
    assert shown.exit_code == 0 and len(shown.output.splitlines()) > 5


def test_the_list_of_commands_matches_their_help_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, where in COMMANDS.items():
        command = cli.get_command(Context(cli), name)
        assert command is not None
        assert command.name == name
        assert command.get_short_help_str(500) == where.help
    assert cli.get_command(Context(cli), "none") is None


def test_check_imports_neither_engines_nor_simulators() -> None:
    script = (
        "import sys, harness.cli, harness.cli.check; "
        "print([m for m in sys.modules if m.split('.')[0] in ('docker', 'node_image', 'faults')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_nothing_but_a_verdict_has_an_exit_code_below_64(tmp_path: Path) -> None:
    missing = str(tmp_path / "nothing")
    for words in (["check", missing], ["replay", missing], ["shrink", missing], ["show", missing]):
        done = subprocess.run(
            [sys.executable, "-m", "antipaxos", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 64, (words, done.returncode, done.stderr)
        assert "Traceback" not in done.stderr


def test_a_closed_pipe_is_not_a_verdict(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    path.write_text("")
    process = subprocess.Popen(
        [sys.executable, "-m", "antipaxos", "check", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=60) >= 64
    assert process.stderr is not None and b"Traceback" not in process.stderr.read()
    process.stderr.close()
