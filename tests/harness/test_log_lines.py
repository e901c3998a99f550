"""Waiting for a line of a container's log: it comes, it does not come, or nobody can know."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, cast

import docker
import pytest
from docker.errors import APIError

from harness.errors import EngineError
from harness.runtimes.docker.injectors.log_lines import LogLines


class Engine:
    """Each element of `streams` is what following the log gives: an error, or chunks after which it
    ends; the last one again and again. `last`: that one has been begun."""

    def __init__(self, *streams: Exception | list[bytes]) -> None:
        self.streams = list(streams)
        self.last = threading.Event()
        self.again = threading.Event()

    def logs(self, container: str, **_: Any) -> Iterator[bytes]:
        if self.last.is_set():
            self.again.set()
        stream = self.streams.pop(0) if len(self.streams) > 1 else self.streams[0]
        if len(self.streams) == 1 and stream is self.streams[0]:
            self.last.set()
        if isinstance(stream, Exception):
            raise stream
        return (chunk for chunk in stream)


def wait(engine: Engine, count: int = 1) -> int | None:
    lines = LogLines(cast(docker.APIClient, engine), "abc", "ready", count)
    try:
        assert engine.again.wait(20), "the log was not opened again"
        return lines.wait(0.0)
    finally:
        lines.close()


REFUSED = APIError("configured logging driver does not support reading")


def test_a_log_that_was_never_opened_is_an_error() -> None:
    with pytest.raises(EngineError, match=r"following a container's log: .*support reading"):
        wait(Engine(REFUSED))


def test_a_log_that_cannot_be_opened_again_is_an_error() -> None:
    with pytest.raises(EngineError, match="support reading"):
        wait(Engine([b"started\n"], REFUSED))


def test_a_line_that_does_not_come_is_none() -> None:
    assert wait(Engine([b"started\n"])) is None
    assert wait(Engine(REFUSED, [b"started\n"])) is None, "it was opened in the end"


def test_a_line_that_comes_counts_also_if_the_log_was_refused_before() -> None:
    engine = Engine(REFUSED, [b"star", b"ted\nrea", b"dy\n"])
    lines = LogLines(cast(docker.APIClient, engine), "abc", "ready", 1)
    try:
        assert lines.wait(20) is not None
    finally:
        lines.close()
