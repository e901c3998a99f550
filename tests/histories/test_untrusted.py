"""What comes from outside: bounded, real JSON, and harmless when it is displayed."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from histories.agreement import check_folder, read_decided
from histories.errors import BadFolder, BadHistory
from histories.events import Event
from histories.folder import RunFolder
from histories.text import one_line, printable, quoted
from histories.untrusted import Malformed, lines, parse, parse_object

GOOD = {"time": 1, "slot": 1, "ballot": [1, 2], "commands": [[1, 1, "write", "k0", 5]]}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"NaN", "NaN is not JSON"),
        (b'{"a":[-Infinity]}', "Infinity is not JSON"),
        (b"1e999", "too large"),
        (b"\xff", "byte 1 is not UTF-8"),
        (b"\0" * 1000, "is not JSON"),
        (b"[" * 200_000, "nested more than"),
        (b"[" * 150 + b"]" * 150, "nested more than"),
        (b'{"a":' * 150 + b"1" + b"}" * 150, "nested more than"),
        (b"9" * 5000, "is not JSON"),
        (b" " * (4 << 20) + b"11", "is longer than"),
    ],
)
def test_what_is_not_json_is_refused_in_one_short_line(data: bytes, words: str) -> None:
    with pytest.raises(Malformed, match=words) as caught:
        parse(data)
    assert len(str(caught.value)) < 200 and str(caught.value).isprintable()


def test_what_is_json_is_taken_as_it_is() -> None:
    value = {"a": [1, 2.5, None, True, "\ud83d", {"b": "[[["}], "big": 10**40}
    assert parse(json.dumps(value)) == value
    with pytest.raises(Malformed, match="64 bits"):
        parse(json.dumps(value), bounded=True)
    with pytest.raises(Malformed, match="not a JSON object"):
        parse_object("5")


@pytest.mark.parametrize(
    "value",
    ["\x1b[2J\x07" * 10_000, b"\0" * 10**7, list(range(10**6)), {"\u202e": "\x9b"}, 10**5000],
    ids=["escapes", "zeros", "list", "object", "number"],
)
def test_a_quoted_value_is_short_and_harmless(value: Any) -> None:
    assert len(quoted(value)) <= 80 and quoted(value).isprintable()


def test_an_object_that_cannot_be_written_is_quoted_by_its_type() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert "Rude" in quoted(Rude())


def test_text_for_a_terminal_obeys_nothing() -> None:
    assert printable("a\x1b]0;t\x07\u202eb\ud83d") == "a\\x1b]0;t\\x07\\u202eb\\ud83d"
    assert one_line("a\nb" + "c" * 10**6, 5) == "a⏎bc…"


def test_lines_are_bounded_one_by_one_and_in_all(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntwo\nrest")
    assert list(lines(path)) == [b"one\n", b"two\n", b"rest"]
    with pytest.raises(Malformed, match="longer than 3 bytes"):
        list(lines(path, line_max=3))
    with pytest.raises(Malformed, match="larger than 8 bytes"):
        list(lines(path, file_max=8))


def decided(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "n1.decided.jsonl"
    path.write_bytes(data)
    return path


def test_a_decided_log_of_zeros_takes_no_memory_and_a_short_sentence(tmp_path: Path) -> None:
    path = decided(tmp_path, b"\0" * 50_000_000)
    tracemalloc.start()
    with pytest.raises(BadHistory) as caught:
        list(read_decided(path, []))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(str(caught.value)) < 300 and peak < 40_000_000


@pytest.mark.parametrize(
    "change",
    [
        {"slot": None},
        {"slot": True},
        {"slot": 1.5},
        {"slot": -1},
        {"slot": "x" * 1000},
        {"slot": [1]},
        {"life": [1]},
        {"commands": None},
        {"commands": 5},
        {"commands": [[1, 1, "write"]]},
        {"commands": ["write"]},
    ],
)
def test_a_record_of_the_wrong_types_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = decided(tmp_path, json.dumps(GOOD | change).encode() + b"\n")
    with pytest.raises(BadHistory, match=r"line 1: is not a decided slot"):
        list(read_decided(path, []))


def test_sentences_about_hostile_records_are_short(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "run")
    long = "\x1b[2J" * 10_000
    for node, key in ((1, long), (2, long + "2")):
        line = json.dumps(GOOD | {"ballot": [long], "commands": [[1, 1, long, key, [long] * 3]]})
        folder.node_decided(node).write_text(line + "\n")
    lost = Event(0, 0, 0, "ok", "write", long, [long], extra={"client": [1], "seq": {}})
    found = check_folder(folder, [lost, lost._replace(extra={"client": 7, "seq": 9})])
    assert found is not None and {f.kind for f in found.findings} >= {"two-values", "lost-write"}
    assert all(len(f.sentence) < 1000 and f.sentence.isprintable() for f in found.findings)


def test_documents_of_a_folder_are_bounded_and_written_whatever_they_hold(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "run")
    folder.write_json("verdict.json", {"seen": "\ud83d"})
    assert folder.read_json("verdict.json") == {"seen": "\ud83d"}
    for bad in (b"\0" * 100_000, b"[" * 100_000, b"NaN", b"{}x"):
        folder.run.write_bytes(bad)
        with pytest.raises(BadFolder) as caught:
            RunFolder.open(folder.path)
        assert len(str(caught.value)) < 400
    folder.run.write_text('{"format": [2]}')
    with pytest.raises(BadFolder, match=r"format \[2\]"):
        RunFolder.open(folder.path)
