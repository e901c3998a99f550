"""Output in a terminal: it fits, it is complete, and text from outside is only text."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli import main
from harness.report.bins import Bins, sparkline
from harness.report.explanation import explain_run
from harness.report.fault_bands import FaultBand
from harness.report.run_report import RunData, load
from harness.report.text import fault_rows, show_run
from histories.folder import RunFolder
from histories.text import one_line, printable
from tests.report.folders import operation, recorded, simulated, written
from tests.report.hostile import HOSTILE, hostile_folder

Printer = Callable[[RunData, Console], None]


def printed(act: Printer, folder: RunFolder) -> str:
    """The output for a terminal of 80 columns, escapes included."""
    out = io.StringIO()
    act(load(folder), Console(file=out, width=80, force_terminal=True, color_system="standard"))
    return out.getvalue()


def plain(act: Printer, folder: RunFolder) -> str:
    out = io.StringIO()
    act(load(folder), Console(file=out, width=80))
    return out.getvalue()


def test_the_summary_fits_80_columns(tmp_path: Path) -> None:
    text = plain(show_run, simulated(tmp_path))
    commands = ("folder", "check", "explain", "replay", "run", "shrink")
    lines = [line for line in text.splitlines() if not line.startswith(commands)]
    assert max(map(len, lines)) <= 80
    assert "answers/s" in text and "p99 latency" in text and "├" in text
    assert "verdict  valid" in text


def test_show_prints_a_recorded_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = recorded("multi-paxos-M2", tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["show", str(folder.path)])
    assert ended.value.code == 0
    assert "verdict  invalid" in capsys.readouterr().out


def test_an_explanation_names_the_operations_that_cannot_follow(tmp_path: Path) -> None:
    text = plain(explain_run, recorded("multi-paxos-M2", tmp_path))
    assert "cannot follow" in text
    assert "├1" in text and "process" in text
    assert "the story" in text


def test_an_explanation_of_disagreeing_replicas_has_their_records(tmp_path: Path) -> None:
    text = plain(explain_run, recorded("multi-paxos-M9", tmp_path))
    assert "slot 3  ballot 1.3" in text and "slot 3  ballot 2.4" in text


def test_a_valid_run_is_explained_by_what_it_did_not_test(tmp_path: Path) -> None:
    text = plain(explain_run, simulated(tmp_path, faults=()))
    assert "what was not tested" in text and "the leader never changed" in text


@pytest.mark.parametrize("act", [show_run, explain_run])
def test_hostile_texts_are_printed_as_text(tmp_path: Path, act: Printer) -> None:
    text = printed(act, hostile_folder(tmp_path))
    for escape in ("\x1b]0;", "\x1b[2J", "\x9b", "\u202e", "\x07"):
        assert escape not in text
    shown = plain(act, hostile_folder(tmp_path)).replace("\n", "").replace(" ", "")
    assert "PLANTED" in shown and "[boldred][link=" in shown and "\\x1b[2J" in shown


def test_printable_escapes_control_characters() -> None:
    assert printable(HOSTILE).isprintable() or "\n" in HOSTILE
    assert printable("a\x1b[2Jb\u202ec") == "a\\x1b[2Jb\\u202ec"
    assert one_line("a\nb\tc", 10) == "a⏎b c"
    assert one_line("abcdefgh", 4) == "abc…"


def test_sparklines_have_one_character_per_value() -> None:
    assert sparkline((0.0, 5.0, None, 10.0)) == "▁▅ █"
    assert sparkline((0.0, 0.0)) == "▁▁"


def test_faults_that_overlap_get_rows_of_their_own() -> None:
    bins = Bins(start_us=0, width_us=10.0, rate=(0.0,) * 10, p50_us=(), p99_us=(), unanswered=())

    def band(name: str, from_us: int, to_us: int | None) -> FaultBand:
        common = {"id": name, "kind": "kill", "what": name, "effect": "down"}
        return FaultBand(**common, nodes=(1,), links=(), asked_us=from_us, healed_us=to_us)

    rows, left_out = fault_rows([band("a", 0, 35), band("b", 20, 55), band("c", 60, None)], bins)
    assert rows == ["├a─┤  ├c─┤", "  ├b─┤"]
    assert left_out == 0


def test_check_prints_hostile_texts_as_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = HOSTILE.replace("\ud83d", "")
    events = [
        *operation(0, 0, 0, "write", bad, bad),
        *operation(2, 1, 10, "write", bad, bad + "2"),
        *operation(4, 0, 20, "read", bad, None, bad),
    ]
    judged = written(tmp_path, "judged", events, run={"format": 1, "model": "kv"})
    for folder, code in ((judged, 1), (hostile_folder(tmp_path), 64)):
        with pytest.raises(SystemExit) as ended:
            main(["check", str(folder.path)])
        said = capsys.readouterr()
        assert ended.value.code == code
        assert "PLANTED" in said.out + said.err
        for escape in ("\x1b]0;", "\x1b[2J", "\x9b", "\u202e", "\x07"):
            assert escape not in said.out + said.err
