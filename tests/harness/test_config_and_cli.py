"""Invalid options are refused at the entry, with the choices; configurations round-trip as JSON."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click import Context
from click.testing import CliRunner

from harness.cli import COMMANDS, cli, main
from harness.cli.options import Duration, Names, Setting
from harness.errors import UsageError
from harness.run.config import RunConfig
from harness.run.limits import JOBS_MAX
from harness.run.run_sequence import again, duration, schedule_for


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
        ["run", "multi-paxos", "--on", "sim", "--set", "snapshot_every=x"],
        ["run", "multi-paxos", "--on", "sim", "--store", "pyproject.toml"],
        ["sweep", "multi-paxos", "--store", "/proc/nothing"],
        ["failover", "raft", "--on", "sim", "--out", "pyproject.toml"],
        ["failover", "raft", "--on", "sim", "--baseline", "pyproject.toml"],
        ["shrink", "x", "--limit", "nan"],
        ["replay", "x", "--times", "0"],
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


SCHEDULE = """
duration = "8s"
[[fault]]
kind = "kill"
nodes = "n1"
at = "1s"
for = "2s"
"""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "raft", "--faults", ""], "'': give names, separated by commas, or none"),
        (["run", "raft", "--faults", ",,"], "',,': give names, separated by commas, or none"),
        (["sweep", "raft", "--faults", ""], "give names, separated by commas, or none"),
        (["run", "raft", "--mutant", "M5", "--mutant", "M3"], "--mutant was given 2 times"),
        (["run", "raft", "--shapes", "isolate", "--faults", "kill"], "--shapes is for partitions"),
        (["run", "raft", "--schedule", "{}", "--shapes", "isolate"], "--shapes is for faults that"),
        (["run", "raft", "--schedule", "{}", "--fault-gap", "1s"], "--fault-gap is for faults"),
        (["run", "raft", "--schedule", "{}", "--allow-all"], "--allow-all is for faults that"),
        (["run", "raft", "--schedule", "{}", "--time", "10m"], "lasts 8s, and --time is 600s"),
        (["run", "raft", "--time", "1us"], "no fault of the kinds partition, kill, pause, clock"),
        (["run", "raft", "--time", "1ms"], "no fault of the kinds partition, kill, pause, clock"),
        (["compare", "--protocols", "none"], "--protocols none: then there is nothing to measure"),
        (["compare", "--cells", "none"], "--cells none: then there is nothing to measure"),
        (["compare", "--json", "--markdown"], "--json and --markdown both say what is printed"),
    ],
)
def test_no_option_is_ignored_in_silence(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "schedule.toml"
    path.write_text(SCHEDULE)
    where = ["--on", "sim", "--store", str(tmp_path / "runs")] if words[0] == "run" else []
    with pytest.raises(SystemExit) as ended:
        main([word.format(path) for word in words] + where)
    assert ended.value.code == UsageError.exit_code
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())


def test_a_kind_that_the_seed_does_not_draw_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In so short a run there is time for two faults of the group that takes nodes down."""
    words = ["run", "raft", "--on", "sim", "--nodes", "3", "--time", "100ms"]
    with pytest.raises(SystemExit):
        main(
            [
                *words,
                "--faults",
                "kill,pause,power,partition",
                "--seed",
                "0",
                "--store",
                str(tmp_path),
            ]
        )
    assert {fault["kind"] for fault in _faults(tmp_path)} == {"kill", "partition", "power"}
    assert "note: this seed draws no pause" in " ".join(capsys.readouterr().err.split())


def _faults(store: Path) -> list[dict[str, Any]]:
    (path,) = store.glob("*/schedule.json")
    return list(json.loads(path.read_text())["faults"])


def test_a_store_that_looks_like_an_option_is_shown_so_that_it_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["run", "raft", "--on", "sim", "--store", "-x", "--time", "300ms", "--faults", "none"])
    (check,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("check"))
    assert f"antipaxos check {tmp_path}/-x/" in check


