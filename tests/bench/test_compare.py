"""The comparison of the protocols: every cell on a small setting, the output, and bad input."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.bench.compare import (
    adversary,
    collisions,
    cost,
    latency,
    livelock,
    quorums,
    regions,
    survival,
)
from harness.bench.compare.clusters import simulate
from harness.bench.compare.columns import COLUMNS
from harness.bench.compare.latency import fit
from harness.bench.compare.markdown import markdown
from harness.bench.compare.result import Figure, Row, Section
from harness.bench.compare.script import Program, Script, Sleep
from harness.bench.compare.settings import Settings
from harness.bench.compare.table import Comparison, cells_named, compare
from harness.bench.compare.text import WIDTH, lines_of
from harness.bench.compare.theory import EXPECTED, Expectation
from harness.cli.compare import compare_command
from harness.errors import UnknownChoice, UsageError

SMALL = Settings(nodes=3, delay_us=10_000)


def measured(section: Section, row: str) -> dict[str, float | None]:
    found = next(r for r in section.rows if r.id == row)
    return {target: figure.measured for target, figure in found.figures.items()}


# ------------------------------------------------------------------------------- latency and cost


def test_a_line_through_latencies_leaves_the_overhead_out() -> None:
    line = fit([(10, 47), (20, 87), (40, 167)])
    assert line.slope == pytest.approx(4) and line.intercept_us == pytest.approx(7)


def test_latencies_are_whole_numbers_of_one_way_delays() -> None:
    section = latency.measure(Settings(nodes=5, delay_us=10_000))
    away, beside = measured(section, "latency.write"), measured(section, "latency.write-beside")
    assert away == {c.target: 6 if c.target == "basic-paxos" else 4 for c in COLUMNS}
    assert beside == {c.target: 2 if c.target in ("fast-paxos", "epaxos") else 4 for c in COLUMNS}
    for row in section.rows:
        if row.unit == "one-way delays":
            assert all(figure.agrees for figure in row.figures.values()), row.id


@pytest.fixture(scope="module")
def latencies() -> Section:
    return latency.measure(SMALL)


def test_each_kind_of_read(latencies: Section) -> None:
    section = latencies
    with_leases = {"multi-paxos": 2.0, "flexible-paxos": 2.0, "raft": 2.0}
    assert measured(section, "latency.read-lease") == with_leases
    assert measured(section, "latency.read-quorum") == {
        "multi-paxos": 4.0,
        "flexible-paxos": 2.0,  # of three nodes one decides: the leader
        "raft": 4.0,
    }
    assert measured(section, "latency.read-local") == {"two-phase-commit": 2.0}
    assert "two-phase-commit" not in measured(section, "latency.read-log")


def test_fsyncs_in_a_row_and_the_one_that_differs_says_why(latencies: Section) -> None:
    section = latencies
    assert measured(section, "latency.fsyncs") == {
        "basic-paxos": 3,
        "multi-paxos": 1,
        "flexible-paxos": 1,
        "fast-paxos": 1,
        "epaxos": 3,
        "raft": 1,
        "two-phase-commit": 2,
    }
    ((row, target, figure),) = section.disagreements()
    assert (row.id, target) == ("latency.fsyncs", "epaxos") and figure.to_json()["why"]


def test_messages_and_fsyncs_of_one_operation_without_the_background() -> None:
    settings = Settings(nodes=3, delay_us=10_000)
    section = cost.measure(settings)
    others = settings.nodes - 1
    assert measured(section, "cost.write") == {
        "basic-paxos": 5 * others,
        "multi-paxos": 3 * others,
        "flexible-paxos": 3 * others,
        "fast-paxos": 4 * others,
        "epaxos": 3 * others,
        "raft": 2 * others,
        "two-phase-commit": 4 * others,
    }
    fsyncs = measured(section, "cost.fsyncs")
    assert (fsyncs["multi-paxos"], fsyncs["basic-paxos"], fsyncs["two-phase-commit"]) == (3, 6, 5)
    types = {(row[0], row[1]): row[2] for row in section.details[0].rows}
    assert types["Raft", "messages, write"] == "2 Append, 2 Appended"
    background = {row[0]: row[1] for row in section.details[1].rows}
    assert background["Multi-Paxos"] == "2 Heartbeat, 2 HeartbeatAck"


# ------------------------------------------------------------------------------- quorums


def test_the_smallest_sets_of_four_and_of_seven_acceptors() -> None:
    four = quorums.measure(Settings(nodes=4, delay_us=10_000))
    assert measured(four, "quorums.decide") == {
        "basic-paxos": 3,
        "multi-paxos": 3,
        "flexible-paxos": 2,
        "fast-paxos": 3,
        "epaxos": 3,
        "raft": 3,
        "two-phase-commit": 4,
    }
    seven = quorums.measure(
        Settings(nodes=7, delay_us=10_000, protocols=("fast-paxos", "epaxos", "flexible-paxos"))
    )
    assert measured(seven, "quorums.fast") == {"fast-paxos": 6, "epaxos": 5}
    elect = {"flexible-paxos": 5, "fast-paxos": 4, "epaxos": 4}
    assert measured(seven, "quorums.elect") == elect
    assert not four.disagreements() and not seven.disagreements()


# ------------------------------------------------------------------------------- livelock


BASIC = Settings(nodes=3, delay_us=10_000, protocols=("basic-paxos",))


def test_a_proposer_that_is_alone_needs_one_ballot_and_duels_need_more() -> None:
    (column,) = BASIC.columns
    alone = livelock.duels(BASIC, column, 1, backoff=False, trials=3)
    assert (alone.ballots_each, alone.share_undecided) == (1, 0)
    patient = livelock.duels(BASIC, column, 3, backoff=True, trials=8)
    hasty = livelock.duels(BASIC, column, 3, backoff=False, trials=8)
    assert patient.share_undecided == 0 and 1 < (patient.ballots_each or 0) < 8
    assert hasty.ballots > 3 * patient.ballots


def test_the_adversary_keeps_a_slot_undecided_and_loses_nothing() -> None:
    (column,) = BASIC.columns
    game = adversary.play(BASIC, column, ballots=60)
    assert (game.decided, game.after) == (0, 1)
    assert game.held_us_max < game.lasted_us / 4  # every message arrived, after a bounded wait
    longer = adversary.play(BASIC, column, ballots=120)
    assert longer.decided == 0 and longer.lasted_us > game.lasted_us


def test_without_basic_paxos_there_are_no_duels() -> None:
    section = livelock.measure(Settings(nodes=3, protocols=("raft",)))
    assert not section.rows and not section.details


# ------------------------------------------------------------------------------- collisions


def test_conflicts_make_the_fast_path_rarer_and_answers_later() -> None:
    settings = Settings(nodes=5, delay_us=10_000, protocols=("fast-paxos", "epaxos"))
    for column in settings.columns:
        alone = collisions.run_of(settings, column, 0, commands=30)
        pairs = collisions.run_of(settings, column, 100, commands=30)
        assert alone.fast_share == 100 and (pairs.fast_share or 0) < 90
        assert alone.missing == pairs.missing == 0
        assert len(alone.answers_us) == 30 and len(pairs.answers_us) >= 30
        assert max(pairs.answers_us) > max(alone.answers_us)


def test_an_epaxos_command_commits_before_it_is_answered_and_other_keys_do_not_conflict() -> None:
    settings = Settings(nodes=5, delay_us=10_000, protocols=("epaxos",))
    (column,) = settings.columns
    run = collisions.run_of(settings, column, 100, commands=30)
    assert len(run.commits_us) == len(run.answers_us)
    assert sum(run.commits_us) < sum(run.answers_us)
    apart = collisions.run_of(settings, column, 100, commands=30, same_key=False)
    assert apart.fast_share == 100


# ------------------------------------------------------------------------------- regions


def test_distances_and_the_best_place_for_a_leader() -> None:
    assert regions.rtt_us("Tokyo", "Ireland") == regions.rtt_us("Ireland", "Tokyo") == 212_000
    assert regions.nearest_us("Ireland", 3) == 137_000
    assert (regions.best_leader(2), regions.best_leader(3)) == ("Oregon", "California")


def test_latencies_over_the_world_are_what_the_distances_say() -> None:
    settings = Settings(protocols=("multi-paxos", "flexible-paxos", "epaxos"))
    expected_ms = {
        "multi-paxos": {"California": 72, "Ireland": 225, "Tokyo": 175},
        "flexible-paxos": {"California": 38, "Ireland": 156, "Tokyo": 108},
        "epaxos": {"California": 72, "Ireland": 137, "Tokyo": 103},
    }
    for column in settings.columns:
        found = regions.latencies_us(settings, column)
        for region, ms in expected_ms[column.target].items():
            assert found[region] == pytest.approx(1000 * ms, abs=1000), (column.target, region)


def test_epaxos_is_slower_when_everybody_wants_one_key() -> None:
    settings = Settings(protocols=("epaxos",))
    (column,) = settings.columns
    apart, together = (regions.loaded_us(settings, column, share) for share in (0, 100))
    assert len(apart) == len(together) == 600
    assert sum(together) > 2 * sum(apart)


def test_where_two_lines_cross() -> None:
    flat = [(0, 10.0), (50, 10.0), (100, 10.0)]
    assert regions.crossing([(0, 5.0), (50, 7.5), (100, 12.5)], flat) == 75
    assert regions.crossing([(0, 5.0), (50, 5.0), (100, 5.0)], flat) is None
    assert regions.crossing(flat, [(0, 5.0), (50, 5.0), (100, 5.0)]) == 0


# ------------------------------------------------------------------------------- survival


def test_what_five_nodes_survive() -> None:
    section = survival.measure(Settings(nodes=5, delay_us=10_000))
    paxos = dict.fromkeys((c.target for c in COLUMNS), 2)
    any_dies = paxos | {"flexible-paxos": 1, "two-phase-commit": 0}
    assert measured(section, "survival.write-any") == any_dies
    spared = paxos | {"flexible-paxos": 3, "two-phase-commit": 0}
    assert measured(section, "survival.write-spared") == spared
    assert measured(section, "survival.read-any") == any_dies | {"two-phase-commit": 4}
    blocked = measured(section, "survival.mid-write")
    assert blocked.pop("two-phase-commit") is None
    assert all(waited is not None and waited <= 2 for waited in blocked.values())
    assert not section.disagreements()


# ------------------------------------------------------------------------------- programs


def test_what_a_program_raises_ends_the_run_and_is_raised_again() -> None:
    settings = Settings(nodes=3, delay_us=10_000, protocols=("raft",))

    def program(_: Script) -> Program:
        yield Sleep(1)
        raise ValueError("no")

    def waits(_: Script) -> Program:
        yield Sleep(10**12)

    with pytest.raises(ValueError, match="no"):
        simulate(settings, settings.columns[0], program, waits, link_us=10_000)


# ------------------------------------------------------------------------------- what it comes to


def test_a_figure_disagrees_beyond_its_tolerance_only() -> None:
    four = Expectation(4, "a paper", "a reason")
    assert Figure(measured=4.25, expected=four, tolerance=0.25).agrees
    wrong = Figure(measured=4.3, expected=four, tolerance=0.25)
    assert wrong.agrees is False and wrong.to_json()["why"] == "a reason"
    assert Figure(measured=None, expected=four).agrees is False
    assert Figure(measured=4.0).agrees is None
    assert Figure(measured=1.0, expected=Expectation(2, "a paper", at_most=True)).agrees
    assert Figure(measured=None, expected=Expectation(None, "a paper")).agrees
    assert Figure(measured=9.0, expected=Expectation(None, "a paper")).agrees is False


def test_every_expected_value_has_a_source() -> None:
    for row, columns in EXPECTED.items():
        for target, expectation in columns.items():
            assert expectation(5).source, (row, target)


def test_the_same_comparison_twice_is_the_same() -> None:
    settings = Settings(nodes=3, delay_us=10_000, protocols=("multi-paxos", "epaxos"))
    cells = ("latency", "cost", "quorums", "survival")
    assert compare(settings, cells).to_json() == compare(settings, cells).to_json()


def test_the_table_fits_a_terminal_and_marks_what_disagrees(latencies: Section) -> None:
    lines = lines_of(Comparison(settings=SMALL, sections=[latencies]).to_json())
    assert max(map(len, lines)) <= WIDTH
    (fsyncs,) = (line for line in lines if line.startswith("fsyncs in a row"))
    assert "3≠1" in fsyncs and "1/1" in fsyncs


def test_the_command_writes_json_csv_and_a_page(tmp_path: Path) -> None:
    arguments = ["--nodes", "3", "--delay", "10ms", "--cells", "cost", "--out", str(tmp_path)]
    done = CliRunner().invoke(compare_command, [*arguments, "--protocols", "raft,epaxos"])
    assert done.exit_code == 0, done.output
    document = json.loads((tmp_path / "compare.json").read_text())
    assert [p["target"] for p in document["protocols"]] == ["epaxos", "raft"]
    with (tmp_path / "compare.csv").open() as file:
        rows = list(csv.DictReader(file))
    (raft,) = (r for r in rows if (r["row"], r["protocol"]) == ("cost.write", "raft"))
    assert (raft["measured"], raft["expected"], raft["agrees"]) == ("4.0", "4", "True")
    page = (tmp_path / "compare.html").read_text()
    assert "Consensus protocols compared" in page and "cost.write" in page


def test_a_label_that_is_too_long_for_the_text_is_in_full_on_the_page() -> None:
    row = Row(id="x", label="short", title="a longer label, in ms", unit="ms", figures={})
    assert row.to_json()["label"] == "short" and row.to_json()["title"] == "a longer label, in ms"
    assert Row(id="x", label="short", unit="ms", figures={}).to_json()["title"] == "short"
    section = Section(id="x", title="X", text=(), rows=(row,))
    document = Comparison(settings=SMALL, sections=[section]).to_json()
    assert "| a longer label, in ms |" in markdown(document, "antipaxos compare")


def test_the_page_of_the_docs_comes_from_the_same_document() -> None:
    arguments = ["--nodes", "3", "--delay", "10ms", "--cells", "cost", "--markdown"]
    done = CliRunner().invoke(compare_command, [*arguments, "--protocols", "raft,multi-paxos"])
    assert done.exit_code == 0
    text = done.stdout
    assert text.startswith("# The protocols compared")
    assert "`antipaxos compare --nodes 3 --delay 10000us --protocols" in text
    assert "| messages, write | 6/6 | 4/4 |" in text
    assert "| `cost` | Messages and fsyncs of one operation |" in text
    assert all(len(line) <= 100 for line in text.splitlines() if line[:1] not in ("|", "M"))
    assert "## Where the expected values are from" in text


# ------------------------------------------------------------------------------- bad input


def test_what_makes_no_sense_is_refused_in_a_sentence() -> None:
    with pytest.raises(UsageError, match="needs 3 to 9 nodes, not 2"):
        Settings(nodes=2)
    with pytest.raises(UsageError, match="delay must be 1 ms to 1 s, not -5 ms"):
        Settings(delay_us=-5_000)
    with pytest.raises(UnknownChoice, match="no protocol 'paxos'"):
        Settings(protocols=("paxos",))
    with pytest.raises(UnknownChoice, match="no cell 'speed'"):
        compare(SMALL, ("speed",))
    with pytest.raises(UsageError, match="livelock is measured in the simulator only"):
        compare(Settings(on="docker"), ("livelock",))
    with pytest.raises(UnknownChoice, match="no runtime 'cloud'"):
        Settings(on="cloud")


def test_containers_are_asked_for_the_cells_that_they_can_measure() -> None:
    measured = ("latency", "cost", "quorums", "collisions", "regions", "survival")
    assert cells_named((), "docker") == measured
    assert cells_named(("cost", "latency")) == ("latency", "cost")


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_measured() -> None:
    words = ["--cells", "latency", "--protocols", "raft", "--out", "/proc/none"]
    done = CliRunner().invoke(compare_command, words)
    assert isinstance(done.exception, UsageError) and "measuring" not in done.output


def test_the_command_refuses_a_negative_delay() -> None:
    done = CliRunner().invoke(compare_command, ["--delay", "-5ms"])
    assert done.exit_code != 0 and "duration" in done.output
