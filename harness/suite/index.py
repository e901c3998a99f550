"""The index over all nights of a store: SQLite, made from the nights' own files.

    nights(night, started, outcome, seconds)
    results(night, identity, cell, seed, outcome, seconds, unavailable_ms, operations, runs, block)
    findings(night, signature, subject, detector, kind, status, sentence, folder)
    coverage(night, subject, kind, name, count)        kind: "fault" or "state"
    failovers(night, cell, subject, failure, parameters, proven, recovered, low, median, high,
              in_time_ms)

Times are as in the nights' files. The index contains nothing else: `rebuild` makes it again from
the folders. An index that is missing, or has another version of these tables, is rebuilt when it is
opened, and a night that is not in it is added.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from harness.errors import HarnessError

INDEX: Final = "index.sqlite"
SUMMARY: Final = "summary.json"
RESULTS: Final = "results.jsonl"
VERSION: Final = 3
"""The version of the tables below."""
TABLES: Final = """
CREATE TABLE IF NOT EXISTS nights (
    night TEXT PRIMARY KEY, started TEXT, outcome TEXT, seconds REAL);
CREATE TABLE IF NOT EXISTS results (
    night TEXT, identity TEXT, cell TEXT, seed INTEGER, outcome TEXT, seconds REAL,
    unavailable_ms REAL, operations INTEGER, runs INTEGER, block INTEGER,
    PRIMARY KEY (night, identity));
CREATE TABLE IF NOT EXISTS findings (
    night TEXT, signature TEXT, subject TEXT, detector TEXT, kind TEXT, status TEXT,
    sentence TEXT, folder TEXT, PRIMARY KEY (night, signature));
CREATE TABLE IF NOT EXISTS coverage (
    night TEXT, subject TEXT, kind TEXT, name TEXT, count INTEGER,
    PRIMARY KEY (night, subject, kind, name));
CREATE TABLE IF NOT EXISTS failovers (
    night TEXT, cell TEXT, subject TEXT, failure TEXT, parameters TEXT, proven INTEGER,
    recovered INTEGER, low REAL, median REAL, high REAL, in_time_ms REAL,
    PRIMARY KEY (night, cell));
"""
NAMES: Final = ("nights", "results", "findings", "coverage", "failovers")


class Index:
    """The index of one store. Each call opens and closes the file."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._path = store / INDEX

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self._renew()
        with closing(sqlite3.connect(self._path, timeout=30)) as connection, connection:
            yield connection

    def _renew(self) -> None:
        """Create the tables, and add nights that are not in them. Rebuild the index if its tables
        are of another version, or the file is not an index."""
        try:
            self._make_tables()
        except sqlite3.OperationalError as error:  # locked, or the folder cannot be written
            raise HarnessError(f"{self._path} cannot be used: {error}") from None
        except sqlite3.DatabaseError:
            self._path.unlink()
            self._make_tables()

    def _make_tables(self) -> None:
        with closing(sqlite3.connect(self._path, timeout=30)) as db, db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version != VERSION:
                for name in NAMES:
                    db.execute(f"DROP TABLE IF EXISTS {name}")
            db.executescript(TABLES)
            db.execute(f"PRAGMA user_version = {VERSION}")
            known = {row[0] for row in db.execute("SELECT night FROM nights")}
            for night in finished_in(self._store):
                if night.name not in known:  # of before the index, or before a kill
                    _add(db, night)

    def add(self, night: Path) -> None:
        """Add a night's folder, replacing earlier entries of that night."""
        with self._open() as db:
            _add(db, night)

    def rebuild(self) -> int:
        """Rebuild the index. Returns the number of nights."""
        nights = finished_in(self._store)
        if not nights:
            return 0
        self._path.unlink(missing_ok=True)
        self._renew()
        return len(nights)

    def seeds_swept(self, cell: str) -> int:
        """How many seeds of a sweep the finished nights have run: up to the end of its last
        block."""
        if not finished_in(self._store):
            return 0
        with self._open() as db:
            row = db.execute(
                "SELECT max(seed + block) FROM results WHERE cell = ? AND block > 1", (cell,)
            ).fetchone()
        return int(row[0] or 0)

    def seconds_by_cell(self) -> dict[str, float]:
        """The average duration of a run of each cell, over all nights."""
        if not finished_in(self._store):
            return {}
        query = (
            "SELECT cell, sum(seconds) / sum(runs) AS seconds FROM results "
            "WHERE outcome != 'error' AND runs > 0 GROUP BY cell"
        )
        return {row["cell"]: row["seconds"] for row in self._rows(query)}

    def failover_baseline(
        self, cell: str, parameters: str, before: str, named: str | None
    ) -> tuple[str, dict[str, Any]] | None:
        """The night to compare a measurement with, and its median (value, low, high; None: service
        did not return). It is the named night, or the first one with these parameters, among those
        that started earlier."""
        with self._open() as db:
            row = db.execute(
                "SELECT f.night, median, low, high FROM failovers f JOIN nights n USING (night) "
                "WHERE cell = ? AND parameters = ? AND n.started < ? AND proven > 0 "
                "AND (? IS NULL OR f.night = ?) ORDER BY n.started LIMIT 1",
                (cell, parameters, before, named, named),
            ).fetchone()
        return None if row is None else (row[0], dict(zip(_INTERVAL, row[1:], strict=True)))

    def failovers(self) -> list[dict[str, Any]]:
        """All failover measurements, by cell and night."""
        return self._rows(
            "SELECT f.* FROM failovers f JOIN nights n USING (night) ORDER BY cell, n.started"
        )

    def coverage(self) -> list[dict[str, Any]]:
        """How often each fault was injected, and each state reached, by subject, in all nights."""
        return self._rows(
            "SELECT subject, kind, name, sum(count) AS count FROM coverage "
            "GROUP BY subject, kind, name ORDER BY subject, kind, name"
        )

    def _rows(self, query: str) -> list[dict[str, Any]]:
        with self._open() as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(query).fetchall()]

    def first_seen(self, signature: str, before: str) -> str | None:
        """The first night with this finding, among those that started earlier."""
        with self._open() as db:
            row = db.execute(
                "SELECT night FROM findings JOIN nights n USING (night) WHERE signature = ? "
                "AND n.started < ? ORDER BY n.started LIMIT 1",
                (signature, before),
            ).fetchone()
        return row[0] if row else None

    def gone(self, before: str, present: set[str], subjects: set[str]) -> list[dict[str, Any]]:
        """Findings of the previous night that did not recur although their subject was tested:
        signature and night."""
        with self._open() as db:
            last = db.execute(
                "SELECT night FROM nights WHERE started < ? ORDER BY started DESC LIMIT 1",
                (before,),
            ).fetchone()
            rows = db.execute(
                "SELECT signature, subject FROM findings WHERE night = ? AND detector != 'harness'",
                (last[0] if last else None,),
            ).fetchall()
        return [
            {"signature": signature, "last": last[0]}
            for signature, subject in rows
            if signature not in present and subject in subjects
        ]

    def nights(self) -> list[dict[str, Any]]:
        """One row per night, the latest first, with counts by outcome and the new findings."""
        return self._rows(
            "SELECT n.night, n.started, n.outcome, n.seconds, "
            "coalesce(sum(r.runs), 0) AS runs, "
            "coalesce(sum(r.runs * (r.outcome = 'valid')), 0) AS valid, "
            "sum(r.outcome = 'invalid') AS invalid, sum(r.outcome = 'unknown') AS unknown, "
            "sum(r.outcome = 'error') AS errors, sum(r.operations) AS operations, "
            "(SELECT count(*) FROM findings f WHERE f.night = n.night AND f.status = 'new') "
            "AS new_findings FROM nights n LEFT JOIN results r ON r.night = n.night "
            "GROUP BY n.night ORDER BY n.started DESC"
        )

    def findings(self) -> list[dict[str, Any]]:
        """Every signature with its first and last night, and the number of nights, latest first."""
        return self._rows(
            "SELECT signature, min(n.started), max(n.started) AS latest, count(*) AS nights, "
            "max(sentence) AS sentence, "
            "(SELECT night FROM findings g JOIN nights m USING (night) "
            "WHERE g.signature = f.signature ORDER BY m.started LIMIT 1) AS first, "
            "(SELECT night FROM findings g JOIN nights m USING (night) "
            "WHERE g.signature = f.signature ORDER BY m.started DESC LIMIT 1) AS last "
            "FROM findings f JOIN nights n USING (night) GROUP BY signature "
            "ORDER BY latest DESC, signature"
        )


