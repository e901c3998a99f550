"""Waiting for a line in a container's log."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any, Final

import docker

from harness.errors import EngineError
from harness.runtimes.docker.engine import STREAM_ERRORS, engine_errors

FOLLOW_AGAIN_S: Final = 0.02


class LogLines:
    """The lines that a container logs from now on, until `count` of them hold `text`."""

    def __init__(self, api: docker.APIClient, container: str, text: str, count: int) -> None:
        self._api = api
        self._container = container
        self._text = text.encode()
        self._left = count
        self._seen_ns: int | None = None
        self._over = threading.Event()
        self._stream: Any = None
        self._refused: EngineError | None = None
        """Why the log was not opened when that was last attempted."""
        self._since_s = time.time()
        self._thread = threading.Thread(target=self._read, name="log lines", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> int | None:
        """When the last line came, on CLOCK_MONOTONIC; None where it did not come in time. Raises
        EngineError where the log could not be followed: then it may have come."""
        self._over.wait(timeout_s)
        if self._seen_ns is None and self._refused is not None:
            raise self._refused
        return self._seen_ns

    def close(self) -> None:
        """Stop following; waiting callers are woken."""
        self._over.set()
        with suppress(*STREAM_ERRORS):
            if self._stream is not None:
                self._stream.close()

    def _read(self) -> None:
        """The engine's stream ends when the container does; it may be started again."""
        while not self._over.is_set():
            with suppress(EngineError, *STREAM_ERRORS, ValueError):
                self._follow()
            self._over.wait(FOLLOW_AGAIN_S)

    def _follow(self) -> None:
        since_s, self._since_s = self._since_s, time.time()
        try:
            with engine_errors("following a container's log"):
                self._stream = self._api.logs(
                    self._container, stream=True, follow=True, since=since_s
                )
        except EngineError as error:
            self._refused = error
            raise
        self._refused = None
        rest = b""
        for chunk in self._stream:
            *lines, rest = (rest + chunk).split(b"\n")
            self._left -= sum(self._text in line for line in lines)
            self._since_s = time.time()
            if self._left <= 0 and not self._over.is_set():
                self._seen_ns = time.monotonic_ns()
                self._over.set()
            if self._over.is_set():
                return
