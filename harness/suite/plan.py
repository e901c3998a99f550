"""Reads the file of a suite, and expands its matrices into jobs.

An error is reported with the table and key, the line, and the possible values.
"""

from __future__ import annotations

import datetime
import itertools
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from faults import durations
from harness.errors import HarnessError, UsageError
from harness.run.limits import JOBS_MAX, TIME_MAX_US
from harness.runtimes import RUNTIMES
from harness.search.swarm import SweepPlan
from harness.suite.cells import SWARM, Cell, FailoverCell
from harness.suite.jobs import Job
from harness.suite.toml_lines import Lines
from harness.targets import target_named
from histories.errors import in_words

CELL_KEYS: Final = (
    "name",
    "on",
    "targets",
    "workloads",
    "faults",
    "nodes",
    "images",
    "mutants",
    "seeds",
    "fresh",
    "sweep",
    "time",
    "rate",
    "budget",
    "settings",
)
FAILOVER_KEYS: Final = (
    "name",
    "on",
    "targets",
    "images",
    "failures",
    "count",
    "nodes",
    "rate",
    "election",
    "settings",
    "regress",
    "baseline",
    "budget",
)
FRESH_MAX: Final = 100_000
SWEEP_MAX: Final = 1_000_000_000
SIZES: Final = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


class BadSuite(UsageError):
    """The file has an error; the message names the line."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """A known failure that is accepted until a date."""

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
    cells: tuple[Cell | FailoverCell, ...]
    expected: tuple[Expected, ...] = ()
    confirm: int = 2
    shrink_us: int = 30_000_000
    tell: Mapping[str, str] = field(default_factory=dict)
    keep: Keep = field(default_factory=Keep)

    def jobs_of(self, night: str) -> Iterator[Job]:
        """The jobs of a night without the sweeps, alternating between cells, so that a short night
        runs some of each."""
        rows = [cell.jobs(self.name, night) for cell in self.cells]
        for column in itertools.zip_longest(*rows):
            yield from (job for job in column if job is not None)

    def sweeps(self) -> Iterator[Cell]:
        """The cells with a sweep."""
        return (c for c in self.cells if isinstance(c, Cell) and c.sweep)


# ------------------------------------------------------------------------------- reading


def read_suite(path: Path) -> Suite:
    """The suite in a file. Raises BadSuite."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadSuite(
            f"{path} cannot be read: {in_words(error)}",
            remedy=f"create it: antipaxos suite {shlex.quote(str(path))} --init",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadSuite(f"{path} cannot be read: {in_words(error)}") from None
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadSuite(f"{path}: {error}") from None
    return _Reader(path, text).suite(document)


