"""No input makes a parser crash or hang, and both parsers give the same result.

Python's reader is the definition; the kernel's own parser must accept and refuse the same files,
and come to the same verdict. Where a file has several errors the kernel names the first
line of all, Python the first that cannot be read before the first that cannot be paired.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from histories.checker import check
from histories.checker.compiled import Limits, available, check_edn
from histories.errors import HistoryError
from histories.events import Event
from histories.formats import edn
from histories.formats.jepsen import write_edn
from histories.models import model_named
from histories.operations import freeze
from histories.reader import FORMATS, format_of, read_history
from histories.recorder import event_line
from tests.histories.generating import history

ROUNDS = int(os.environ.get("ANTIPAXOS_FUZZ", "2000"))
PIECES = [
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"null", b"true", b"0", b"-1", b"1e5", b"1.0",
    b"\n", b"\r", b" ", b"\x00", b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\\u0041", b"9" * 30,
    b'"process"', b'"nemesis"', b'"type"', b'"info"', b'"ok"', b'"fail"', b'"value"', b'"key"',
    b'"observed"', b'"Key"', b'"val"', b'"order"', b'"error"', b'"mismatch"', b'"cas"',
    b"4611686018427387904", b"-0", b"1e999",
]  # fmt: skip


def mutated(draw: random.Random, data: bytes, pieces: list[bytes] = PIECES) -> bytes:
    text = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(text) + 1)
        kind = draw.random()
        if kind < 0.3:
            text[at:at] = draw.choice(pieces)
        elif kind < 0.5:
            del text[at : at + draw.randint(1, 8)]
        elif kind < 0.7 and text:
            text[at - 1] = draw.randrange(256)
        elif kind < 0.8:
            del text[at:]
        else:
            other = draw.randrange(len(text) + 1)
            text[at:at] = text[other : other + draw.randint(1, 60)]
    return bytes(text)


def answer(path: Path, kernel: bool) -> tuple[Any, ...]:
    try:
        verdict = check(path, kernel=kernel, time_limit_s=20)
    except HistoryError as error:
        return (type(error).__name__, getattr(error, "line", None))
    return (verdict.outcome, verdict.operations, len(verdict.notes))


def written(seed: int) -> bytes:
    draw = random.Random(f"base:{seed}")
    lines = []
    for event in history(draw.choice(["kv", "cas-register"]), seed, keys=2):
        fields = json.loads(event_line(event))
        if draw.random() < 0.2:
            fields["value" if event.f == "write" else "extra"] = draw.choice(
                [{"b": [1, 2.5], "a": None}, 'ä"\\\n', [[], {}], -7, 1.0, 10**20, True]
            )
        lines.append(json.dumps(fields, ensure_ascii=draw.random() < 0.5))
    return ("\n".join(lines) + "\n").encode()


@pytest.mark.skipif(not available(), reason="the kernel is not built here")
def test_both_parsers_agree(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    seen: dict[str, int] = {}
    for seed in range(ROUNDS):
        draw = random.Random(f"fuzz:{seed}")
        data = written(seed % 200)
        data = data if seed < 200 else mutated(draw, data)
        path.write_bytes(data)
        reference = answer(path, kernel=False)
        found = answer(path, kernel=True)
        if "BadHistory" in (found[0], reference[0]):
            assert found[0] == reference[0], (seed, data)
            assert found[1] <= reference[1], (seed, data)
        else:
            assert found == reference, (seed, data)
        seen[reference[0]] = seen.get(reference[0], 0) + 1
    assert {"valid", "invalid", "BadHistory"} <= set(seen), seen


VALUES = [
    "nil", "1", "1.0", "31", "0x1F", "017", ":a", '":a"', "a", '"a\\n"', '"\\u00e4"', '"ä"',
    "#{1 2}", "#{2 1}", "[1 2]", "(1 2)", "[1 2 3]", '#inst "x"', '"x"', "\\a", "{:a #{1}, 2 3}",
    "#a.b.C{:x 1}", "{:x 1}", "true", '"true"', "-7", "1.5", "7N", "#_ 9 [5]", "1/2", "##Inf",
    "#{[1 2] 3}", "{\"2\" 3}", "9223372036854775808", "()", "1e3", "1000",
]  # fmt: skip
EDN_PIECES = [*PIECES, *(value.encode() for value in VALUES), b"#_", b"#{", b"^", b":process"]


def edn_text(seed: int) -> str:
    """A history in one of the layouts of EDN, its values taken from VALUES."""
    draw = random.Random(f"edn-history:{seed}")
    pool = draw.sample(VALUES, 4)
    model = draw.choice(["register", "cas-register"])
    lifted, vectors = draw.random() < 0.25, draw.random() < 0.25
    record = draw.choice(["", "", "#jepsen.history.Op"])

    def value(event: Event) -> str:
        held = event.value
        if event.f == "cas":
            text = f"[{' '.join(pool[(n or 0) % 4] for n in held)}]"
        else:
            text = "nil" if held is None else pool[held % 4]
        return f"[{pool[0]} {text}]" if lifted else text

    lines = []
    for event in history(model, seed):
        process, kind, f = event.process, f":{event.type}", f":{event.f}"
        if vectors:
            lines.append(f"[{process} {kind} {f} {value(event)}]")
        else:
            lines.append(
                f"{record}{{:process {process}, :type {kind}, :f {f}, :value {value(event)}}}"
            )
    return "\n".join(lines) if seed % 2 else f"[{' '.join(lines)}]"


@pytest.mark.skipif(not available(), reason="the kernel is not built here")
def test_both_edn_parsers_agree(tmp_path: Path) -> None:
    path = tmp_path / "h.edn"
    by_kernel, whole = 0, min(ROUNDS // 2, 300)
    model = model_named("cas-register")
    for seed in range(ROUNDS):
        draw = random.Random(f"edn-fuzz:{seed}")
        data = edn_text(seed % whole).encode()
        data = data if seed < whole else mutated(draw, data, EDN_PIECES)
        path.write_bytes(data)
        answers: list[tuple[Any, ...]] = []
        for kernel in (True, False):
            try:
                verdict = check(
                    path, model="cas-register", kernel=kernel, format="jepsen", time_limit_s=20
                )
                kinds = [(part.key, part.outcome) for part in verdict.partitions]
                answers.append((verdict.outcome, verdict.operations, kinds, verdict.notes))
            except HistoryError as error:
                answers.append((type(error).__name__, getattr(error, "line", 0)))
        if answers[0][0] in ("BadHistory", "UnknownOperation"):
            assert answers[0][0] == answers[1][0], (seed, data)
        else:
            assert answers[0] == answers[1], (seed, data)
        if seed < whole:
            by_kernel += check_edn(path, model, None, Limits(), "ignored") is not None
    assert by_kernel > whole // 6, "the kernel passed nearly everything to Python"


def test_edn_is_read_or_refused() -> None:
    base = (
        '[{:type :invoke, :f :cas, :value [1 "a\\n" 2.5], :process 0} ; x\n'
        "#_ {:a #{1 \\a}} {:type :ok :f :read :value nil :process :nemesis :time 7N}]"
    )
    refused = 0
    for seed in range(ROUNDS):
        draw = random.Random(f"edn:{seed}")
        text = mutated(draw, base.encode()).decode("utf-8", "replace")
        try:
            list(edn.forms(text))
        except HistoryError as error:
            assert getattr(error, "line", 0) > 0
            refused += 1
    assert 0 < refused < ROUNDS


SEEDS: dict[str, str] = {
    "jepsen-json": '[{"process": 0, "type": "invoke", "f": "write", "value": {"a": [1, "x"]}},\n'
    '{"process": "c", "type": "ok", "f": ":read", "value": 1.5, "time": 7, "error": ["e"]}]',
    "jepsen-txt": "0\t:invoke\t:write\t{:a [1 2]}\n0\t:ok\t:write\t1\n"
    ":nemesis\t:info\t:start\tnil\n",
    "jepsen-log": "2022-09-14 10:21:46,1{GMT}\tINFO\t[jepsen worker 1] jepsen.util: "
    "1\t:ok\t:read\tnil\t:timeout\nINFO  jepsen.util - 0\t:invoke\t:write\t[1 2]\n",
    "jepsen": "#jepsen.history.Op{:process 0 :type :invoke :f :write :value [:k 0x1F]}\n"
    '[:c1 :ok :read #{1 "a\\n"}] ; done\n',
}


@pytest.mark.parametrize("name", SEEDS)
def test_every_other_layout_is_read_or_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "h"
    read = refused = 0
    for seed in range(ROUNDS):
        draw = random.Random(f"{name}:{seed}")
        path.write_bytes(mutated(draw, SEEDS[name].encode(), [*EDN_PIECES, b"\t", b":info"]))
        try:
            found = read_history(path, name)
        except HistoryError as error:
            assert str(path) in str(error)
            refused += 1
            continue
        read += 1
        back = tmp_path / "back.edn"
        write_edn(back, found.events)
        again = read_history(back, "jepsen", independent=False).events
        assert [(e.process, e.type, e.f, e.key) for e in again] == [
            (e.process, e.type, e.f, e.key) for e in found.events
        ]
        assert [freeze(e.value) for e in again] == [freeze(e.value) for e in found.events]
        assert format_of(path) in FORMATS
    assert read > ROUNDS // 50
    assert refused > ROUNDS // 50


def test_format_detection_accepts_any_input(tmp_path: Path) -> None:
    path = tmp_path / "h"
    seeds = [*(text.encode() for text in SEEDS.values()), written(1)]
    for seed in range(ROUNDS):
        draw = random.Random(f"any:{seed}")
        path.write_bytes(mutated(draw, seeds[seed % len(seeds)], EDN_PIECES))
        try:
            found = read_history(path)
            check(found, model="kv", time_limit_s=5)
        except HistoryError as error:
            assert str(error)
