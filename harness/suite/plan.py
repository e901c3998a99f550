"""The file of a suite: what it may say, and how a matrix becomes jobs.

A wrong file is refused with the table and key, the line where it stands, and the choices.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from harness.errors import HarnessError, UsageError
from harness.runtimes import RUNTIMES
from harness.search.swarm import SweepPlan
from harness.suite.jobs import Job
from harness.targets import settings_of, target_named

SWARM: Final = "swarm"
CELL_KEYS: Final = (
    "name",
    "on",
    "targets",
    "workloads",
    "faults",
    "nodes",
    "mutants",
    "seeds",
    "fresh",
    "time",
    "rate",
    "budget",
    "settings",
)
FRESH_MAX: Final = 10_000_000
UNITS: Final = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}
SIZES: Final = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


class BadSuite(UsageError):
    """The file says something that cannot be; names the line."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of a matrix: a row of the result. Times are microseconds."""

    name: str
    on: str
    target: str
    workload: str
    faults: str
    nodes: int | None
    mutant: str | None
    time_us: int
    rate: float | None
    settings: Mapping[str, Any]
    seeds: tuple[int, ...]
    fresh: int
    budget_us: int | None

    @property
    def label(self) -> str:
        """What the row is called everywhere."""
        parts = [self.name, self.target, self.workload, self.faults, self.on]
        if self.nodes is not None:
            parts.append(f"{self.nodes} nodes")
        if self.mutant is not None:
            parts.append(f"mutant {self.mutant}")
        return " / ".join(parts)

    @property
    def subject(self) -> str:
        """What is under test: the target, with its planted bug."""
        return self.target + (f"+{self.mutant}" if self.mutant else "")

    def job(self, seed: int) -> Job:
        """The job of one seed."""
        fixed: dict[str, Any] = {"time_us": self.time_us, "workload": self.workload}
        for name in ("nodes", "rate"):
            if getattr(self, name) is not None:
                fixed[name] = getattr(self, name)
        if self.settings:
            fixed["settings"] = settings_of(self.target, self.settings)
        swarm = self.faults == SWARM
        if not swarm:
            kinds = tuple(k.strip() for k in self.faults.split(",") if k.strip() != "none")
            fixed["faults"] = kinds
        return Job(
            cell=self.label,
            target=self.target,
            mutant=self.mutant,
            on=self.on,
            seed=seed,
            swarm=swarm,
            fixed=fixed,
        )


@dataclass(frozen=True, kw_only=True)
class Expected:
    """A failure that is known and accepted until a date."""

    signature: str
    reason: str
    until: datetime.date


@dataclass(frozen=True, kw_only=True)
class Keep:
    """Retention. Days; bytes."""

    days: int = 30
    failures_days: int = 365
    size_bytes: int | None = None
    compress: bool = True


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The whole file."""

    name: str
    store: Path
    budget_us: int | None
    jobs: int
    docker_jobs: int
    cells: tuple[Cell, ...]
    expected: tuple[Expected, ...] = ()
    confirm: int = 2
    shrink_us: int = 30_000_000
    tell: Mapping[str, str] = field(default_factory=dict)
    keep: Keep = field(default_factory=Keep)

    def seeds_of(self, cell: Cell, night: str) -> tuple[int, ...]:
        """The fixed seeds of a cell, and tonight's fresh ones."""
        return cell.seeds + fresh_seeds(self.name, night, cell)

    def jobs_of(self, night: str) -> Iterator[Job]:
        """Every job of a night, cells in turn: what a short night runs is spread over all."""
        rows = [[cell.job(seed) for seed in self.seeds_of(cell, night)] for cell in self.cells]
        for column in itertools.zip_longest(*rows):
            yield from (job for job in column if job is not None)


def fresh_seeds(suite: str, night: str, cell: Cell) -> tuple[int, ...]:
    """Seeds that only this night has, from its name (the date, or a commit)."""
    digest = hashlib.sha256(f"{suite}\0{night}\0{cell.label}".encode()).digest()
    first = int.from_bytes(digest[:5], "big") * 1_000  # below 2**50: exact in every JSON reader
    return tuple(range(first, first + cell.fresh))


