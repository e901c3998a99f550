"""netem as the agent sets it up, on Debian's kernel in an emulated machine: takes two minutes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.agent import netem_check, stock_kernel

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(stock_kernel.missing()), reason=stock_kernel.missing()),
]
ROOT = Path(__file__).parents[3]
MODULES = (
    "veth", "bridge", "tun", "sch_netem", "sch_htb", "sch_ingress", "cls_bpf", "act_mirred",
)  # fmt: skip
TIMEOUT_S = 560
MS = 1000
SLOW = 250 * MS
"""How much later than asked the emulated machine may deliver half of the datagrams, where the
machine that emulates it has nothing else to do."""


@pytest.fixture(scope="module")
def found() -> Any:
    status, shown = stock_kernel.run(
        [sys.executable, "-m", "tests.faults.agent.netem_check"],
        MODULES,
        folder=ROOT,
        environment={"PYTHONDONTWRITEBYTECODE": "1"},
        timeout_s=TIMEOUT_S,
    )
    assert status == 0, shown
    return json.loads(shown.partition("found: ")[2].splitlines()[0])


def delay(found: Any, name: str, which: str, link: str = "second") -> int:
    value: int = found[name][link]["delay_us"][which]
    return value


def test_netem_is_found_and_used(found: Any) -> None:
    assert found["how"] == {"ok": True, "how": "netem+wire"}
    used = {
        name: said["by"] for name, said in found.items() if isinstance(said, dict) and "by" in said
    }
    assert used.pop("nothing") == []
    assert used.pop("duplicate") == ["wire"]
    assert set(map(tuple, used.values())) == {("netem",)}


def test_delays_and_their_change_in_place(found: Any) -> None:
    for name, asked in (("delay", 300 * MS), ("longer", 600 * MS)):
        assert asked - MS <= delay(found, name, "min") <= delay(found, name, "p50") < asked + SLOW


def test_distributions(found: Any) -> None:
    assert delay(found, "normal", "min") < 500 * MS < delay(found, "normal", "p90")
    assert 400 * MS < delay(found, "normal", "p50") < 600 * MS + SLOW
    assert 50 * MS < delay(found, "normal", "deviation") < 200 * MS
    assert 299 * MS <= delay(found, "uniform", "min") < 500 * MS
    assert 60 * MS < delay(found, "uniform", "deviation") < 200 * MS


def test_parameters_that_are_left_out_are_reset(found: Any) -> None:
    """netem keeps parameters that a change leaves out, so each change names all."""
    assert found["corrupt"]["second"]["received"] <= 10, "but for bits of the Ethernet header"
    assert found["nothing corrupt"]["second"]["received"] == 30
    assert found["rate"]["second"]["reordered"] == 0


def test_order_rate_and_copies(found: Any) -> None:
    assert found["reorder"]["second"]["reordered"] > 0
    assert found["reorder"]["second"]["received"] == 30
    assert 20_000 < found["rate"]["second"]["rate_bps"] < 36_000
    assert found["duplicate"]["second"]["duplicates"] == 30


def test_other_links_are_not_affected(found: Any) -> None:
    for name, said in found.items():
        if name in netem_check.SHAPES:
            assert said["third"]["received"] == 30, name
            assert said["third"]["duplicates"] == said["third"]["reordered"] == 0, name
            assert delay(found, name, "p50", "third") < SLOW, name


def test_each_link_has_a_class_and_everything_is_removed(found: Any) -> None:
    assert found["two classes"].count("qdisc netem") == 2
    assert found["two classes"].count("class htb") == 2
    assert not found["left"]
