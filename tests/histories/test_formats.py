"""Histories of other tools: each layout, read by the kernel and by Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from histories.checker import Verdict, check
from histories.checker.compiled import available
from histories.errors import BadFolder, BadHistory, UnknownOperation
from histories.events import Event
from histories.formats import edn
from histories.formats.jepsen import edn_line, read_edn, write_edn
from histories.formats.native import read, write
from histories.reader import format_of, read_history

both = pytest.mark.parametrize(
    "kernel",
    [
        pytest.param(
            True, marks=pytest.mark.skipif(not available(), reason="the kernel is not built here")
        ),
        False,
    ],
)

ROWS = [(0, "invoke", "write", "7"), (0, "ok", "write", "7"), (1, "invoke", "read", "nil")]
LAYOUTS = {
    "edn lines": "\n".join(
        f"{{:process {p}, :type :{t}, :f :{f}, :value {v}}}" for p, t, f, v in ROWS
    )
    + "\n{:process 1 :type :ok :f :read :value READ}",
    "edn vector": "[{:process 0 :type :invoke :f :write :value 7 :time 3.0}\n"
    "{:process 0 :type :ok :f :write :value 7 :time 4}, ; done\n"
    "{:process :nemesis :type :info :f :start :value #{:n1}}\n"
    "{:process 1 :type :invoke :f :read :value nil} #_ {:process 9}\n"
    "{:process 1 :type :ok :f :read :value READ}]",
    "edn records": "#jepsen.history.Op{:index 0 :process 0 :type :invoke :f :write :value 7}\n"
    "#jepsen.history.Op{:index 1 :process 0 :type :ok :f :write :value 7}\n"
    "#jepsen.history.Op{:index 2 :process 1 :type :invoke :f :read :value nil}\n"
    "#jepsen.history.Op{:index 3 :process 1 :type :ok :f :read :value READ}\n",
    "edn operations": "[[0 :invoke :write 7] [0 :ok :write 7] [:nemesis :info :start nil]\n"
    "[1 :invoke :read] [1 :ok :read READ]]",
    "edn operation a line": "[0 :invoke :write 7]\n[0 :ok :write 7]\n[1 :invoke :read nil]\n"
    "[1 :ok :read READ]\n",
    "edn hexadecimal": "[0 :invoke :write 0x7]\n[0 :ok :write 07]\n[1 :invoke :read nil]\n"
    "[1 :ok :read READ]\n",
    "edn process names": '{:process "c1" :type :invoke :f :write :value 7}\n'
    '{:process "c1" :type :ok :f :write :value 7}\n'
    "{:process :c2 :type :invoke :f :read :value nil}\n"
    "{:process :c2 :type :ok :f :read :value READ}\n",
    "json array": '[{"process": 0, "type": "invoke", "f": "write", "value": 7},\n'
    '{"process": 0, "type": "ok", "f": "write", "value": 7},\n'
    '{"process": "nemesis", "type": "info", "f": "kill", "value": null},\n'
    '{"process": 1, "type": ":invoke", "f": ":read", "value": null},\n'
    '{"process": 1, "type": "ok", "f": "read", "value": READ}]\n',
    "history.txt": "0\t:invoke\t:write\t7\n0\t:ok\t:write\t7\n:nemesis\t:info\t:start\tnil\n"
    "1\t:invoke\t:read\tnil\n1\t:ok\t:read\tREAD\n",
    "old log": "INFO  jepsen.util - 0\t:invoke\t:write\t7\nINFO  jepsen.util - 0\t:ok\t:write\t7\n"
    "INFO  jepsen.util - 1\t:invoke\t:read\tnil\nINFO  jepsen.util - 1\t:ok\t:read\tREAD\n",
    "new log": "2022-09-14 10:21:40,001{GMT}\tINFO\t[jepsen test runner] jepsen.core: Running\n"
    "2022-09-14 10:21:46,101{GMT}\tINFO\t[jepsen worker 0] jepsen.util: 0\t:invoke\t:write\t7\n"
    "2022-09-14 10:21:46,102{GMT}\tINFO\t[jepsen worker 0] jepsen.util: 0\t:ok\t:write\t7\n"
    "java.lang.Exception: something\n\tat somewhere\n"
    "2022-09-14 10:21:46,103{GMT}\tINFO\t[jepsen worker 1] jepsen.util: 1\t:invoke\t:read\tnil\n"
    "2022-09-14 10:21:46,104{GMT}\tINFO\t[jepsen worker 1] jepsen.util: 1\t:ok\t:read\tREAD\n",
    "native with names": '{"process":"c1","type":"invoke","f":"write","value":7}\n'
    '{"process":"c1","type":"ok","f":"write","value":7}\n'
    '{"process":"c2","type":"invoke","f":"read","value":null}\n'
    '{"process":"c2","type":"ok","f":"read","value":READ}\n',
}


def judged(tmp_path: Path, text: str, kernel: bool, model: str = "register", **how: Any) -> Verdict:
    path = tmp_path / "history"
    path.write_text(text, encoding="utf-8")
    return check(path, model=model, kernel=kernel, **how)


@both
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("read", "outcome"), [("7", "valid"), ("8", "invalid")])
def test_every_layout_is_known_and_read(
    tmp_path: Path, layout: str, read: str, outcome: str, kernel: bool
) -> None:
    verdict = judged(tmp_path, LAYOUTS[layout].replace("READ", read), kernel)
    assert (verdict.outcome, verdict.operations) == (outcome, 2)
    assert not verdict.notes


DIFFERENT = [
    ("1", "1.0"), (":a", '":a"'), ("#{1 2}", "[1 2]"), ("a", '"a"'), ("a", ":a"), ("\\a", '"a"'),
    ("nil", '"nil"'), ("true", '"true"'), ("{:a 1}", '{":a" 1}'), ("{1 2}", '{"1" 2}'),
    ('#inst "x"', '"x"'), ("#a{:x 1}", "{:x 1}"), ("1M", "1"), ("1/2", "0.5"),
    ('"\\":a\\""', '":a"'),
    ("[]", "nil"), ("#{}", "[]"), ("{}", "[]"), ("##Inf", '"Inf"'), ("{\"#set\" [1]}", "#{1}"),
]  # fmt: skip
SAME = [
    ("#{1 2}", "#{2 1}"), ("[1 2]", "(1 2)"), ("7N", "7"), ("0x1F", "31"), ("017", "15"),
    ("2r101", "5"), ("{:a 1, :b 2}", "{:b 2 :a 1}"), ('"\\u0041"', '"A"'), ("4/2", "2"),
    ("#:n{:a 1}", "{:n/a 1}"), ("^{:m 1} [1]", "[1]"), ("[1 #_ 2 3]", "[1 3]"), ("1e3", "1000.0"),
    ('"a\\nb"', '"a\nb"'), ("#{[1] #{2 3}}", "#{#{3 2} [1]}"), ("\\newline", "\\u000a"),
]  # fmt: skip


@both
@pytest.mark.parametrize(
    ("one", "other", "outcome"),
    [(*pair, "invalid") for pair in DIFFERENT] + [(*pair, "valid") for pair in SAME],
)
def test_values_are_equal_where_clojure_values_are(
    tmp_path: Path, one: str, other: str, outcome: str, kernel: bool
) -> None:
    for wrote, saw in ((one, other), (other, one)):
        text = (
            f"[0 :invoke :write {wrote}]\n[0 :ok :write {wrote}]\n"
            f"[0 :invoke :write 99]\n[0 :ok :write 99]\n"
            f"[0 :invoke :cas [99 {wrote}]]\n[0 :ok :cas [99 {wrote}]]\n"
            f"[1 :invoke :read nil]\n[1 :ok :read {saw}]\n"
        )
        assert judged(tmp_path, text, kernel, "cas-register").outcome == outcome


@both
def test_a_key_is_not_its_text(tmp_path: Path, kernel: bool) -> None:
    text = "".join(
        f"{{:process 0 :type :invoke :f :write :key {key} :value 1}}\n"
        f"{{:process 0 :type :ok :f :write :key {key} :value 1}}\n"
        for key in ("1", '"1"', ":a", '":a"', "b", '"b"', "[1]", '"[1]"')
    )
    keys = [part.key for part in judged(tmp_path, text, kernel).partitions]
    assert keys == ["1", '"1"', ":a", '":a"', "'b", "b", "[1]", '"[1]"']


@pytest.mark.parametrize("form", sorted({form for pair in DIFFERENT + SAME for form in pair}))
def test_writing_and_reading_edn_round_trips(tmp_path: Path, form: str) -> None:
    (value,) = [found.value for found in edn.forms(form)]
    assert [found.value for found in edn.forms(edn.written(value))] == [value]
    key = "key" if value is None else edn.name_of(value)
    events = [
        Event(0, 0, "c 1", "invoke", "write", key, value),
        Event(1, 5, "c 1", "ok", "write", key, value),
    ]
    write_edn(tmp_path / "h.edn", events)
    back = read_edn(tmp_path / "h.edn").events
    assert [(e.process, e.key, e.value) for e in back] == [("c 1", e.key, e.value) for e in events]
    write(tmp_path / "h.jsonl", events)
    assert [e.value for e in read(tmp_path / "h.jsonl").events] == [value, value]


WRONG = [
    ("{:process 0 :type :invoke :f :write :value 1/0}", "is not a number"),
    ("{:process 0 :type :invoke :f :write :value 08}", "is not a number"),
    ("{:process 0 :type :invoke :f :write :value #{1 1}}", "same element twice"),
    ("{:process 0 :type :invoke :f :write :value #(1)}", "Clojure syntax, not EDN"),
    ("{:process 0 :type :invoke :f :write :value \"\\q\"}", "not an escape"),
    ('{:process 0 :type :invoke :f :write :value "x}', "a string without its end"),
    ("{:process 0 :type :invoked :f :write}", ":invoked is none of invoke, ok, fail, info"),
    ("{:process 0 :f :write}", "is missing"),
    ("{:process -1 :type :invoke :f :write}", "-1 is neither a number from 0, nor a name"),
    ("{:process 1.5 :type :invoke :f :write}", "neither a number from 0, nor a name"),
    ("[0 :invoke :write 1 :error 2 3]", "3 to 5 items, not 7"),
    ("[[0 :invoke :write 1] 7]", "holds 7, which is not an operation"),
    ('[{"process": 0, "type": "invoke", "f": "write", "f": "read"}]', "same name twice"),
    ('[{"process": 0, "type": "invoke", "f": "write"},]', "line 1: is not JSON"),
    ("0\t:invoke\t:write\t{1\n", "the value '{1' is not EDN"),
    ("0\t:invoke\t:write\t1\nsomething\n", "line 2: is not a line of history.txt"),
]  # fmt: skip


@both
@pytest.mark.parametrize(("text", "why"), WRONG)
def test_unreadable_files_are_refused_with_the_reason(
    tmp_path: Path, text: str, why: str, kernel: bool
) -> None:
    with pytest.raises(BadHistory) as raised:
        judged(tmp_path, text, kernel)
    assert why in str(raised.value)


def test_files_that_are_not_text_are_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "h"
    for data, why in (
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"JEPSEN\x00\x00\x00\x01", "history.edn"),
        (b"[0 :invoke :write \xff]", "not UTF-8"),
    ):
        path.write_bytes(data)
        with pytest.raises(BadHistory, match=why):
            check(path)


def test_the_history_in_a_store_is_found(tmp_path: Path) -> None:
    store = tmp_path / "store"
    first, last = store / "etcd" / "20260101T1", store / "etcd" / "20260102T1"
    for folder, read_value in ((first, "7"), (last, "8")):
        folder.mkdir(parents=True)
        (folder / "history.edn").write_text(LAYOUTS["edn lines"].replace("READ", read_value))
        (folder / "results.edn").write_text("{:valid? true}")
    assert check(first, model="register").outcome == "valid"
    assert check(last, model="register").outcome == "invalid"
    with pytest.raises(BadFolder, match="several tests: give one of them"):
        check(store / "etcd")
    (store / "etcd" / "latest").symlink_to(last)
    assert check(store / "etcd", model="register").outcome == "invalid"
    (first / "history.edn").unlink()
    (first / "history.txt").write_text(LAYOUTS["history.txt"].replace("READ", "7"))
    assert check(first, model="register").outcome == "valid"
    (first / "history.txt").unlink()
    with pytest.raises(BadFolder, match="neither the folder of a run nor one of Jepsen's store"):
        check(first)
    (first / "test.jepsen").write_bytes(b"JEPSEN\x00")
    with pytest.raises(BadHistory, match=r"binary test\.jepsen"):
        check(first)


@both
def test_crashes_and_lone_infos_of_jepsen(tmp_path: Path, kernel: bool) -> None:
    text = (
        "[0 :invoke :write 3]\n[0 :info :crash nil]\n[1 :info :crash nil]\n[:n1 :info :log nil]\n"
        "[0 :invoke :read nil]\n[0 :ok :read READ]\n"
    )
    assert judged(tmp_path, text.replace("READ", "3"), kernel).outcome == "valid"
    assert judged(tmp_path, text.replace("READ", "4"), kernel).outcome == "invalid"
    for wrong in ("[2 :ok :read 3]\n", "[0 :invoke :read nil]\n[0 :ok :write 3]\n"):
        with pytest.raises(BadHistory, match="process"):
            judged(tmp_path, text + wrong, kernel)


@both
def test_transactions_are_refused_by_their_name(tmp_path: Path, kernel: bool) -> None:
    appends = "[0 :invoke :txn [[:append :x 1]]]\n[0 :ok :txn [[:append :x 1]]]\n"
    for model in ("log", "kv", "multi-register"):
        with pytest.raises(UnknownOperation, match=r"(?i)transactions .*Elle"):
            judged(tmp_path, appends, kernel, model)
    text = (
        "[0 :invoke :txn [[:w :x 1] [:r :y nil]]]\n[0 :ok :txn [[:w :x 1] [:r :y nil]]]\n"
        "[1 :invoke :txn [[:r :x nil]]]\n[1 :ok :txn [[:r :x READ]]]\n"
    )
    assert judged(tmp_path, text.replace("READ", "1"), kernel, "multi-register").outcome == "valid"
    assert judged(tmp_path, text.replace("READ", "2"), kernel, "multi-register").outcome == (
        "invalid"
    )


@both
def test_keys_in_the_values_without_reads(tmp_path: Path, kernel: bool) -> None:
    writes = "[0 :invoke :write [:a 1]]\n[0 :ok :write [:a 1]]\n"
    cas = "[0 :invoke :cas [:a [1 2]]]\n[0 :ok :cas [:a [1 2]]]\n"
    lifted = judged(tmp_path, writes + cas, kernel, "cas-register")
    assert (lifted.outcome, [p.key for p in lifted.partitions]) == ("valid", [":a"])
    assert "jepsen.independent" in lifted.notes[0]
    only = judged(tmp_path, writes, kernel, "cas-register")
    assert [p.key for p in only.partitions] == [None]
    assert "--independent reads them as keys" in only.notes[0]
    said = judged(tmp_path, writes, kernel, "cas-register", independent=True)
    assert ([p.key for p in said.partitions], said.notes) == ([":a"], ())
    pairs = writes + "[0 :invoke :cas [[:a 1] [:b 2]]]\n[0 :ok :cas [[:a 1] [:b 2]]]\n"
    as_values = judged(tmp_path, pairs, kernel, "cas-register")
    assert (as_values.outcome, [p.key for p in as_values.partitions]) == ("valid", [None])


def test_a_format_is_recognised_by_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "h"
    for text, expected in (
        ("[]", "jepsen-json"),
        ("[ \n {}]", "jepsen-json"),
        ("; a comment\n\n[{:type :ok}]", "jepsen"),
        ("\ufeff[0 :invoke :read]", "jepsen"),
        ('{"process": 0}', "native"),
        ("", "native"),
    ):
        path.write_text(text, encoding="utf-8")
        assert format_of(path) == expected, text
    path.write_text("\ufeff[0 :invoke :read]", encoding="utf-8")
    assert read_history(path).events[0].f == "read"


def test_an_event_as_edn_keeps_names_of_processes() -> None:
    event = Event(0, 0, ":c1", "ok", "write", "1", {"#set": [1]})
    assert ":process :c1" in edn_line(event)
    assert ":value #{1}" in edn_line(event)
    assert ":key 1" in edn_line(event)
