"""Writing histories, reading them back, and the errors of invalid ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from histories.checker import check
from histories.errors import BadFolder, BadHistory, UnknownFormat, UnknownModel, UnknownOperation
from histories.events import NEMESIS, Event
from histories.folder import RunFolder
from histories.formats import jepsen, native
from histories.operations import MAP, NEVER, Bool, freeze, pair, thaw
from histories.reader import format_of, read_history
from histories.recorder import HistoryWriter


def write(path: Path, *lines: str | bytes) -> Path:
    data = [line if isinstance(line, bytes) else line.encode() for line in lines]
    path.write_bytes(b"\n".join(data) + b"\n")
    return path


def line(**fields: Any) -> str:
    return json.dumps({"process": 0, "type": "invoke", "f": "read", "value": None} | fields)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    events = [
        Event(0, 5, 0, "invoke", "write", "k1", 5, extra={"client": 3, "seq": 1}),
        Event(1, 6, NEMESIS, "info", "inject", None, {"id": "f1"}, extra={"moments": {"1": 7}}),
        Event(2, 7, 0, "ok", "write", "k1", 5, 2, extra={"client": 3, "seq": 1}),
        Event(3, 8, 1, "invoke", "cas", "kä\ud800", [None, {"a": [1, 2.5, True]}]),
        Event(4, 9, 1, "fail", "cas", "kä\ud800", [None, {}], 1, "mismatch", 10**30, True),
    ]
    with HistoryWriter(tmp_path / "h.jsonl") as writer:
        writer.append(events[0])
        writer.extend(events[1:])
        assert writer.events == 5
    history = native.read(tmp_path / "h.jsonl")
    assert list(history.events) == events
    assert history.notes == ()


def test_a_history_is_never_overwritten(tmp_path: Path) -> None:
    HistoryWriter(tmp_path / "h.jsonl").close()
    with pytest.raises(FileExistsError):
        HistoryWriter(tmp_path / "h.jsonl")


def test_a_killed_writer_leaves_every_event_it_appended(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from histories.events import Event\n"
        "from histories.recorder import HistoryWriter\n"
        "writer = HistoryWriter(sys.argv[1])\n"
        "for i in range(1000):\n"
        "    writer.append(Event(i, i, i, 'invoke', 'write', 'k', i))\n"
        "print('done', flush=True)\n"
        "sys.stdin.read()\n"
    )
    path = tmp_path / "h.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"done\n"
        child.send_signal(signal.SIGKILL)
    assert len(native.read(path).events) == 1000
    assert check(path).outcome == "valid"


@pytest.mark.parametrize("kernel", [True, False])
def test_a_torn_last_line_is_a_note(tmp_path: Path, kernel: bool) -> None:
    path = write(tmp_path / "h.jsonl", line(), line(type="ok"))
    whole = path.read_bytes()
    torn = (line(process=1) + "\n" + line(process=1, type="ok", value=7)).encode()
    for cut in range(len(line(process=1)) + 2, len(torn)):
        path.write_bytes(whole + torn[:cut])
        verdict = check(path, kernel=kernel)
        assert verdict.outcome == "valid"
        assert verdict.operations == 2
        assert len(verdict.notes) == 1
        assert "line 4" in verdict.notes[0]
    path.write_bytes(whole + torn)  # complete, only its newline is missing
    assert check(path, kernel=kernel).outcome == "invalid"


BAD_LINES = [
    ("not json", 2),
    ("[1]", 2),
    ("", 2),
    ("{}", 2),
    (line(type="done"), 2),
    (line(type=None), 2),
    (line(process=""), 2),
    (line(process=-1), 2),
    (line(process=True), 2),
    (line(process=1.0), 2),
    (line(f=""), 2),
    (line(f=3), 2),
    (line(key=[1]), 2),
    (line(index="0"), 2),
    (line(index=0, process=1), 2),
    (line(time=-1), 2),
    (line(time=1 << 62), 2),
    (line(time=5, process=1), 2),
    (line(process=0), 2),
    (line(type="ok", process=5), 2),
    (line(type="ok", f="write"), 2),
    ('{"process":1,"type":"invoke","f":"read","value":NaN}', 2),
    ('{"process":1,"type":"invoke","f":"read","value":01}', 2),
    ('{"process":1,"type":"invoke","f":"read","value":"\\x"}', 2),
    ('{"process":1,"type":"invoke","f":"read","value":"\t"}', 2),
    (b'{"process":1,"type":"invoke","f":"read","value":"\xff"}', 2),
    ('{"process":1,"type":"invoke","f":"read","value":' + "9" * 5000 + "}", 2),
]


@pytest.mark.parametrize("kernel", [True, False])
@pytest.mark.parametrize("bad,number", BAD_LINES)
def test_an_error_names_file_and_line(
    tmp_path: Path, bad: str | bytes, number: int, kernel: bool
) -> None:
    first = line(index=0, time=9)
    path = write(tmp_path / "h.jsonl", first, bad, line(type="ok", index=9, time=99))
    with pytest.raises(BadHistory) as caught:
        check(path, kernel=kernel)
    assert caught.value.line == number
    assert str(caught.value).startswith(f"{path}, line {number}: ")


@pytest.mark.parametrize("kernel", [True, False])
@pytest.mark.parametrize("content", [b"", b"\n\n", b"  \n"])
def test_an_empty_file_is_not_a_history(tmp_path: Path, content: bytes, kernel: bool) -> None:
    (tmp_path / "h.jsonl").write_bytes(content)
    with pytest.raises(BadHistory, match="no events"):
        check(tmp_path / "h.jsonl", kernel=kernel)


@pytest.mark.parametrize("kernel", [True, False])
def test_after_info_a_process_ends(tmp_path: Path, kernel: bool) -> None:
    path = write(tmp_path / "h.jsonl", line(), line(type="info"), line())
    with pytest.raises(BadHistory, match="acts again") as caught:
        check(path, kernel=kernel)
    assert caught.value.line == 3


@pytest.mark.parametrize("kernel", [True, False])
def test_an_operation_that_the_model_does_not_have(tmp_path: Path, kernel: bool) -> None:
    path = write(tmp_path / "h.jsonl", line(f="enqueue"), line(f="enqueue", type="ok"))
    with pytest.raises(UnknownOperation, match="has no operation 'enqueue'") as caught:
        check(path, kernel=kernel)
    assert caught.value.line == 1
    path = write(tmp_path / "h.jsonl", line(f="cas", value=3), line(f="cas", type="ok", value=3))
    with pytest.raises(UnknownOperation, match="expected, new"):
        check(path, kernel=kernel)
    # Operations that did not happen are not validated.
    path = write(tmp_path / "h.jsonl", line(f="enqueue"), line(f="enqueue", type="fail"))
    assert check(path, kernel=kernel).outcome == "valid"


def test_missing_files_and_wrong_names(tmp_path: Path) -> None:
    for kernel in (True, False):
        with pytest.raises(BadHistory, match="cannot be read"):
            check(tmp_path / "none.jsonl", kernel=kernel)
    with pytest.raises(UnknownModel, match="cas-register"):
        check([], model="regster")
    with pytest.raises(UnknownFormat, match="jepsen-log"):
        read_history(write(tmp_path / "h", line()), "yaml")
    with pytest.raises(ValueError, match="time_limit_s"):
        check([], time_limit_s=0)


def test_values_are_equal_exactly_where_json_values_are() -> None:
    values = [None, True, False, 0, 1, "1", [], [1], [[1]], {}, {"a": 1}, {"b": 1}, 0.5, 10**30]
    frozen = [freeze(v) for v in values]
    assert len(set(frozen)) == len(values)
    assert freeze(1.0) == freeze(1)
    assert freeze({"a": 1, "b": 2}) == freeze({"b": 2, "a": 1})
    assert freeze(True) is Bool.TRUE
    assert freeze({}) == (MAP,)
    assert [thaw(f) for f in frozen] == values


def test_pairing() -> None:
    events = [
        Event(0, 0, 0, "invoke", "write", "k", 1),
        Event(1, 1, NEMESIS, "invoke", "inject", None, {}),
        Event(2, 2, 1, "invoke", "cas", "k", [1, 2]),
        Event(3, 3, 0, "fail", "write", "k", 1, None, "refused"),
        Event(4, 4, 1, "fail", "cas", "k", [1, 2], 3, "mismatch", 9, True),
        Event(5, 5, 0, "invoke", "write", "k", 2),
    ]
    cas, open_write = pair(events)
    assert (cas.outcome, cas.result, cas.seen, cas.node) == ("mismatch", 9, True, 3)
    assert (cas.call, cas.ret, cas.id) == (2, 4, 0)
    assert (open_write.outcome, open_write.ret, open_write.id) == ("info", NEVER, 1)


def test_folder(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "run")
    assert RunFolder.create(tmp_path, "run").name == "run-2"
    folder.write_run({"seed": 7, "model": "kv"})
    folder.write_json("verdict.json", {"verdict": "valid"})
    assert RunFolder.open(folder.path).read_json("run.json")["seed"] == 7
    assert not list(folder.path.glob(".*"))
    folder.node_decided(3).write_text("")
    folder.node_decided(12).write_text("")
    assert [node for node, _ in folder.decided_files()] == [3, 12]


def test_invalid_folders(tmp_path: Path) -> None:
    with pytest.raises(BadFolder, match="is not a folder"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(BadFolder, match="holds no"):
        RunFolder.open(tmp_path)
    (tmp_path / "run.json").write_text('{"format": 99}')
    with pytest.raises(BadFolder, match="format 99"):
        RunFolder.open(tmp_path)
    (tmp_path / "run.json").write_text('{"format"')
    with pytest.raises(BadFolder, match="is not JSON"):
        RunFolder.open(tmp_path)
    with pytest.raises(BadFolder, match="cannot name"):
        RunFolder.create(tmp_path, "../up")


def test_a_run_that_was_cut_off_opens_and_is_judged(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "run")
    folder.write_run({})
    write(folder.history, line(f="write", value=1), line(f="write", value=1, type="ok"))
    assert check(RunFolder.open(folder.path)).outcome == "valid"
    assert check(folder.path).outcome == "valid"
    with pytest.raises(BadFolder, match=r"verdict\.json is missing from the folder"):
        folder.read_json("verdict.json")


JEPSEN = """; a comment
{:type :invoke, :f :cas, :value [1 2], :process 0, :time 5, :key "k"}
{:process :nemesis, :type :info :f :start, :value #{1 2}}
#_ {:ignored true}
{:type :fail, :f :cas, :value [1 2], :process 0, :time 6, :error [:code 101], :key "k"}
{:type :invoke, :f :read, :value nil, :process 1, :time 4}
{:type :info, :f :read, :value nil, :process 1, :error :timeout}
{:type :invoke, :f :read, :value nil, :process 1}
"""


def test_jepsen_edn_in_both_layouts(tmp_path: Path) -> None:
    lines = tmp_path / "lines.edn"
    lines.write_text(JEPSEN)
    vector = tmp_path / "vector.edn"
    vector.write_text(f"[{JEPSEN}]")
    one, other = read_history(lines), read_history(vector)
    assert one.events == other.events
    assert [e.type for e in one.events] == ["invoke", "info", "fail", "invoke", "info", "invoke"]
    assert one.events[0].key == "k"
    assert one.events[2].error == "[:code 101]"
    assert one.events[4].error == ":timeout"
    assert [e.time for e in one.events] == [5, 5, 6, 6, 6, 6]
    assert len(one.operations()) == 2
    assert read_history(lines, failed_cas="mismatch").events[2].error == "mismatch"


def test_formats_round_trip(tmp_path: Path) -> None:
    events = [
        Event(0, 1, 0, "invoke", "write", "k", {"a": [None, True, 1.5, "x\n", ":kw"]}),
        Event(1, 2, 0, "ok", "write", "k", {"a": [None, True, 1.5, "x\n", ":kw"]}, 3),
        Event(2, 3, 1, "invoke", "cas", None, [1, 2]),
        Event(3, 4, 1, "fail", "cas", None, [1, 2], None, "mismatch", None, True),
    ]
    jepsen.write_edn(tmp_path / "h.edn", events)
    back = read_history(tmp_path / "h.edn")
    assert list(back.events) == events
    native.write(tmp_path / "h.jsonl", back.events)
    assert list(read_history(tmp_path / "h.jsonl").events) == events
    assert format_of(tmp_path / "h.edn") == "jepsen"
    assert format_of(tmp_path / "h.jsonl") == "native"


def test_jepsens_old_log(tmp_path: Path) -> None:
    path = write(
        tmp_path / "h.log",
        "INFO  jepsen.util - 4\t:invoke\t:cas\t[3 0]",
        "INFO  jepsen.util - 4   :fail   :cas    [3 0]",
        "INFO  jepsen.util - 4\t:invoke\t:write\t1",
        "INFO  jepsen.util - 4\t:info\t:write\t:timed-out",
        "INFO  jepsen.util - 4\t:invoke\t:read\tnil",
    )
    assert format_of(path) == "jepsen-log"
    operations = read_history(path).operations()
    assert [op.outcome for op in operations] == ["mismatch", "info", "info"]
    assert len(read_history(path, failed_cas="ignored").operations()) == 2


@pytest.mark.parametrize(
    "text,number",
    [
        ("{:type :invoke", 1),
        ("\n\n{:type :done}", 3),
        ("[{:type :ok :f :read :process nil}]", 1),
        ("{:a}", 1),
        ("[1 2)", 1),
        ('{:type :ok :f "', 1),
        ("[" * 500, 1),
        ("7x", 1),
        (")", 1),
        ("3", 1),
    ],
)
def test_bad_edn(tmp_path: Path, text: str, number: int) -> None:
    path = tmp_path / "h.edn"
    path.write_text(text)
    with pytest.raises(BadHistory) as caught:
        read_history(path, "jepsen")
    assert caught.value.line == number