_FINDING: Final = ("signature", "subject", "detector", "kind", "status", "sentence", "folder")
_RESULT: Final = (
    "identity",
    "cell",
    "seed",
    "outcome",
    "seconds",
    "unavailable_ms",
    "operations",
    "runs",
    "block",
)
_INTERVAL: Final = ("value", "low", "high")


def _add(db: sqlite3.Connection, night: Path) -> None:
    summary = _document(night / SUMMARY)
    name = night.name
    for table in NAMES:
        db.execute(f"DELETE FROM {table} WHERE night = ?", (name,))
    db.execute(
        "INSERT INTO nights VALUES (?, ?, ?, ?)",
        (name, summary.get("started"), summary.get("outcome"), summary.get("seconds")),
    )
    lines = (part for line in lines_of(night / RESULTS) for part in _parts(line))
    db.executemany(
        f"INSERT OR REPLACE INTO results VALUES ({_places(1 + len(_RESULT))})",
        ((name, *(line.get(key, _DEFAULTS.get(key)) for key in _RESULT)) for line in lines),
    )
    db.executemany(
        f"INSERT OR REPLACE INTO findings VALUES ({_places(1 + len(_FINDING))})",
        [(name, *(f.get(key) for key in _FINDING)) for f in summary.get("findings", ())],
    )
    db.executemany(
        "INSERT OR REPLACE INTO coverage VALUES (?, ?, ?, ?, ?)",
        [
            (name, subject, kind, what, count)
            for subject, kinds in summary.get("coverage", {}).items()
            for kind, counts in kinds.items()
            for what, count in counts.items()
        ],
    )
    db.executemany(
        f"INSERT OR REPLACE INTO failovers VALUES ({_places(11)})",
        [(name, *_failover(row)) for row in summary.get("failovers", ())],
    )


_DEFAULTS: Final = {"runs": 1, "block": 1}


def _places(count: int) -> str:
    return ", ".join("?" * count)


def _parts(line: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Add a result, and those of the failed seeds of a block."""
    yield line
    yield from (part for part in line.get("failures", ()) if isinstance(part, dict))


def _failover(row: dict[str, Any]) -> tuple[Any, ...]:
    median = row.get("median_ms") or {}
    names = ("cell", "subject", "failure", "parameters", "proven", "recovered")
    interval = (median.get(n) for n in ("low", "value", "high"))
    return (*(row.get(n) for n in names), *interval, row.get("in_time_ms"))


def nights_in(store: Path) -> list[Path]:
    """The folders of nights, in order."""
    return sorted(p for p in store.iterdir() if (p / RESULTS).is_file()) if store.is_dir() else []


def finished_in(store: Path) -> list[Path]:
    """The folders of finished nights, in order."""
    return [night for night in nights_in(store) if (night / SUMMARY).is_file()]


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file, without a torn last line."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                yield found


def _document(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
