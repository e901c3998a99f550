"""Folders that a command writes into: refused at the start, not after an hour of work."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from harness.errors import UsageError
from histories.errors import in_words

LOCK: Final = ".antipaxos-lock"


@contextmanager
def exclusive(folder: Path, option: str) -> Iterator[None]:
    """Keep a result's folder for this process, until it ends: two results would overwrite each
    other's files. Raises UsageError where it cannot be written, or another process has it."""
    require_writable(folder, option)
    with (folder / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"another command writes into {option} {folder}",
                remedy=f"choose another folder: {option} FOLDER",
            ) from None
        yield


def require_writable(folder: Path, option: str) -> None:
    """Make the folder where it is not there, and see that a file can be made in it.

    Raises UsageError that names the option and the system's reason.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise UsageError(
                f"{option} {folder} is a file, not a folder",
                remedy=f"choose a folder: {option} FOLDER",
            )
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".antipaxos-"):
            pass
    except OSError as error:
        raise UsageError(
            f"{option} {folder} cannot be written: {in_words(error)}",
            remedy=f"choose a folder that can be: {option} FOLDER",
        ) from None
