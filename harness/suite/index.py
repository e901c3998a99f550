"""The index over all nights of a store: SQLite, made from the nights' own files.

    nights(night, started, outcome, seconds)
    results(night, identity, cell, seed, outcome, seconds, unavailable_ms, operations)
    findings(night, signature, subject, detector, kind, status, sentence, folder)

Nothing is only here: `rebuild` makes it again from the folders.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

INDEX: Final = "index.sqlite"
SUMMARY: Final = "summary.json"
RESULTS: Final = "results.jsonl"
TABLES: Final = """
CREATE TABLE IF NOT EXISTS nights (
    night TEXT PRIMARY KEY, started TEXT, outcome TEXT, seconds REAL);
CREATE TABLE IF NOT EXISTS results (
    night TEXT, identity TEXT, cell TEXT, seed INTEGER, outcome TEXT, seconds REAL,
    unavailable_ms REAL, operations INTEGER, PRIMARY KEY (night, identity));
CREATE TABLE IF NOT EXISTS findings (
    night TEXT, signature TEXT, subject TEXT, detector TEXT, kind TEXT, status TEXT,
    sentence TEXT, folder TEXT, PRIMARY KEY (night, signature));
"""


class Index:
    """The index of one store. Each call opens and closes the file."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._path = store / INDEX

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=30)) as connection, connection:
            connection.executescript(TABLES)
            yield connection

    def add(self, night: Path) -> None:
        """Take in a night's folder, in place of what was known of it."""
        summary = _document(night / SUMMARY)
        name = night.name
        with self._open() as db:
            for table in ("nights", "results", "findings"):
                db.execute(f"DELETE FROM {table} WHERE night = ?", (name,))
            db.execute(
                "INSERT INTO nights VALUES (?, ?, ?, ?)",
                (name, summary.get("started"), summary.get("outcome"), summary.get("seconds")),
            )
            db.executemany(
                "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(name, *_columns(line)) for line in lines_of(night / RESULTS)],
            )
            db.executemany(
                "INSERT OR REPLACE INTO findings VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(name, *(f.get(key) for key in _FINDING)) for f in summary.get("findings", ())],
            )

    def rebuild(self) -> int:
        """Make the index again; the number of nights."""
        self._path.unlink(missing_ok=True)
        nights = nights_in(self._store)
        for night in nights:
            self.add(night)
        return len(nights)

    def first_seen(self, signature: str, before: str) -> str | None:
        """The first night, before this one, that had this finding."""
        with self._open() as db:
            row = db.execute(
                "SELECT min(night) FROM findings WHERE signature = ? AND night < ?",
                (signature, before),
            ).fetchone()
        return row[0] if row else None

    def gone(self, night: str, present: set[str], subjects: set[str]) -> list[dict[str, Any]]:
        """Findings of the night before this one that did not show again, though their subject was
        tested: signature, and the last night that had it."""
        with self._open() as db:
            last = db.execute("SELECT max(night) FROM nights WHERE night < ?", (night,)).fetchone()
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
        with self._open() as db:
            db.row_factory = sqlite3.Row
            rows = db.execute(
                "SELECT n.night, n.started, n.outcome, n.seconds, "
                "count(r.identity) AS runs, sum(r.outcome = 'valid') AS valid, "
                "sum(r.outcome = 'invalid') AS invalid, sum(r.outcome = 'unknown') AS unknown, "
                "sum(r.outcome = 'error') AS errors, sum(r.operations) AS operations, "
                "(SELECT count(*) FROM findings f WHERE f.night = n.night AND f.status = 'new') "
                "AS new_findings FROM nights n LEFT JOIN results r ON r.night = n.night "
                "GROUP BY n.night ORDER BY n.night DESC"
            ).fetchall()
        return [dict(row) for row in rows]

    def findings(self) -> list[dict[str, Any]]:
        """Every signature with its first and last night and in how many it was, latest first."""
        with self._open() as db:
            db.row_factory = sqlite3.Row
            rows = db.execute(
                "SELECT signature, min(night) AS first, max(night) AS last, count(*) AS nights, "
                "max(sentence) AS sentence FROM findings GROUP BY signature "
                "ORDER BY last DESC, signature"
            ).fetchall()
        return [dict(row) for row in rows]


_FINDING: Final = ("signature", "subject", "detector", "kind", "status", "sentence", "folder")


def nights_in(store: Path) -> list[Path]:
    """The folders of nights, in order."""
    return sorted(p for p in store.iterdir() if (p / RESULTS).is_file()) if store.is_dir() else []


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file; a torn last line is left out."""
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


def _columns(line: dict[str, Any]) -> tuple[Any, ...]:
    names = ("identity", "cell", "seed", "outcome", "seconds", "unavailable_ms", "operations")
    return tuple(line.get(name) for name in names)


def _document(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