class _Reader:
    """Reads the tables, and names the line of an error."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = Lines(text)

    def suite(self, document: dict[str, Any]) -> Suite:
        tables = ("suite", "cells", "failover", "expected", "findings", "tell", "keep")
        self._known("the file", document, tables)
        top = self._section(document, "suite")
        self._known("[suite]", top, ("name", "store", "budget", "jobs", "docker_jobs"))
        name = self._text(top, "name", self._path.stem)
        store = self._text(top, "store", "nights")
        budget_us = self._duration(top, "budget", None)
        jobs = self._whole(top, "jobs", 1, 1, JOBS_MAX)
        docker_jobs = self._whole(top, "docker_jobs", 1, 1, 64)
        cells: list[Cell | FailoverCell] = []
        for table in self._tables(document, "failover"):
            cells += self._failovers(table)
        for table in self._tables(document, "cells"):
            cells += self._cells(table)
        if not cells:
            raise self._wrong("cells", "a suite needs at least one [[cells]] or [[failover]]")
        labels = [cell.label for cell in cells]
        if twice := next((label for label in labels if labels.count(label) > 1), None):
            raise self._wrong("cells", f"two cells are the same: {twice}; give them names")
        expected = tuple(self._expected(table) for table in self._tables(document, "expected"))
        finding = self._section(document, "findings")
        self._known("[findings]", finding, ("confirm", "shrink"))
        confirm = self._whole(finding, "confirm", 2, 0, 100)
        shrink_us = self._duration(finding, "shrink", 30_000_000, least_us=0) or 0
        tell = self._tell(self._section(document, "tell"))
        return Suite(
            name=name,
            store=self._path.parent / store,
            budget_us=budget_us,
            jobs=jobs,
            docker_jobs=docker_jobs,
            cells=tuple(cells),
            expected=expected,
            confirm=confirm,
            shrink_us=shrink_us,
            tell=tell,
            keep=self._keep(self._section(document, "keep")),
        )

    def _cells(self, table: dict[str, Any]) -> Iterator[Cell]:
        self._known("[[cells]]", table, CELL_KEYS)
        on, targets = self._runtime(table, "sim"), self._targets(table)
        matrix = itertools.product(
            targets,
            self._list(table, "workloads", str) or ["kv"],
            self._list(table, "faults", str) or [SWARM if on == "sim" else "partition,kill,pause"],
            self._list(table, "nodes", int) or [None],
            self._list(table, "images", str) or [None],
            self._list(table, "mutants", str) or [None],
        )
        for target, workload, faults, nodes, image, mutant in matrix:
            cell = Cell(
                name=self._text(table, "name", on),
                on=on,
                target=target,
                workload=workload,
                faults=faults,
                nodes=nodes,
                image=image,
                mutant=mutant,
                time_us=self._duration(table, "time", 10_000_000) or 1,
                rate=self._number(table, "rate"),
                settings=self._table(table, "settings"),
                seeds=self._seeds(table),
                fresh=self._whole(table, "fresh", 0, 0, FRESH_MAX),
                sweep=self._whole(table, "sweep", 0, 0, SWEEP_MAX),
                budget_us=self._duration(table, "budget", None),
            )
            self._try(cell)
            yield cell

    def _try(self, cell: Cell) -> None:
        """Refuse impossible runs before the night begins."""
        if not cell.seeds and not cell.fresh and not cell.sweep:
            raise self._wrong("seeds", f"{cell.label}: neither seeds, nor fresh ones, nor a sweep")
        if cell.sweep and cell.on != "sim":
            raise self._wrong("sweep", 'a sweep over the nights is for on = "sim"; write fresh = N')
        if cell.faults == SWARM and cell.on != "sim":
            raise self._wrong(SWARM, 'the swarm\'s mix is for on = "sim"; list kinds of faults')
        try:
            self._check_image(cell)
            job = cell.job(0)
            if job.swarm:
                plan = SweepPlan(protocol=cell.target, mutant=cell.mutant, fixed=job.fixed)
                plan.check()
            else:
                job.config()
        except HarnessError as error:
            raise self._refused(cell.target, cell.label, error) from None

    def _failovers(self, table: dict[str, Any]) -> Iterator[FailoverCell]:
        self._known("[[failover]]", table, FAILOVER_KEYS)
        on, targets = self._runtime(table, "docker"), self._targets(table)
        for target, image, failure in itertools.product(
            targets,
            self._list(table, "images", str) or [None],
            self._list(table, "failures", str) or ["kill"],
        ):
            cell = FailoverCell(
                name=self._text(table, "name", "failover"),
                on=on,
                target=target,
                image=image,
                failure=failure,
                count=self._whole(table, "count", 10, 1, 10_000),
                nodes=self._whole(table, "nodes", 3, 1, 64),
                rate=self._number(table, "rate") or 200.0,
                election_us=self._duration(table, "election", 1_000_000) or 1,
                settings=self._table(table, "settings"),
                allowed=self._percent(table, "regress", 0.2),
                baseline=self._text(table, "baseline", "") or None,
                budget_us=self._duration(table, "budget", None),
            )
            try:
                self._check_image(cell)
                for job in cell.jobs("", ""):
                    job.failover()
            except HarnessError as error:
                raise self._refused(target, cell.label, error) from None
            yield cell

    def _check_image(self, cell: Cell | FailoverCell) -> None:
        known = target_named(cell.target).capabilities.settings
        if cell.image is not None and "image" not in known:
            words = "its nodes' image cannot be chosen; name a target file for each version"
            raise self._wrong("images", f"{cell.label}: {cell.target}: {words}")

    def _runtime(self, table: dict[str, Any], default: str) -> str:
        on = self._text(table, "on", default)
        if on not in RUNTIMES:
            raise self._wrong("on", f"no runtime {on!r}; choose one of {', '.join(RUNTIMES)}")
        return on

    def _targets(self, table: dict[str, Any]) -> list[str]:
        targets: list[str] = self._list(table, "targets", str)
        if not targets:
            raise self._wrong("targets", "a cell needs targets")
        return targets

    def _refused(self, word: str, label: str, error: HarnessError) -> BadSuite:
        """Convert an error of a run's own checks; the line is that of the name quoted in it."""
        remedy = f"; {error.remedy}" if error.remedy else ""
        remedy = re.sub(r"--on (\w+)", r'on = "\1"', remedy)
        quoted = re.search(r"'([^']+)'", error.message)
        return self._wrong(quoted[1] if quoted else word, f"{label}: {error.message}{remedy}")

    def _expected(self, table: dict[str, Any]) -> Expected:
        self._known("[[expected]]", table, ("signature", "reason", "until"))
        until = table.get("until")
        signature, reason = (self._text(table, name, "") for name in ("signature", "reason"))
        if not isinstance(until, datetime.date) or not signature or not reason:
            words = "needs a signature, a reason, and a date without quotes: until = 2030-01-31"
            raise self._wrong("until" if "until" in table else "expected", words)
        day = until.date() if isinstance(until, datetime.datetime) else until
        return Expected(signature=signature, reason=reason, until=day)

    def _tell(self, table: dict[str, Any]) -> dict[str, str]:
        self._known("[tell]", table, ("junit", "prometheus", "webhook"))
        tell = {name: self._text(table, name, "") for name in table}
        if "webhook" in tell and not re.match(r"https?://[^/]", tell["webhook"]):
            found = tell["webhook"]
            raise self._wrong(
                "webhook", f'webhook = {found!r} is not an address; write "http://..."'
            )
        return tell

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

    def _section(self, document: dict[str, Any], name: str) -> dict[str, Any]:
        """Start to read a table of the file."""
        self._lines.enter(name)
        return self._table(document, name)

    def _tables(self, document: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
        """The tables of an array, each started when it is yielded."""
        value = document.get(name, [])
        if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
            self._lines.enter(name)
            raise self._wrong(name, f"write [[{name}]]")
        for number, table in enumerate(value):
            self._lines.enter(name, number)
            yield table

    def _list(self, table: dict[str, Any], name: str, kind: type) -> list[Any]:
        value = table.get(name, [])
        found = value if isinstance(value, list) else [value]
        for item in found:
            if not isinstance(item, kind) or isinstance(item, bool):
                word = "texts" if kind is str else "whole numbers"
                raise self._wrong(name, f"{name} must be {word}, not {item!r}")
        return found

    def _seeds(self, table: dict[str, Any]) -> tuple[int, ...]:
        seeds: list[int] = self._list(table, "seeds", int)
        if twice := next((seed for seed in seeds if seeds.count(seed) > 1), None):
            raise self._wrong("seeds", f"seed {twice} is there twice")
        if any(seed < 0 for seed in seeds):
            raise self._wrong("seeds", f"seeds must be 0 or more, not {min(seeds)}")
        return tuple(seeds)

    def _text(self, table: dict[str, Any], name: str, default: str) -> str:
        """A text of printable characters: it stands on pages, in XML and in names of folders."""
        value = table.get(name, default)
        if not isinstance(value, str) or not value.isprintable():
            raise self._wrong(name, f"{name} must be a printable text, not {value!r}")
        if name in table and not value.strip():
            raise self._wrong(name, f"{name} must not be empty")
        return value

    def _whole(self, table: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
        value = table.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self._wrong(name, f"{name} must be a whole number, {least} to {most}")
        return value

    def _number(self, table: dict[str, Any], name: str) -> float | None:
        value = table.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise self._wrong(name, f"{name} must be a number, not {value!r}")
        return None if value is None else float(value)

    def _percent(self, table: dict[str, Any], name: str, default: float) -> float:
        """A fraction: 0.2 for "20%"."""
        if name not in table:
            return default
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", str(table[name]))
        if match is None:
            raise self._wrong(name, f'{name} = {table[name]!r} is not a percentage; write "20%"')
        return float(match[1]) / 100

    def _duration(
        self, table: dict[str, Any], name: str, default: int | None, *, least_us: int = 1
    ) -> int | None:
        if name not in table:
            return default
        found = durations.parse_us(str(table[name]))
        if found is None:
            raise self._wrong(
                name,
                f"{name} = {table[name]!r} is not a duration; write a text such as "
                f'"30s", "10min" or "8h"',
            )
        if not least_us <= found <= TIME_MAX_US:
            least = "0s" if least_us == 0 else "1us"
            raise self._wrong(name, f"{name} must be {least} to 168h, not {table[name]!r}")
        return found

    def _size(self, table: dict[str, Any], name: str) -> int | None:
        if name not in table:
            return None
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|TB)", str(table[name]))
        if match is None:
            raise self._wrong(name, f'{name} = {table[name]!r} is not a size; write "5GB"')
        return round(float(match[1]) * SIZES[match[2]])

    def _known(self, where: str, table: dict[str, Any], known: tuple[str, ...]) -> None:
        for name in table:
            if name not in known:
                raise self._wrong(
                    name, f"{where} has no {name!r}; its settings are {', '.join(known)}"
                )

    def _wrong(self, word: str, message: str) -> BadSuite:
        """The error, with the line of the current table that contains the word."""
        number = self._lines.of(word)
        where = f"{self._path}, line {number}" if number else str(self._path)
        return BadSuite(f"{where}: {message}")


def example() -> str:
    """The file that `--init` writes."""
    return (Path(__file__).parent / "example.toml").read_text(encoding="utf-8")
