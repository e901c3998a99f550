"""The folder of a run: its configuration, everything that happened, and the verdict.

    <store>/<name>/
        run.json               format version, resolved configuration, versions, seed
        schedule.json          the faults, written before the first one is injected
        history.jsonl          the clients' operations and the faults, one event per line
        nodes/n1.log.jsonl     node 1's own log
        nodes/n1.decided.jsonl the decisions of node 1, one slot per line, in the order applied
        nodes/n1.states.jsonl  digests of node 1's state, each with the slot that it was applied to
        nodes/messages.jsonl   of simulated runs: every message between nodes, and its fate
        nodes/processes.jsonl  of simulated runs: starts, crashes, pauses, changes of role, disks
        nodes/crashes.json     of simulated runs: exceptions that the protocol raised
        digests.json           digests of run.json, schedule.json and history.jsonl, at the end,
                               and then of verdict.json
        verdict.json           the verdict
        report/                files added by reports

A run can be cut off at any time (kill -9, a power cut): the folder then lacks its last files, and
still opens. JSON documents are written to a temporary name and renamed, so that a document is
complete or absent.
"""

from __future__ import annotations

import gzip
import json
import os
import shlex
import shutil
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from histories.errors import BadFolder, in_words
from histories.text import quoted
from histories.untrusted import Malformed, NotRegular, read_document, require_regular

FORMAT_VERSION: Final = 2
READABLE: Final = (1, 2)
"""Format 1 had a flat configuration, and did not list the collected files."""

RUN: Final = "run.json"
SCHEDULE: Final = "schedule.json"
HISTORY: Final = "history.jsonl"
COMPRESSED: Final = "history.jsonl.gz"
"""The name of a history that retention has compressed; `RunFolder.open` unpacks it."""
DIGESTS: Final = "digests.json"
VERDICT: Final = "verdict.json"
NODES: Final = "nodes"
MESSAGES: Final = "messages.jsonl"
PROCESSES: Final = "processes.jsonl"
CRASHES: Final = "crashes.json"
REPORT: Final = "report"


