"""`antipaxos list` and shell completion know what there is, and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from faults.kinds import KINDS
from harness.cli import COMMANDS, cli, main
from harness.cli.listing import KINDS_OF_LISTS
from harness.run.config import RunConfig
from harness.targets import settings_of, targets


def listed(*words: str) -> list[dict[str, str]]:
    done = CliRunner().invoke(cli, ["list", *words, "--json"])
    assert done.exit_code == 0, done.output
    (rows,) = json.loads(done.output).values()
    found: list[dict[str, str]] = rows
    return found


@pytest.mark.parametrize("what", [n for n, kind in KINDS_OF_LISTS.items() if not kind.of_target])
def test_every_list_has_entries_and_fits_80_columns(what: str) -> None:
    assert listed(what)
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(cli, ["list", what])
    assert shown.exit_code == 0
    assert all(len(line) <= 80 for line in shown.output.splitlines())
    for row in listed(what):
        assert row["name"] in shown.output


DESCRIBED = [("targets",), ("faults",), ("workloads",), ("models",)]
DESCRIBED += [("settings", name) for name in sorted(targets()) if name != "pysyncobj"]


@pytest.mark.parametrize("words", DESCRIBED, ids=" ".join)
def test_every_entry_is_described_in_one_line_of_80_columns(words: tuple[str, ...]) -> None:
    rows = listed(*words)
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(cli, ["list", *words]).output.splitlines()
    assert len(shown) == len(rows) + 1 and max(map(len, shown)) <= 80
    for row in rows:
        description = list(row.values())[-1]
        assert 10 < len(description) < 60 and description.count("(") == description.count(")")
        assert not description.endswith((".", ",")) and "`" not in description


def test_every_planted_bug_says_what_it_changes_and_shows() -> None:
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(cli, ["list", "mutants", "raft"]).output
    assert max(map(len, shown.splitlines())) <= 80
    for row in listed("mutants", "raft"):
        assert row["what is changed"] and row["what it shows"]


def test_faults_say_where_they_work() -> None:
    assert {row["name"] for row in listed("faults")} == set(KINDS)
    for row in listed("faults"):
        for runtime in ("docker", "sim"):
            assert (row[runtime] == "yes") == (runtime in KINDS[row["name"]].runtimes)


@pytest.mark.parametrize("target", ["multi-paxos", "flexible-paxos", "raft", "etcd", "pysyncobj"])
def test_settings_that_are_listed_are_taken(target: str) -> None:
    for row in listed("settings", target):
        value: object = row["default"].split(" ")[0]
        if row["name"] != "reads":
            value = int(str(value)) if str(value).isdecimal() else None
        if value is not None:
            settings = settings_of(target, {row["name"]: value})
            RunConfig.of(target=target, settings=settings)


@pytest.mark.parametrize("target", sorted(targets()))
def test_mutants_that_are_listed_can_be_planted(target: str) -> None:
    names = [row["name"] for row in listed("mutants", target)]
    assert names == list(targets()[target].capabilities.mutants)


def test_a_list_that_is_not_there_or_lacks_its_target_is_refused() -> None:
    for words in (["nothing"], ["mutants"], ["settings", "paxoss"], ["faults", "raft"]):
        with pytest.raises(SystemExit) as ended:
            main(["list", *words])
        assert ended.value.code == 64


def completions(line: str) -> list[str]:
    words = line.split(" ")
    environment = {
        "_ANTIPAXOS_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "antipaxos"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    return [answer.split(",", 1)[1] for answer in done.stdout.split()]


def test_a_shell_completes_commands_targets_and_lists_of_faults() -> None:
    assert completions("antipaxos sh") == [name for name in COMMANDS if name.startswith("sh")]
    assert completions("antipaxos run mul") == ["multi-paxos"]
    assert completions("antipaxos run --faults kill,pa") == ["kill,partition", "kill,pause"]
    assert completions("antipaxos list set") == ["settings"]
    assert completions("antipaxos list settings flex") == ["flexible-paxos"]
    assert completions("antipaxos mutants raft multi-p") == ["multi-paxos"]
    assert completions("antipaxos failover raft etc") == ["etcd"]


def test_planted_bugs_and_settings_are_completed_for_the_target_on_the_line() -> None:
    assert completions("antipaxos run raft --mutant R1") == ["R1", "R10", "R11", "R12"]
    assert completions("antipaxos run multi-paxos --mutant R1") == []
    assert completions("antipaxos mutants raft --mutant R12") == ["R12"]
    assert completions("antipaxos run etcd --set ele") == ["election_ms="]
    assert completions("antipaxos sweep raft --set snap") == ["snapshot_every="]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_script_for_bash_is_one() -> None:
    done = CliRunner().invoke(cli, ["completion", "bash"])
    assert done.exit_code == 0 and "_ANTIPAXOS_COMPLETE" in done.output
    subprocess.run(["bash", "-n"], input=done.output, text=True, check=True)
    assert isinstance(cli, click.Group)
