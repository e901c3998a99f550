"""`antipaxos check` and `antipaxos convert`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.cli.check import check
from harness.cli.convert import convert
from histories.events import Event
from histories.folder import RunFolder
from histories.formats import native

VALID = [
    Event(0, 0, 1, "invoke", "write", "x", 7),
    Event(1, 1_000_000, 1, "ok", "write", "x", 7),
    Event(2, 2_000_000, 2, "invoke", "read", "x"),
    Event(3, 3_000_000, 2, "ok", "read", "x", 7),
]
INVALID = [*VALID[:3], VALID[3]._replace(value=None)]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(check, [str(a) for a in arguments])


@pytest.fixture
def valid(tmp_path: Path) -> Path:
    native.write(tmp_path / "valid.jsonl", VALID)
    return tmp_path / "valid.jsonl"


@pytest.fixture
def invalid(tmp_path: Path) -> Path:
    native.write(tmp_path / "invalid.jsonl", INVALID)
    return tmp_path / "invalid.jsonl"


def test_exit_codes(valid: Path, invalid: Path, tmp_path: Path) -> None:
    assert run(valid).exit_code == 0
    assert run(valid, "--verify", "--reference").exit_code == 0
    assert run(invalid).exit_code == 1
    assert run(tmp_path / "none").exit_code == 64
    (tmp_path / "empty").write_text("")
    result = run(tmp_path / "empty")
    assert result.exit_code == 64
    assert "holds no events" in result.output
    for arguments in (["--model", "kvv"], ["--time-limit", "0"], ["--memory-limit", "lots"]):
        assert run(valid, *arguments).exit_code == 2
        assert "Usage" in run(valid, *arguments).output


def test_the_text_output(invalid: Path) -> None:
    output = run(invalid).output.replace("\n", " ")
    assert "invalid  client 2 read x=null at 0.003 s" in output
    assert "stale-read" in output
    assert "still sequentially consistent" in output


def test_json_is_one_object(valid: Path, invalid: Path) -> None:
    assert json.loads(run(valid, "--json").output)["verdict"] == "valid"
    found = json.loads(run(invalid, "--json", "--memory-limit", "1G").output)
    assert found["verdict"] == "invalid"
    assert found["partitions"][0]["evidence"]["anomaly"] == "stale-read"


def test_a_folder_is_judged_by_every_detector(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "run")
    folder.write_run({"model": "cas-register"})
    native.write(folder.history, VALID)
    assert run(folder.path).exit_code == 2  # no end was recorded: it was cut off
    slots = [{"slot": 1, "ballot": [1, 1], "commands": [[1, 1, "write", "x", v]]} for v in (7, 8)]
    for node, slot in enumerate(slots, 1):
        folder.node_decided(node).write_text(json.dumps(slot) + "\n")
    result = run(folder.path)
    assert result.exit_code == 1
    assert "slot 1 was decided twice" in result.output.replace("\n", " ")
    found = json.loads(run(folder.path, "--json").output)
    assert found["verdict"] == "invalid"
    assert found["detectors"]["linearizability"] == "valid"
    assert found["model"] == "cas-register"


def test_convert_there_and_back(valid: Path, tmp_path: Path) -> None:
    edn, back = tmp_path / "h.edn", tmp_path / "back.jsonl"
    assert CliRunner().invoke(convert, [str(valid), str(edn)]).exit_code == 0
    assert edn.read_text().startswith("{:type :invoke, :f :write, :value 7, :process 1")
    assert run(edn).exit_code == 0
    assert CliRunner().invoke(convert, [str(edn), str(back)]).exit_code == 0
    assert back.read_bytes() == valid.read_bytes()
    again = CliRunner().invoke(convert, [str(edn), str(back)])
    assert again.exit_code == 64
    assert "is there already" in again.output


def test_keys_in_jepsens_values_are_converted_where_certain_or_requested(tmp_path: Path) -> None:
    edn, native = tmp_path / "h.edn", tmp_path / "h.jsonl"
    writes = (
        "{:type :invoke, :f :write, :value [1 5], :process 0}\n"
        "{:type :ok, :f :write, :value [1 5], :process 0}\n"
    )
    reads = (
        "{:type :invoke, :f :read, :value [1 nil], :process 0}\n"
        "{:type :ok, :f :read, :value [1 5], :process 0}\n"
    )

    def keys(text: str, *options: str) -> tuple[set[str | None], str]:
        edn.write_text(text)
        native.unlink(missing_ok=True)
        said = CliRunner().invoke(convert, [str(edn), str(native), *options])
        assert said.exit_code == 0, said.output
        return {json.loads(line).get("key") for line in native.open()}, said.output

    found, said = keys(writes + reads)
    assert found == {"1"}
    assert "jepsen.independent" in said
    assert keys(writes)[0] == {None}
    assert keys(writes, "--independent")[0] == {"1"}
    assert keys(writes + reads, "--no-independent")[0] == {None}


def history(path: Path, *events: dict[str, Any] | str) -> Path:
    path.write_text("".join((e if isinstance(e, str) else json.dumps(e)) + "\n" for e in events))
    return path


WRITE = {"process": 0, "type": "invoke", "f": "write", "value": 1}
CAS = {"process": 0, "type": "invoke", "f": "cas", "value": [1, 2]}
FAULT = {"process": "nemesis", "type": "info", "f": "inject", "value": None}
UNANSWERED: dict[str, tuple[dict[str, Any] | str, ...]] = {
    "only a fault": (FAULT,),
    "only an invocation": (WRITE,),
    "unknown outcomes": (WRITE, WRITE | {"type": "info"}),
    "failed": (WRITE, WRITE | {"type": "fail"}),
    "a misspelt mismatch": (CAS, CAS | {"type": "fail", "error": "Mismatch"}),
    "cut off": (WRITE, "\0\0\0"),
}


@pytest.mark.parametrize("options", [(), ("--reference",), ("--verify",)])
@pytest.mark.parametrize("name", UNANSWERED)
def test_a_history_without_an_answer_is_unknown(
    tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    path = history(tmp_path / "h.jsonl", *UNANSWERED[name])
    if name == "cut off":
        path.write_text(path.read_text()[:-1])
    said = run(path, *options)
    assert said.exit_code == 2, said.output
    assert "unknown  no operation was answered: this history proves nothing" in said.output
    assert "valid" not in said.output
    found = json.loads(run(path, "--json", *options).output)
    assert found["verdict"] == "unknown"
    assert found["sentence"] == "no operation was answered: this history proves nothing"


def test_of_several_histories_one_without_an_answer_counts(valid: Path, tmp_path: Path) -> None:
    empty = history(tmp_path / "h.jsonl", WRITE)
    assert run(valid, empty).exit_code == 2
    found = json.loads(run(valid, empty, "--json").output)
    assert found["verdict"] == "unknown"
    assert [each["verdict"] for each in found["histories"]] == ["valid", "unknown"]


def test_unknown_outcomes_alone_are_valid_in_jepsens_formats(tmp_path: Path) -> None:
    """As other checkers judge them (databendlabs/openraft#1910); a note says what that means."""
    write = "{:process 0 :type :invoke :f :write :value 1}\n"
    info = write.replace("invoke", "info")
    for text, code in ((write + info, 0), (write + write.replace("invoke", "fail"), 2)):
        (tmp_path / "h.edn").write_text(text)
        said = run(tmp_path / "h.edn")
        assert said.exit_code == code, said.output
        assert "proves nothing" in said.output


def test_a_mismatch_is_an_answer(tmp_path: Path) -> None:
    path = history(tmp_path / "h.jsonl", CAS, CAS | {"type": "fail", "error": "mismatch"})
    said = run(path)
    assert said.exit_code == 0
    assert "valid  the only operation can be put into an order" in said.output
    assert "1 operation, 1 key, model kv" in said.output


@pytest.mark.parametrize(
    "options",
    [
        ("--format", "jepsen"),
        ("--format", "native"),
        ("--failed-cas", "ignored"),
        ("--independent",),
        ("--no-independent",),
    ],
)
def test_options_without_effect_are_refused(
    valid: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    folder = RunFolder.create(tmp_path, "run")
    folder.write_run({"model": "kv"})
    native.write(folder.history, VALID)
    for paths in ((folder.path,), (valid, folder.path)):
        for more in ((), ("--json",)):
            said = run(*paths, *options, *more)
            assert said.exit_code == 64, said.output
            assert f"{options[0]} is for history files" in said.output.replace("\n", " ")
    if options[0] != "--format":
        name = options[0].removeprefix("--").removeprefix("no-").replace("-", "_")
        for said in (
            run(valid, *options),
            run(valid, *options, "--reference"),
            CliRunner().invoke(convert, [str(valid), str(tmp_path / "h.edn"), *options]),
        ):
            assert said.exit_code == 64, said.output
            assert f"{name} does not apply" in said.output.replace("\n", " ")
        assert not (tmp_path / "h.edn").exists()


@pytest.mark.parametrize("completion", [None, "info", "fail"])
def test_a_run_without_an_answer_is_unknown(tmp_path: Path, completion: str | None) -> None:
    folder = RunFolder.create(tmp_path, "run")
    folder.write_run({"model": "kv"})
    end = {"process": "nemesis", "type": "info", "f": "phase", "value": "done", "live": True}
    done = () if completion is None else (WRITE | {"type": completion},)
    history(folder.history, WRITE, *done, end)
    found = json.loads(run(folder.path, "--json").output)
    assert found["verdict"] == "unknown"
    assert "no operation was answered: there is nothing to judge" in found["reasons"]
    assert run(folder.path).exit_code == 2


def test_the_model_and_the_initial_value_apply_to_runs(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "run")
    folder.write_run({"model": "kv"})
    native.write(folder.history, VALID[2:])
    for options, linearizability in (((), "invalid"), (("--initial", "7"), "valid")):
        for model in ("kv", "register"):
            found = json.loads(run(folder.path, "--json", "--model", model, *options).output)
            assert found["detectors"]["linearizability"] == linearizability
            assert found["model"] == model


def test_what_only_jepsens_formats_allow_is_converted(tmp_path: Path) -> None:
    """A process that continues, a lone `:info`, and a `:crash` that ends what is open."""
    source, target = tmp_path / "h.edn", tmp_path / "h.jsonl"
    source.write_text(
        "{:type :info, :f :setup, :value nil, :process 1}\n"
        "{:type :invoke, :f :write, :value 1, :process 0}\n"
        "{:type :info, :f :write, :value 1, :process 0}\n"
        "{:type :invoke, :f :write, :value 2, :process 0}\n"
        "{:type :info, :f :crash, :value nil, :process 0}\n"
        "{:type :invoke, :f :read, :value nil, :process 0}\n"
        "{:type :ok, :f :read, :value VALUE, :process 0}\n"
        '{:type :invoke, :f :write, :value 3, :process "0.2"}\n'
    )
    template = source.read_text()
    for value, code in (("2", 0), ("7", 1)):
        source.write_text(template.replace("VALUE", value))
        target.unlink(missing_ok=True)
        said = CliRunner().invoke(convert, [str(source), str(target)])
        assert said.exit_code == 0, said.output
        assert "2 new names" in said.output
        assert "left out: 1" in said.output
        processes = [json.loads(line)["process"] for line in target.open()]
        assert processes == [0, 0, "0.3", "0.3", "0.4", "0.4", "0.2"]
        for path in (source, target):
            found = json.loads(run(path, "--json").output)
            assert run(path).exit_code == code
            assert found["operations"] == 4
