"""A database that is known to be right: what it has committed survives every power cut.

And where it is told not to sync, it does not: else the cuts would prove nothing.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.agent.mounted import Mounted

pytestmark = pytest.mark.netns

WRITER = """
import os, sqlite3, sys
path, mode, synchronous, number = sys.argv[1:]
database = sqlite3.connect(path, isolation_level=None)
for pragma in (f"synchronous={synchronous}", f"journal_mode={mode}", "wal_autocheckpoint=10"):
    database.execute(f"pragma {pragma}")
database.execute("create table if not exists t (number integer primary key, data blob)")
number = int(number)
while True:
    number += 1
    database.execute("insert into t values (?, ?)", (number, os.urandom(3000)))
    print(number, flush=True)
"""
READER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
assert database.execute("pragma integrity_check").fetchone() == ("ok",)
print(*database.execute("select count(*), max(number) from t").fetchone())
"""
CUTS = 3
WRITES = 30


def _until_cut(disk: Mounted, path: Path, mode: str, synchronous: str, number: int) -> int:
    """The number of the last transaction that was committed."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), mode, synchronous, str(number)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    for _ in range(WRITES):
        assert writer.stdout.readline()
    time.sleep(number % 7 / 1000)
    disk.store.power_off()
    writer.kill()
    disk.store.lose(str(number))
    disk.session.answer_held()
    committed = writer.communicate()[0].split()
    disk.unmount()
    disk.mount()
    return int(committed[-1]) if committed else number + WRITES


@pytest.mark.parametrize(("mode", "synchronous"), [("wal", "full"), ("delete", "extra")])
def test_what_is_committed_survives(disk: Mounted, mode: str, synchronous: str) -> None:
    path, number = disk.at / "db", 0
    for _ in range(CUTS):
        committed = _until_cut(disk, path, mode, synchronous, number)
        command = [sys.executable, "-c", READER, str(path)]
        read = subprocess.run(command, check=True, capture_output=True, text=True)
        count, number = map(int, read.stdout.split())
        assert count == number >= committed


def test_what_is_not_synced_is_lost(disk: Mounted) -> None:
    _until_cut(disk, disk.at / "db", "wal", "off", 0)
    assert not (disk.at / "db").exists()
