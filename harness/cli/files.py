"""Folders that a command writes into: refused at the start, not after an hour of work."""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness.errors import UsageError
from histories.errors import in_words


def require_writable(folder: Path, option: str) -> None:
    """Make the folder where it is not there, and see that a file can be made in it.

    Raises UsageError that names the option and the system's reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".antipaxos-"):
            pass
    except OSError as error:
        raise UsageError(
            f"{option} {folder} cannot be written: {in_words(error)}",
            remedy=f"choose a folder that can be: {option} FOLDER",
        ) from None
