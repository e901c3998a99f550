"""Faults that cannot be carried out are refused before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from faults.description import Fault
from faults.kinds.aimed import Aimed
from faults.kinds.clog import Clog
from faults.kinds.flapping import Flapping
from faults.kinds.kill import Kill
from faults.kinds.loss import Loss
from faults.kinds.partition import Partition
from faults.kinds.rate import Rate
from faults.schedule import Schedule
from harness.errors import UsageError
from harness.run.config import RunConfig
from harness.run.feasible import check_feasible
from harness.run.run_sequence import execute, with_schedule

COMMON: dict[str, Any] = {"id": "f", "start_us": 0, "duration_us": 1_000}
AIMED: dict[str, Any] = COMMON | {"nodes": (), "action": "kill"}


def check(fault: Fault, **settings: Any) -> None:
    config = RunConfig.of(**{"target": "multi-paxos", "on": "docker", **settings})
    check_feasible(config, Schedule(faults=(fault,), duration_us=1_000_000))


@pytest.mark.parametrize(
    ("fault", "settings", "words"),
    [
        (Loss(**COMMON, nodes=(1,), percent=5, message="Acept"), {}, "no messages 'Acept'"),
        (Loss(**COMMON, nodes=(1,), percent=5, message="Accept"), {"target": "etcd"}, "etcd has"),
        (Rate(**COMMON, nodes=(1,), kbps=5, message="Accept"), {}, "not of one class"),
        (Rate(**COMMON, nodes=(1,), kbps=5), {"on": "sim"}, "no rate faults"),
        (Partition(**COMMON, nodes=(1, 2, 3, 4, 5), shape="isolate"), {}, "it cuts no link"),
        (Partition(**COMMON, nodes=(1, 2, 3, 4, 5), shape="halves"), {}, "it cuts no link"),
        (Partition(**COMMON, nodes=(1, 2, 3, 4, 5), shape="one-way-in"), {}, "it cuts no link"),
        (Partition(**COMMON, nodes=(1, 2, 3, 4, 5), shape="bridge"), {}, "it cuts no link"),
        (Partition(**COMMON, nodes=(1,), shape="majorities-ring"), {}, "it cuts no link"),
        (Partition(**COMMON, nodes=(), shape="links"), {}, "it cuts no link"),
        (Partition(**COMMON, nodes=("leader",), shape="isolate"), {"nodes": 1}, "it cuts no link"),
        (
            Flapping(
                **COMMON | {"duration_us": 9_000}, nodes=(1,), shape="bridge", cut_us=9, open_us=99
            ),
            {"nodes": 2},
            "it cuts no link among 2 nodes",
        ),
        (Loss(**COMMON, nodes=(), percent=100), {}, "it is on no link"),
        (Partition(**COMMON, nodes=(9,), shape="chained"), {}, "f: there is no node n9"),
        (Kill(**COMMON, nodes=("leader", 6)), {"nodes": 5}, "n6\nthe cluster has n1 to n5"),
        (
            Loss(**COMMON, nodes=(1,), percent=100),
            {"nodes": 1},
            "no link among 1 node(?!s)",
        ),
        (Aimed(**AIMED, moment="after-send"), {}, "needs a class of messages"),
        (Aimed(**AIMED, moment="after-send", message="X"), {}, "no messages 'X'"),
        (Aimed(**AIMED, moment="elected"), {"on": "sim"}, "no moment 'elected'"),
        (Aimed(**AIMED | {"action": "power"}, moment="before-reply"), {}, "disks are prepared"),
    ],
)
def test_it_is_refused_in_a_sentence(fault: Fault, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check(fault, **settings)


@pytest.mark.parametrize(
    ("fault", "settings"),
    [
        (Loss(**COMMON, nodes=(1,), percent=5, message="Accept"), {}),
        (Loss(**COMMON, nodes=(1,), percent=5), {"target": "etcd"}),
        (Loss(**COMMON, nodes=(1,), percent=5, clients=True), {"nodes": 1}),
        (Loss(**COMMON, nodes=(1, 2), percent=5, links=((1, 2),)), {}),
        (Partition(**COMMON, nodes=("leader",), shape="isolate"), {}),
        (Partition(**COMMON, nodes=(1, 2), shape="links", cut=((1, 2),)), {}),
        (Aimed(**AIMED, moment="after-send"), {"on": "sim"}),
        (Aimed(**AIMED, moment="after-send", message="Accept"), {}),
        (Aimed(**AIMED, moment="elected"), {"target": "etcd"}),
        (Aimed(**AIMED | {"action": "power"}, moment="before-reply"), {"faults": ("power",)}),
        (Clog(**COMMON, nodes=(1, 2), release=(2, 1)), {"on": "sim"}),
    ],
)
def test_what_can_be_carried_out_is_not_refused(fault: Fault, settings: dict[str, Any]) -> None:
    check(fault, **settings)


def test_nothing_is_written_of_a_run_that_is_refused(tmp_path: Path) -> None:
    fault = Loss(**COMMON, nodes=(1,), percent=5, message="Acept")
    config = RunConfig.of(target="multi-paxos", on="sim")
    with pytest.raises(UsageError):
        execute(config, tmp_path, schedule=Schedule(faults=(fault,), duration_us=1_000_000))
    assert not list(tmp_path.iterdir())


def test_a_file_with_an_aimed_power_cut_prepares_the_disks_for_it(tmp_path: Path) -> None:
    file = tmp_path / "cut.toml"
    file.write_text(
        'duration = "5s"\n[[fault]]\nkind = "aimed"\nnodes = "any"\nmoment = "before-reply"\n'
        'action = "power"\nat = "1s"\nfor = "2s"\n'
    )
    config, schedule = with_schedule(RunConfig.of(target="raft", on="docker"), file)
    assert config.faults.kinds == ("aimed", "power")
    check_feasible(config, schedule)