@pytest.mark.parametrize("us", [1, 2, 999, 1_000, 1_500_000, 30_000_000, 604_800_000_000])
def test_a_printed_duration_is_read_as_the_same(us: int) -> None:
    assert Duration()(duration(us)) == us


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        *(("--rate", value, "from 0.001 to 100,000") for value in ("inf", "nan", "0", "-1", "1e9")),
        ("--keys", "100000000", "from 1 to 10,000"),
        ("--concurrency", "100000000", "from 1 to 100,000"),
        ("--nodes", "0", "from 1 to 64"),
        ("--nodes", "100", "from 1 to 64"),
        ("--nodes", "3.5", "from 1 to 64"),
        *(("--time", value, "from 1us to 168h") for value in ("0", "1y", "inf", "9" * 30 + "h")),
    ],
)
@pytest.mark.parametrize("command", ["run", "sweep"])
def test_a_value_out_of_range_is_refused_in_a_sentence(
    command: str, option: str, value: str, allowed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "multi-paxos", option, value])
    assert ended.value.code == UsageError.exit_code
    told = capsys.readouterr().err.splitlines()
    assert option in told[0] and repr(value) in told[0] and allowed in told[0]
    assert told[1:] == [f"→ antipaxos {command} --help"]


def test_jobs_are_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("sweep", "mutants"):
        with pytest.raises(SystemExit) as ended:
            main([command, "multi-paxos", "--jobs", "5000"])
        assert ended.value.code == UsageError.exit_code
        assert f"from 1 to {JOBS_MAX}" in capsys.readouterr().err


NONSENSE = ("[]", "{", '{"config": 3}', "[" * 200_000, "\xff")


@pytest.mark.parametrize("text", NONSENSE)
@pytest.mark.parametrize("name", ["run.json", "schedule.json", "verdict.json", "history.jsonl"])
@pytest.mark.parametrize("command", ["check", "replay", "shrink", "show", "explain"])
def test_a_document_of_a_run_that_is_nonsense_is_refused_in_words(
    command: str, name: str, text: str, simulated: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(simulated, folder)
    (folder / name).write_bytes(text.encode("latin-1"))
    arguments = [command, str(folder)]
    if command in ("replay", "shrink"):
        arguments += ["--store", str(tmp_path / "runs")]
    done = CliRunner().invoke(click.Command("x", callback=lambda: main(arguments)))
    said = done.output
    assert done.exit_code in (0, 1, 2, 64), said
    if name == "run.json":
        assert done.exit_code == 64 and name in said
    for word in ("Traceback", "Errno", "codec", "Expecting", "NoneType", "attribute", "recursion"):
        assert word not in said


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short simulated run."""
    store = tmp_path_factory.mktemp("runs")
    options = ["--on", "sim", "--nodes", "3", "--time", "1s", "--seed", "1", "--store", str(store)]
    with pytest.raises(SystemExit):
        main(["run", "multi-paxos", *options])
    (folder,) = store.iterdir()
    return folder


def test_a_configuration_of_wrong_types_is_refused_by_name() -> None:
    good = RunConfig.of(target="multi-paxos").to_json()
    for part, name, value in (
        ("traffic", "rate", "x"),
        ("traffic", "keys", [1]),
        ("cluster", "nodes", "3"),
        ("cluster", "mutant", 5),
        ("faults", "kinds", 5),
        ("faults", "allow_all", "no"),
    ):
        changed = good | {part: good[part] | {name: value}}
        with pytest.raises(UsageError, match=name):
            RunConfig.from_json(changed)
    for part in ("traffic", "cluster", "faults", "world"):
        with pytest.raises(UsageError, match=part):
            RunConfig.from_json(good | {part: 5})
    for document in (None, [], 5, {}):
        with pytest.raises(UsageError, match="configuration"):
            RunConfig.from_json(document)


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
