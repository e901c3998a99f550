"""Whether a node that ended during a fault had met it: exit codes, and last words."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from harness.runtimes.docker.injectors.ended_nodes import doubt_about_end
from harness.runtimes.docker.wants import DISK_SPACE, MEMORY, Want
from tests.harness.injector_fakes import Engine, cluster_of


def doubt(want: Want, log: str, *explained: str, **state: Any) -> str | None:
    engine = Engine()
    engine.log = log
    cluster, _ = cluster_of(engine)
    for identity in explained:
        cluster.may_end(1, identity)
    code = {"ExitCode": 1, **state}
    return asyncio.run(doubt_about_end(cluster, 1, code, want, "this"))


@pytest.mark.parametrize(
    ("words", "want"),
    [
        ("OSError: [Errno 12] Cannot allocate memory", MEMORY),
        ("OSError: [Errno 105] No buffer space available", MEMORY),
        ("OSError: [Errno 14] Bad address", MEMORY),
        ("java.lang.OutOfMemoryError: Java heap space", MEMORY),
        ("terminate called after throwing an instance of 'std::bad_alloc'", MEMORY),
        ("fatal error: runtime: out of memory\n" + 50 * "goroutine\n", MEMORY),
        ('{"event":"disk-error","why":"...","errno":28}', DISK_SPACE),
        ("write /data/wal: no space left on device", DISK_SPACE),
        ('Error: Os { code: 28, message: "No space left on device" }', DISK_SPACE),
        ("io: short write", DISK_SPACE),
        ("OSError: [Errno 112] Host is down", None),
        ("KeyError: 'memory'", None),
        ('{"event":"bug","why":"KeyError(28)"}', None),
    ],
)
def test_words_show_of_what_a_node_was_in_want(words: str, want: Want | None) -> None:
    for other in (MEMORY, DISK_SPACE):
        assert (doubt(other, words) is None) == (other is want)


def test_exit_codes_show_it_too() -> None:
    assert doubt(MEMORY, "", ExitCode=137) is None
    assert doubt(MEMORY, "", OOMKilled=True) is None
    assert doubt(DISK_SPACE, "", ExitCode=135) is None
    assert doubt(DISK_SPACE, "", OOMKilled=True) is not None
    assert doubt(DISK_SPACE, "", ExitCode=137) is not None
    said = doubt(MEMORY, "(no log)", ExitCode=139)
    assert said is not None and said.startswith("n1 ended by itself (exit code 139), and nothing")


def test_what_was_printed_before_the_last_start_shows_nothing() -> None:
    """The node had met a full disk before, and was started again."""
    engine = Engine()
    engine.log = "OSError: [Errno 28] No space left on device"
    engine.log_since = {1_700_000_000.25: "KeyError", 1_700_000_100.25: engine.log}
    cluster, _ = cluster_of(engine)

    def doubted(started: str | None) -> bool:
        state = {"ExitCode": 1, "StartedAt": started}
        return asyncio.run(doubt_about_end(cluster, 1, state, DISK_SPACE, "this")) is not None

    assert doubted("2023-11-14T22:13:20.500000000Z")
    assert not doubted("2023-11-14T22:15:00.500000001Z")
    for unknown in ("0001-01-01T00:00:00Z", "", None):
        assert not doubted(unknown)


def test_another_fault_may_explain_it() -> None:
    assert doubt(MEMORY, "", "other") is None
    assert doubt(MEMORY, "", "this") is not None
