"""Jepsen's independent keys: `:value [key value]`."""

from __future__ import annotations

from pathlib import Path

import pytest

from histories.checker import check
from histories.checker.compiled import available
from histories.errors import BadHistory
from histories.formats.jepsen import read_edn

TWO_KEYS = """
{:type :invoke, :f :write, :value [1 5], :process 0}
{:type :ok, :f :write, :value [1 5], :process 0}
{:type :invoke, :f :write, :value ["b" 6], :process 1}
{:type :ok, :f :write, :value ["b" 6], :process 1}
{:type :info, :f :start, :value nil, :process :nemesis}
{:type :invoke, :f :cas, :value [1 [5 7]], :process 0}
{:type :ok, :f :cas, :value [1 [5 7]], :process 0}
{:type :invoke, :f :read, :value [1 nil], :process 1}
{:type :ok, :f :read, :value [1 READ], :process 1}
"""

both = pytest.mark.parametrize("kernel", [True, False])


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "history.edn"
    path.write_text(text)
    return path


@both
@pytest.mark.parametrize(("read", "outcome"), [("7", "valid"), ("5", "invalid")])
def test_keys_in_the_values_are_detected(
    tmp_path: Path, read: str, outcome: str, kernel: bool
) -> None:
    path = written(tmp_path, TWO_KEYS.replace("READ", read))
    verdict = check(path, model="cas-register", kernel=kernel and available())
    assert verdict.outcome == outcome
    assert [part.key for part in verdict.partitions] == ["1", "b"]
    assert "jepsen.independent" in verdict.notes[0]
    if outcome == "invalid":
        assert verdict.evidence is not None
        assert {op.key for op in verdict.evidence.operations} == {"1"}


@both
def test_lists_of_two_in_one_register_stay_values(tmp_path: Path, kernel: bool) -> None:
    text = """{:type :invoke, :f :write, :value [1 5], :process 0}
    {:type :ok, :f :write, :value [1 5], :process 0}
    {:type :invoke, :f :read, :value nil, :process 1}
    {:type :ok, :f :read, :value [1 5], :process 1}"""
    verdict = check(written(tmp_path, text), kernel=kernel and available())
    assert verdict.outcome == "valid"
    assert [part.key for part in verdict.partitions] == [None]
    assert not verdict.notes


@both
def test_the_user_may_declare_independent_keys(tmp_path: Path, kernel: bool) -> None:
    path = written(tmp_path, TWO_KEYS.replace("READ", "7"))
    no = check(path, model="kv", independent=False, kernel=kernel and available())
    assert [part.key for part in no.partitions] == [None]
    writes = "\n".join(TWO_KEYS.splitlines()[1:5])
    assert [e.key for e in read_edn(written(tmp_path, writes)).events] == [None] * 4
    sure = read_edn(written(tmp_path, writes), independent=True).events
    assert [e.key for e in sure] == ["1", "1", "b", "b"]
    with pytest.raises(BadHistory, match=r"is not .key value."):
        read_edn(written(tmp_path, TWO_KEYS.replace("[1 READ]", "7")), independent=True)