class RunFolder:
    """One run's folder, made with `create` or opened with `open`."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @classmethod
    def create(cls, store: Path | str, name: str) -> RunFolder:
        """A new, empty folder `store/name`; a number is added if that name exists.

        Raises BadFolder if it cannot be created, with the system's reason.
        """
        if not name or "/" in name or name.startswith("."):
            raise BadFolder(f"{name!r} cannot name a run: use a plain file name")
        for attempt in range(1, 10_000):
            path = Path(store) / (name if attempt == 1 else f"{name}-{attempt}")
            try:
                (path / NODES).mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise BadFolder(f"cannot make {path}: {in_words(error)}") from error
            return cls(path)
        raise BadFolder(f"{store} already holds 10,000 runs called {name}: choose another folder")

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """The folder of a run that ended, or was cut off.

        Raises BadFolder if there is neither run.json nor a history, or if run.json is of another
        format version.
        """
        folder = cls(path)
        if not folder.path.is_dir():
            raise BadFolder(f"{path} is not a folder")
        folder._require_files()
        folder._unpack()
        if not folder.run.exists():
            if folder.history.exists():
                return folder
            raise BadFolder(
                f"{path} is not the folder of a run: it holds no {RUN} and no {HISTORY}"
                f"{runs_within(folder.path)}"
            )
        version = folder.read_object(RUN).get("format")
        if type(version) is not int or version not in READABLE:
            raise BadFolder(
                f"{folder.run} says format {quoted(version)}; this antipaxos reads formats "
                f"{READABLE[0]} to {READABLE[-1]}: use the version that recorded the run, or "
                f"check its {HISTORY} alone"
            )
        return folder

    def _require_files(self) -> None:
        for name in (RUN, HISTORY, COMPRESSED):
            try:
                require_regular(self.path / name)
            except NotRegular as error:
                raise BadFolder(f"{error.filename} cannot be read: {in_words(error)}") from None
            except OSError:
                continue  # missing, or an error of who reads it

    def _unpack(self) -> None:
        """Unpack the history, if only its compressed form exists."""
        packed = self.path / COMPRESSED
        if self.history.exists() or not packed.exists():
            return
        temporary = self.path / f".{HISTORY}.{os.getpid()}.{threading.get_ident()}"
        try:
            with gzip.open(packed, "rb") as source, temporary.open("xb") as target:
                shutil.copyfileobj(source, target)
            temporary.replace(self.history)
        except (OSError, EOFError, zlib.error) as error:
            raise BadFolder(f"{packed} cannot be unpacked: {in_words(error)}") from None
        finally:
            temporary.unlink(missing_ok=True)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def run(self) -> Path:
        return self.path / RUN

    @property
    def schedule(self) -> Path:
        return self.path / SCHEDULE

    @property
    def history(self) -> Path:
        return self.path / HISTORY

    @property
    def digests(self) -> Path:
        return self.path / DIGESTS

    @property
    def verdict(self) -> Path:
        return self.path / VERDICT

    @property
    def report(self) -> Path:
        return self.path / REPORT

    @property
    def nodes(self) -> Path:
        return self.path / NODES

    @property
    def messages(self) -> Path:
        """Of simulated runs: what nodes sent to each other."""
        return self.nodes / MESSAGES

    @property
    def processes(self) -> Path:
        """Of simulated runs: what happened to the nodes' processes."""
        return self.nodes / PROCESSES

    def node_log(self, node: int) -> Path:
        return self.nodes / f"n{node}.log.jsonl"

    def node_decided(self, node: int) -> Path:
        return self.nodes / f"n{node}.decided.jsonl"

    def decided_files(self) -> Iterator[tuple[int, Path]]:
        """(node, path) of every decided log that is there, by node number."""
        yield from self._per_node(".decided.jsonl")

    def state_files(self) -> Iterator[tuple[int, Path]]:
        """(node, path) of every file of state digests that is there, by node number."""
        yield from self._per_node(".states.jsonl")

    def _per_node(self, ending: str) -> Iterator[tuple[int, Path]]:
        found: list[tuple[int, Path]] = []
        for path in self.nodes.glob(f"n*{ending}"):
            number = path.name[1 : -len(ending)]
            if number.isdecimal():
                found.append((int(number), path))
        yield from sorted(found)

    def write_run(self, configuration: dict[str, Any]) -> None:
        """run.json: the format version, and what the controller records about the run."""
        self.write_json(RUN, {"format": FORMAT_VERSION} | configuration)

    def write_json(self, name: str, document: Any) -> Path:
        """Write one JSON document atomically; `name` is relative to the folder."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
        if not _encodable(text):  # half of a surrogate pair, which a node may have sent
            text = json.dumps(document, indent=1, allow_nan=False)
        try:
            temporary.write_text(text + "\n", encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def read_json(self, name: str) -> Any:
        """Read one JSON document of the folder.

        Raises BadFolder if it is missing or not JSON.
        """
        path = self.path / name
        try:
            return read_document(path)
        except FileNotFoundError:
            raise BadFolder(missing_file(path)) from None
        except Malformed as error:
            raise BadFolder(f"{path} {error}") from None
        except (OSError, MemoryError) as error:
            raise BadFolder(f"{path} cannot be read: {in_words(error)}") from error

    def read_object(self, name: str) -> dict[str, Any]:
        """The same for a document that must be an object. Raises BadFolder."""
        document = self.read_json(name)
        if not isinstance(document, dict):
            raise BadFolder(f"{self.path / name} cannot be read: it is not a JSON object")
        return document


def missing_file(path: Path) -> str:
    """In a sentence, that a document of a run's folder does not exist, and what follows from it."""
    without = {
        RUN: "it has the run's configuration, without which it cannot be replayed",
        SCHEDULE: "without it the run cannot be replayed",
    }.get(path.name)
    return f"{path} is missing from the folder" + (f": {without}" if without else "")


def runs_within(store: Path) -> str:
    """The end of a sentence about a folder that is not a run's: the runs that it contains, if any,
    and how to list them."""
    try:
        found = [child.name for child in store.iterdir() if _is_run(child)]
    except OSError:
        return ""
    if not found:
        return ""
    runs = f"{len(found)} run folder" + "s" * (len(found) > 1)
    last = shlex.quote(str(store / max(found)))
    return (
        f"; it contains {runs}: name one, for example {last} "
        f"(antipaxos index {shlex.quote(str(store))} lists them)"
    )


def _is_run(path: Path) -> bool:
    return (path / RUN).is_file() or (path / HISTORY).is_file()


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
