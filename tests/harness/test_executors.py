"""Executors: one contract for all of them, and failures that only processes can have."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.search.executors import Executor, InProcess, Processes, local_executor


@pytest.fixture(params=[InProcess, lambda: Processes(3)], ids=["in-process", "processes"])
def executor(request: pytest.FixtureRequest) -> Executor:
    made: Executor = request.param()
    return made


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    yield
    assert not multiprocessing.active_children()


def square(number: int) -> int:
    time.sleep(0.002 * (number % 3))  # the later ones are often ready first
    return number * number


def test_results_come_in_the_order_of_the_items(executor: Executor) -> None:
    outcomes = list(executor.map(square, range(50)))
    assert [(o.item, o.result, o.lost) for o in outcomes] == [(n, n * n, None) for n in range(50)]
    assert list(executor.map(square, [])) == []


def fails_at_seven(number: int) -> int:
    if number == 7:
        raise UsageError("seven", remedy="another number")
    return number


def test_what_work_raises_is_raised_at_its_place(executor: Executor) -> None:
    seen: list[int] = []
    with pytest.raises(UsageError, match="seven") as caught:
        seen.extend(outcome.item for outcome in executor.map(fails_at_seven, range(20)))
    assert seen == list(range(7)) and caught.value.remedy == "another number"


def test_closing_it_cancels_the_rest(executor: Executor) -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(10_000):
            taken.append(number)
            yield number

    outcomes = executor.map(square, items())
    assert [next(outcomes).item for _ in range(3)] == [0, 1, 2]
    outcomes.close()
    assert len(taken) < 200


def slow_first(number: int) -> int:
    time.sleep(0.2 if number == 0 else 0)
    return number


def test_only_so_much_is_done_ahead_of_a_slow_item() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(10_000):
            taken.append(number)
            yield number

    outcomes = Processes(2).map(slow_first, items())
    assert next(outcomes).item == 0
    assert len(taken) <= 64 + 2
    outcomes.close()


class DiesAt:
    """Work that kills its own process at one item; only the first `times` times."""

    def __init__(self, item: int, marks: Path, times: int) -> None:
        self.item, self.marks, self.times = item, marks, times

    def __call__(self, number: int) -> int:
        if number == self.item and len(list(self.marks.iterdir())) < self.times:
            (self.marks / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number


def test_an_item_whose_worker_died_is_tried_again(tmp_path: Path) -> None:
    outcomes = list(Processes(2).map(DiesAt(5, tmp_path, 1), range(12)))
    assert [(o.item, o.result) for o in outcomes] == [(n, n) for n in range(12)]


def test_an_item_that_kills_every_worker_is_lost_and_the_others_are_not(tmp_path: Path) -> None:
    outcomes = list(Processes(2).map(DiesAt(5, tmp_path, 99), range(12)))
    lost = [o for o in outcomes if o.lost]
    assert [o.item for o in lost] == [5] and "SIGKILL" in str(lost[0].lost)
    assert [o.result for o in outcomes if not o.lost] == [n for n in range(12) if n != 5]


def make_unpicklable(_: int) -> object:
    return lambda: None


def test_a_result_that_cannot_leave_its_process_is_an_error() -> None:
    with pytest.raises(TypeError, match="cannot leave its process"):
        list(Processes(2).map(make_unpicklable, range(3)))


def parent(pipe: int) -> None:
    os.write(pipe, b"".join(f"{o.result}\n".encode() for o in Processes(2).map(pid_of, range(4))))
    for outcome in Processes(2).map(pid_then_wait, range(4)):
        os.write(pipe, f"{outcome.result}\n".encode())


def pid_of(_: int) -> int:
    return os.getpid()


def pid_then_wait(number: int) -> int:
    time.sleep(0 if number < 2 else 0.5)
    return os.getpid()


def test_no_worker_outlives_a_parent_that_is_killed() -> None:
    reading, writing = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=parent, args=(writing,))
    process.start()
    os.close(writing)
    with os.fdopen(reading) as file:
        pids = {int(file.readline()) for _ in range(6)}
        process.kill()
        process.join()
        assert file.read() == ""  # the workers hold the pipe's other end, too: all of them are gone
    assert len(pids) >= 3


def test_one_job_needs_no_process() -> None:
    assert isinstance(local_executor(1), InProcess)
    assert isinstance(local_executor(2), Processes)
