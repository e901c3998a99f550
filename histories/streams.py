"""A history that comes from a pipe, which can be read only once.

Its format is recognised by its first bytes, then it is read, and the lines of the evidence are read
again: what a pipe, a socket or a terminal holds is copied to a temporary file first.
"""

from __future__ import annotations

import os
import select
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import IO, Final

from histories.budget import UNLIMITED, Budget, LimitReached
from histories.errors import BadHistory, in_words
from histories.untrusted import FILE_BYTES_MAX

PIECE_BYTES: Final = 1 << 16


@contextmanager
def as_file(
    path: Path, budget: Budget = UNLIMITED, *, bytes_max: int = FILE_BYTES_MAX
) -> Iterator[Path]:
    """`path` itself, if it is a file or a folder (or nothing); a temporary copy of a stream, which
    is removed at the end. BadHistory that is raised meanwhile names `path`, not the copy.

    Raises BadHistory for a stream of more than `bytes_max` bytes, LimitReached if the time is up
    before it ended, or before anybody has opened a named pipe for writing.
    """
    if not is_stream(path):
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="antipaxos-history-") as file:
        _copy(path, file, budget, bytes_max)
        copy = Path(file.name)
        try:
            yield copy
        except BadHistory as error:
            if error.path is None or Path(error.path) != copy:
                raise
            raise type(error)(error.message, path=path, line=error.line) from None


def is_stream(path: Path) -> bool:
    """Whether what is at `path` may be gone when it was read once."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _copy(path: Path, copy: IO[bytes], budget: Budget, bytes_max: int) -> None:
    size = 0
    try:
        stream = _opened(path)
    except OSError as error:
        raise BadHistory(f"cannot be read: {in_words(error)}", path=path) from error
    with stream:
        while piece := _piece(stream, path, budget):
            size += len(piece)
            if size > bytes_max:
                raise BadHistory(
                    f"is a stream of more than {bytes_max} bytes: write it to a file first",
                    path=path,
                )
            try:
                copy.write(piece)
                copy.flush()
            except OSError as error:
                raise BadHistory(
                    f"is a stream, which cannot be copied to {tempfile.gettempdir()}: "
                    f"{in_words(error)}; write it to a file first",
                    path=path,
                ) from error


def _opened(path: Path) -> FileIO:
    """A named pipe is opened without waiting for its writer, who is waited for as for its bytes;
    one without a name (/dev/stdin) has, or had, its writer already."""
    named = path.is_fifo() and path.resolve().exists()
    return FileIO(os.open(path, os.O_RDONLY | os.O_CLOEXEC | (os.O_NONBLOCK if named else 0)))


def _piece(stream: FileIO, path: Path, budget: Budget) -> bytes:
    """The next bytes of a stream; none at its end."""
    try:
        while True:
            ready, _, _ = select.select([stream], [], [], budget.left_s)
            budget.check_time()
            if not ready:
                raise LimitReached("the time limit")
            piece: bytes | None = stream.read(PIECE_BYTES)
            if piece is not None:  # else another reader was faster
                return piece
    except OSError as error:
        raise BadHistory(f"cannot be read: {in_words(error)}", path=path) from error
