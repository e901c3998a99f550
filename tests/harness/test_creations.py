"""What an interrupted start creates in a thread that nobody waits for."""

from __future__ import annotations

import threading

import pytest

from harness.errors import EngineError
from harness.runtimes.docker.creations import Creations

LIMIT_S = 20.0


def test_the_end_waits_for_what_is_being_created() -> None:
    creations, begun, made = Creations(), threading.Event(), threading.Event()
    order: list[str] = []

    def create() -> None:
        with creations.one():
            begun.set()
            made.wait(LIMIT_S)
            order.append("made")

    def remove() -> None:
        creations.end(LIMIT_S)
        order.append("removed")

    threads = [threading.Thread(target=work) for work in (create, remove)]
    threads[0].start()
    assert begun.wait(LIMIT_S)
    threads[1].start()
    threads[1].join(0.1)
    assert order == []
    made.set()
    for thread in threads:
        thread.join(LIMIT_S)
    assert order == ["made", "removed"]


def test_nothing_is_created_after_the_end() -> None:
    creations = Creations()
    with creations.one(), creations.one():
        pass
    creations.end(LIMIT_S)
    with pytest.raises(EngineError), creations.one():
        raise AssertionError


def test_a_creation_that_fails_has_ended() -> None:
    creations = Creations()
    with pytest.raises(ValueError, match="refused"), creations.one():
        raise ValueError("refused")
    creations.end(LIMIT_S)


def test_the_end_does_not_wait_for_an_engine_that_never_answers() -> None:
    creations = Creations()
    with creations.one():
        creations.end(0.05)
