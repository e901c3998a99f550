"""Where a run is recorded: a folder, or memory. The engine writes to either in the same steps.

begin(config, schedule)    before anything is started
opened(versions)           the cluster is ready; the versions of its software
event(event)               one event of the history, as it happens
collect(runtime)           the nodes' files, once the run is over: no more events
close()                    no more events; also after a failure
judge(...)                 the verdict, from what was recorded
"""

from __future__ import annotations

import platform
import secrets
import shlex
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from faults.schedule import Schedule
from harness import __version__
from harness.errors import HarnessError
from harness.run.config import RunConfig
from harness.run.expected import fingerprints, seal_verdict, write_digests
from harness.run.verdict import RunVerdict, judge_folder
from harness.runtimes.interface import Runtime
from harness.workloads import WORKLOADS
from histories.errors import HistoryError, in_words
from histories.events import Event
from histories.folder import SCHEDULE, VERDICT, RunFolder
from histories.recorder import HistoryWriter


class Record(Protocol):
    """See the top of this file."""

    def begin(self, config: RunConfig, schedule: Schedule) -> None: ...

    def opened(self, versions: dict[str, str]) -> None: ...

    def event(self, event: Event) -> None: ...

    def collect(self, runtime: Runtime) -> None: ...

    def close(self) -> None: ...


def new_run_id() -> str:
    """Time and a few random digits: names containers and networks, too."""
    return f"{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(3)}"


class FolderRecord:
    """Records into a new folder under `store`, which the user chose by `option`. Raises
    HarnessError if it cannot be written."""

    def __init__(
        self,
        store: Path,
        *,
        name: str | None = None,
        run_id: str | None = None,
        option: str = "--store",
    ) -> None:
        self.run_id = run_id or new_run_id()
        # Commands are shown with the folder's path, where it must not look like an option.
        self._store = store.absolute() if str(store).startswith("-") else store
        self._name = name
        self._option = option
        self._config: RunConfig
        self._versions: dict[str, str] = {}
        self._writer: HistoryWriter | None = None
        self.folder: RunFolder

    def begin(self, config: RunConfig, schedule: Schedule) -> None:
        name = self._name or f"{self.run_id[:15]}-{label(config)}-seed{config.seed}"
        try:
            self.folder = RunFolder.create(self._store, name)
            self._config = config
            self.folder.write_json(SCHEDULE, schedule.to_json())
            self._write_run({})
            self._writer = HistoryWriter(self.folder.history)
        except (HistoryError, OSError) as error:
            raise HarnessError(
                f"the run cannot be recorded: {in_words(error)}",
                remedy=f"choose a folder that can be written: {self._option} FOLDER",
            ) from error

    def opened(self, versions: dict[str, str]) -> None:
        self._versions = versions
        try:
            self._write_run(versions)
        except OSError as error:
            raise self.full(error) from error

    def event(self, event: Event) -> None:
        assert self._writer is not None
        try:
            self._writer.append(event)
        except OSError as error:
            raise self.full(error) from error

    def collect(self, runtime: Runtime) -> None:
        self.close()
        try:
            uncollected = dict(runtime.collect(self.folder.nodes))
            collected = fingerprints(self.folder.nodes)
            self._write_run(self._versions, collected=collected, uncollected=uncollected)
            write_digests(self.folder)
        except OSError as error:
            raise self.full(error) from error

    def close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            try:
                writer.close()
            except OSError as error:
                raise self.full(error) from error

    def judge(self) -> RunVerdict:
        """The verdict from the folder, which is written there too."""
        verdict = judge_folder(self.folder, time_limit_s=self._config.check_limit_s)
        self.write_verdict(verdict)
        return verdict

    def write_verdict(self, verdict: RunVerdict) -> None:
        """Write verdict.json, and its digest."""
        try:
            self.folder.write_json(VERDICT, verdict.to_json())
            seal_verdict(self.folder)
        except OSError as error:
            raise self.full(error) from error

    def how_to_judge(self) -> str:
        """The command that judges what was recorded of a run that was stopped; "" if nothing
        was."""
        folder = getattr(self, "folder", None)
        if folder is None or not folder.history.exists() or not folder.history.stat().st_size:
            return ""
        path = shlex.quote(str(folder.path))
        return f"what was recorded can be judged: antipaxos check {path}"

    def full(self, error: OSError) -> HarnessError:
        """The error for a folder that cannot be written any more."""
        return HarnessError(
            f"the run cannot be recorded: {in_words(error)}",
            remedy=f"free the disk of {self.folder.path}; what was written can be judged: "
            f"antipaxos check {shlex.quote(str(self.folder.path))}",
        )

    def _write_run(self, versions: dict[str, str], **more: Any) -> None:
        config = self._config
        able = config.system.capabilities
        self.folder.write_run(
            {
                "id": self.run_id,
                "seed": config.seed,
                "model": WORKLOADS[config.traffic.workload].model,
                "config": config.to_json(),
                "expected": {
                    "decided_logs": able.decided_logs,
                    "state_digests": able.state_digests,
                    "nodes": list(config.cluster.node_ids()),
                    "digests": True,
                },
                "versions": {
                    "antipaxos": __version__,
                    "python": platform.python_version(),
                    "docker-py": metadata.version("docker"),
                }
                | versions,
            }
            | more
        )


class MemoryRecord:
    """Keeps only the events: for sweeps, which make several runs a second."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.event = self.events.append

    def begin(self, config: RunConfig, schedule: Schedule) -> None:
        """Nothing to prepare."""

    def opened(self, versions: dict[str, str]) -> None:
        """Not kept."""

    def collect(self, runtime: Runtime) -> None:
        """The simulated world holds the nodes' logs."""

    def close(self) -> None:
        """Nothing to close."""


def label(config: RunConfig) -> str:
    """The target's name in a form for file names."""
    return Path(config.target).stem if "/" in config.target else config.target.replace(".py", "")
