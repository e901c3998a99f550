"""The simulator as a runtime: the same run as on Docker, under virtual time, in this process.

Nothing has to be started or removed. The nodes' decisions and notes are kept in memory; `collect`
writes them into the run's folder in the same format as real nodes.
"""

from __future__ import annotations

import _thread
import gc
import itertools
import json
import platform
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.run.config import RunConfig
from harness.run.interrupts import GRACE_S
from harness.runtimes.interface import Driven
from harness.runtimes.sim.config import WorldConfig
from harness.runtimes.sim.crashes import NodeCrash
from harness.runtimes.sim.node import SimNode
from harness.runtimes.sim.record_files import write_lines, write_record
from harness.runtimes.sim.run_record import RunRecord
from harness.runtimes.sim.world import World
from node_image.protocols.interface import Decided


class SimRuntime:
    """One simulated run. With `traced`, everything in `harness.runtimes.sim.run_record` is kept,
    and written by `collect`; without, a run takes half the time."""

    def __init__(self, config: RunConfig, *, traced: bool = True) -> None:
        self.config = config
        self._grace: threading.Timer | None = None
        self._has_ended = False
        self.world = World(config, WorldConfig.from_json(config.world))
        if traced:
            self.world.keep_record()

    # ------------------------------------------------------------------ the interface of runtimes

    def open(self) -> None:
        self.world.start_all()

    def drive(self, conductor: Driven) -> None:
        with _no_collector():
            try:
                self.world.drive(conductor)
            finally:
                self._end_grace()

    def collect(self, folder: Path) -> dict[str, str]:
        """Writes n1.log.jsonl, n1.decided.jsonl and n1.states.jsonl per node, crashes.json if there
        are any, and the record of a traced run (see `harness.runtimes.sim.record_files`)."""
        folder.mkdir(parents=True, exist_ok=True)
        for node in self.world.nodes.values():
            write_lines(folder / f"n{node.id}.log.jsonl", self._log_lines(node))
            write_lines(folder / f"n{node.id}.decided.jsonl", _decided_lines(node))
            write_lines(folder / f"n{node.id}.states.jsonl", _state_lines(node))
        if self.record is not None:
            write_record(self.world, self.record, folder)
        if self.crashes:
            crashes = [crash.to_json() for crash in self.crashes]
            (folder / "crashes.json").write_text(json.dumps(crashes, indent=1), encoding="utf-8")
        return {}

    def close(self) -> None:
        """Nothing to do: the memory is freed with this object."""

    def interrupt(self) -> None:
        """End the run early, between two events; the second call, or one event that takes longer
        than GRACE_S, stops it at once: raises KeyboardInterrupt. Safe in signal handlers."""
        if self._has_ended:
            return
        if self._grace is not None:
            raise KeyboardInterrupt
        self.world.is_interrupted = True
        self._grace = threading.Timer(GRACE_S, _thread.interrupt_main, [signal.SIGTERM])
        self._grace.daemon = True
        self._grace.start()

    def _end_grace(self) -> None:
        self._has_ended = True
        if self._grace is not None:
            self._grace.cancel()

    def now_us(self) -> int:
        return self.world.now_us

    def versions(self) -> dict[str, str]:
        return {"simulator": "1", "implementation": platform.python_implementation()}

    # ------------------------------------------------------------------ simulator only

    def decided(self) -> dict[int, list[Decided]]:
        """What each node decided, in the order in which it applied it, over all its lives."""
        return {n: node.decided for n, node in self.world.nodes.items()}

    @property
    def crashes(self) -> list[NodeCrash]:
        """The exceptions raised by the protocol."""
        return self.world.processes.crashes

    @property
    def record(self) -> RunRecord | None:
        """The recorded messages, if the run was traced."""
        return self.world.record

    def _log_lines(self, node: SimNode) -> Iterator[dict[str, Any]]:
        crashes = [crash for crash in self.crashes if crash.node == node.id]
        for at_us, note in node.notes:
            yield {"time": at_us * 1000, "event": note.what, **note.about}
        for crash in crashes:
            yield {"time": crash.at_us * 1000, "event": "crash", "traceback": crash.traceback}


def _decided_lines(node: SimNode) -> Iterator[dict[str, Any]]:
    bounds = [*node.lives, len(node.decided)]
    for life, (start, end) in enumerate(itertools.pairwise(bounds), 1):
        for at_us, decided in zip(node.decided_us[start:end], node.decided[start:end], strict=True):
            slot, ballot, commands = decided
            yield {
                "time": at_us * 1000,
                "life": life,
                "slot": slot,
                "ballot": list(ballot),
                "commands": [list(command) for command in commands],
            }


def _state_lines(node: SimNode) -> Iterator[dict[str, Any]]:
    for at_us, life, (slot, digest) in node.digests:
        yield {"time": at_us * 1000, "life": life, "slot": slot, "digest": digest}


@contextmanager
def _no_collector() -> Iterator[None]:
    """Disable garbage collection: a run creates few cycles and many tuples, and the search for
    cycles would take a tenth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