# ------------------------------------------------------------------------------- reading


def read_suite(path: Path) -> Suite:
    """The suite in a file. Raises BadSuite."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadSuite(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise BadSuite(f"{path} is not a text file") from None
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadSuite(f"{path}: {error}") from None
    return _Reader(path, text).suite(document)


class _Reader:
    """Reads the tables; knows the file, to say where something stands."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = text.splitlines()

    def suite(self, document: dict[str, Any]) -> Suite:
        tables = ("suite", "cells", "expected", "findings", "tell", "keep")
        self._known("the file", document, tables)
        top = self._table(document, "suite")
        self._known("[suite]", top, ("name", "store", "budget", "jobs", "docker_jobs"))
        cells = tuple(c for table in self._tables(document, "cells") for c in self._cells(table))
        if not cells:
            raise self._wrong("cells", "a suite needs at least one [[cells]]")
        finding = self._table(document, "findings")
        self._known("[findings]", finding, ("confirm", "shrink"))
        tell = self._table(document, "tell")
        self._known("[tell]", tell, ("junit", "prometheus", "webhook"))
        suite = Suite(
            name=str(top.get("name", self._path.stem)),
            store=self._path.parent / str(top.get("store", "nights")),
            budget_us=self._duration(top, "budget", None),
            jobs=self._whole(top, "jobs", 1, 1, 256),
            docker_jobs=self._whole(top, "docker_jobs", 1, 1, 64),
            cells=cells,
            expected=tuple(self._expected(t) for t in self._tables(document, "expected")),
            confirm=self._whole(finding, "confirm", 2, 0, 100),
            shrink_us=self._duration(finding, "shrink", 30_000_000) or 0,
            tell={name: str(value) for name, value in tell.items()},
            keep=self._keep(self._table(document, "keep")),
        )
        labels = [cell.label for cell in suite.cells]
        if twice := next((label for label in labels if labels.count(label) > 1), None):
            raise self._wrong("cells", f"two cells are the same: {twice}; give them names")
        return suite

    def _cells(self, table: dict[str, Any]) -> Iterator[Cell]:
        known: tuple[str, ...] = (
            "name",
            "on",
            "targets",
            "workloads",
            "faults",
            "nodes",
            "mutants",
            "seeds",
        )
        known += ("fresh", "time", "rate", "budget", "settings")
        self._known("[[cells]]", table, known)
        on = str(table.get("on", "sim"))
        if on not in RUNTIMES:
            raise self._wrong("on", f"no runtime {on!r}; there are {', '.join(RUNTIMES)}")
        targets = self._list(table, "targets", str)
        if not targets:
            raise self._wrong("targets", "a cell needs targets")
        matrix = itertools.product(
            targets,
            self._list(table, "workloads", str) or ["kv"],
            self._list(table, "faults", str) or [SWARM if on == "sim" else "partition,kill,pause"],
            self._list(table, "nodes", int) or [None],
            self._list(table, "mutants", str) or [None],
        )
        rate = table.get("rate")
        if rate is not None and (isinstance(rate, bool) or not isinstance(rate, (int, float))):
            raise self._wrong("rate", f"rate must be a number, not {rate!r}")
        for target, workload, faults, nodes, mutant in matrix:
            cell = Cell(
                name=str(table.get("name", on)),
                on=on,
                target=target,
                workload=workload,
                faults=faults,
                nodes=nodes,
                mutant=mutant,
                time_us=self._duration(table, "time", 10_000_000) or 1,
                rate=None if rate is None else float(rate),
                settings=self._table(table, "settings"),
                seeds=tuple(self._list(table, "seeds", int)),
                fresh=self._whole(table, "fresh", 0, 0, FRESH_MAX),
                budget_us=self._duration(table, "budget", None),
            )
            self._try(cell)
            yield cell

    def _try(self, cell: Cell) -> None:
        """Refuse what no run can be, before the night."""
        if not cell.seeds and not cell.fresh:
            raise self._wrong("seeds", f"{cell.label}: neither seeds nor fresh ones")
        if cell.faults == SWARM and cell.on != "sim":
            raise self._wrong(SWARM, 'the swarm\'s mix is for on = "sim"; list kinds of faults')
        try:
            target_named(cell.target)
            job = cell.job(0)
            if job.swarm:
                plan = SweepPlan(protocol=cell.target, mutant=cell.mutant, fixed=job.fixed)
                plan.check()
            else:
                job.config()
        except HarnessError as error:
            remedy = f"; {error.remedy}" if error.remedy else ""
            raise self._wrong(cell.target, f"{cell.label}: {error.message}{remedy}") from None

    def _expected(self, table: dict[str, Any]) -> Expected:
        self._known("[[expected]]", table, ("signature", "reason", "until"))
        until = table.get("until")
        if not isinstance(until, datetime.date) or not table.get("signature"):
            raise self._wrong("expected", "needs a signature, a reason, and a date: until")
        if not str(table.get("reason", "")).strip():
            raise self._wrong("expected", "needs a reason")
        day = until.date() if isinstance(until, datetime.datetime) else until
        return Expected(signature=str(table["signature"]), reason=str(table["reason"]), until=day)

    def _keep(self, table: dict[str, Any]) -> Keep:
        self._known("[keep]", table, ("days", "failures_days", "size", "compress"))
        compress = table.get("compress", True)
        if not isinstance(compress, bool):
            raise self._wrong("compress", "compress must be true or false")
        return Keep(
            days=self._whole(table, "days", 30, 0, 100_000),
            failures_days=self._whole(table, "failures_days", 365, 0, 100_000),
            size_bytes=self._size(table, "size"),
            compress=compress,
        )

    # ------------------------------------------------------------------ values

    def _table(self, table: dict[str, Any], name: str) -> dict[str, Any]:
        value = table.get(name, {})
        if not isinstance(value, dict):
            raise self._wrong(name, f"{name} must be a table")
        return value

    def _tables(self, document: dict[str, Any], name: str) -> list[dict[str, Any]]:
        value = document.get(name, [])
        if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
            raise self._wrong(name, f"write [[{name}]]")
        return value

    def _list(self, table: dict[str, Any], name: str, kind: type) -> list[Any]:
        value = table.get(name, [])
        found = value if isinstance(value, list) else [value]
        for item in found:
            if not isinstance(item, kind) or isinstance(item, bool):
                word = "texts" if kind is str else "whole numbers"
                raise self._wrong(name, f"{name} must be {word}, not {item!r}")
        return found

    def _whole(self, table: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
        value = table.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self._wrong(name, f"{name} must be a whole number, {least} to {most}")
        return value

    def _duration(self, table: dict[str, Any], name: str, default: int | None) -> int | None:
        if name not in table:
            return default
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|h)", str(table[name]))
        if match is None:
            raise self._wrong(name, f'{name} = {table[name]!r} is no duration; write "30s"')
        return round(float(match[1]) * UNITS[match[2]])

    def _size(self, table: dict[str, Any], name: str) -> int | None:
        if name not in table:
            return None
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|TB)", str(table[name]))
        if match is None:
            raise self._wrong(name, f'{name} = {table[name]!r} is no size; write "5GB"')
        return round(float(match[1]) * SIZES[match[2]])

    def _known(self, where: str, table: dict[str, Any], known: tuple[str, ...]) -> None:
        for name in table:
            if name not in known:
                raise self._wrong(name, f"{where} has no {name!r}; there are {', '.join(known)}")

    def _wrong(self, word: str, message: str) -> BadSuite:
        """The error, with the first line in which the word stands."""
        found = re.compile(rf"\b{re.escape(word)}\b")
        number = next((n for n, line in enumerate(self._lines, 1) if found.search(line)), None)
        where = f"{self._path}, line {number}" if number else str(self._path)
        return BadSuite(f"{where}: {message}")


def example() -> str:
    """The text of `--init`."""
    return (Path(__file__).parent / "example.toml").read_text(encoding="utf-8")
