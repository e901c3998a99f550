"""What commands say when they are given something that cannot be right, and what to do instead."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from faults import durations
from harness.cli import COMMANDS, cli, main
from harness.cli.options import Duration, Seconds
from harness.errors import UsageError
from harness.inject.parse_options import fault_for, time_us
from harness.suite.plan import BadSuite, read_suite
from harness.targets import settings_of, target_named
from harness.targets.interface import ClusterSpec


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says on standard error, in one line; its exit code is that of wrong usage."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == UsageError.exit_code
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "error: missing argument 'TARGET'. → antipaxos run --help"),
        (["check"], "error: missing argument 'PATHS...'. → antipaxos check --help"),
        (["sweep", "etcd"], "antipaxos run etcd, or failover with --on docker, or a suite"),
        (["mutants", "raft", "--mutant", "B11"], "raft: no mutant 'B11' → choose one of: B1"),
        (["mutants", "raft", "--mutant", "nothing"], "no mutant 'nothing' → choose one of: B1"),
        (["mutants", "raft", "--on", "dokcer"], "error: no runtime 'dokcer' → choose one of: do"),
        (["inject", "web-1", "--partition", "ring"], "no partition shape 'ring'; choose one of h"),
        (["inject", "web-1", "--delay", "50"], "not a time with a unit, such as 500ms, 30s, 2min"),
        (["suite", "none.toml"], "create it: antipaxos suite none.toml --init"),
        (["run", "raft", "--on", "sim", "--faults", "corrupt"], "error: the runtime sim has no co"),
        (["run", "raft", "--store", "pyproject.toml"], "pyproject.toml is a file, not a folder"),
        (["run", "raft", "--shapes", "links"], "no shape of partition 'links'"),
        (["run", "raft", "--time", "soon"], "a number without a unit means seconds"),
        (["check", "x", "--time-limit", "10q"], "a number without a unit means seconds"),
        (["shrink", "x", "--limit", "10q"], "a number without a unit means seconds"),
        (["compare", "--delay", "20"], "a number alone means seconds"),
        (["check", "x", "--initial", "foo"], """'foo': it is not JSON (line 1, column 1); """),
        (["check", "x", "--initial", "foo"], """a string is written '"foo"'"""),
    ],
)
def test_what_is_refused_and_what_to_do_instead(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--on", "sim"] if words[0] == "run" and "--on" not in words else []
    assert said in refused(words + where, capsys)


@pytest.mark.parametrize(
    ("target", "settings", "said"),
    [
        ("fast-paxos", {"reads": "quorum"}, "fast-paxos supports only reads=log, not reads='quo"),
        ("epaxos", {"reads": "lease"}, "reads=lease is supported by multi-paxos, flexible-paxos"),
        ("flexible-paxos", {"options": '{"q1": 4'}, "it is not JSON (line 1, column 9)"),
        ("flexible-paxos", {"options": '{"q1": 4'}, "by its own name: --set q1=VALUE"),
        ("flexible-paxos", {"options": [3]}, "the setting options is [3]: it must be an object"),
    ],
)
def test_settings_that_a_protocol_does_not_have(
    target: str, settings: dict[str, object], said: str
) -> None:
    spec = target_named(target)

    with pytest.raises(UsageError, match=re.escape(said)):
        spec.check(ClusterSpec(settings=settings))


def test_fast_rounds_can_be_turned_off_by_both_ways_to_write_it() -> None:
    assert settings_of("fast-paxos", {"fast": False}) == {"options": {"fast": False}}
    target = target_named("fast-paxos")
    assert target.settings({"options": {"fast": False}}) == {"options": {"fast": False}}
    assert target.capabilities.settings["fast"] == "true"


def test_settings_of_leases_are_listed_only_where_there_are_leases() -> None:
    for name in ("basic-paxos", "fast-paxos", "epaxos", "two-phase-commit"):
        assert not {"lease_us", "clock_drift_max_us"} & set(
            target_named(name).capabilities.settings
        )
    for name in ("multi-paxos", "flexible-paxos", "raft"):
        assert {"lease_us", "clock_drift_max_us"} <= set(target_named(name).capabilities.settings)


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("500ms", 500_000),
        ("2m", 120_000_000),
        ("2min", 120_000_000),
        (" -1.5 s ", -1_500_000),
        ("+1h", 3_600_000_000),
        ("3us", 3),
        ("3", None),
        ("3 days", None),
        ("", None),
        ("1e3s", None),
        ("9" * 400 + "h", round(durations.LONGEST_US)),
    ],
)
def test_durations_have_the_same_units_everywhere(text: str, us: int | None) -> None:
    assert durations.parse_us(text) == us
    if us is not None:
        assert time_us(text) == us
    if us is not None and 0 < us < 10**10:
        assert Duration()(text) == us
        assert Seconds(0, 1e9)(text) == us / 1e6


def test_a_number_without_a_unit_means_seconds_on_the_command_line() -> None:
    assert Duration()("3") == 3_000_000
    assert Seconds(0, 1e9)("2.5") == 2.5
    assert Seconds(0, 1e9)("1e3") == 1_000


def test_the_help_of_every_command_with_a_duration_says_how_it_is_written() -> None:
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        has_one = any(isinstance(p.type, Duration | Seconds) for p in command.params)
        told = CliRunner().invoke(cli, [name, "--help"]).output
        assert ("a number without a unit means" in told) == has_one, name


def test_an_unknown_shape_is_not_taken_for_a_lack_of_containers() -> None:
    with pytest.raises(UsageError, match="no partition shape 'ring'"):
        fault_for("partition", "p", 1, shape="ring")
    with pytest.raises(UsageError, match="the shape halves needs more than one container"):
        fault_for("partition", "p", 1, shape="halves")


def test_suites_read_minutes_in_both_forms(tmp_path: Path) -> None:

    path = tmp_path / "s.toml"
    for written in ("2m", "2min"):
        path.write_text(
            f'[suite]\nbudget = "{written}"\n[[cells]]\ntargets = ["raft"]\nseeds = 1\n'
        )
        assert read_suite(path).budget_us == 120_000_000
    path.write_text('[suite]\nbudget = "2"\n[[cells]]\ntargets = ["raft"]\nseeds = 1\n')
    with pytest.raises(BadSuite, match="line 2: budget = '2' is not a duration"):
        read_suite(path)
