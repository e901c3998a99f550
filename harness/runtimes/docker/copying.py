"""Copying a container's output and files out of it, each within a limit of time.

docker-py's stream of a log has no time-out at all, and its other streams have one for each piece
only. What cannot be copied completely leaves no file, and says why.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import docker
from docker.errors import APIError, NotFound

from harness.runtimes.docker.engine import STREAM_ERRORS, EngineTimeout, within
from histories.text import quoted
from histories.untrusted import FILE_BYTES_MAX

FILE_MAX: Final = FILE_BYTES_MAX
"""Larger files of a node are not copied."""
LOG_MAX: Final = 256 << 20
"""More than an engine keeps of a log (`pods.LOGS`)."""
TAR_OVERHEAD: Final = 64 * 1024


class NotCopied(Exception):
    """Why something was not copied, in a few words."""


def copy_logs(
    api: docker.APIClient, container: str, path: Path, *, stdout: bool = True, limit_s: float
) -> None:
    """What a container has printed, into a file. Raises NotCopied, and OSError where the file
    cannot be written."""

    def copy(partial: Path) -> None:
        with _asked():
            pieces = api.logs(container, stdout=stdout, stream=True, follow=False)
        with partial.open("wb") as file:
            _write(file.write, pieces, LOG_MAX)

    _whole(path, limit_s, copy)


def copy_file(
    api: docker.APIClient, container: str, source: str, path: Path, *, limit_s: float
) -> None:
    """One file out of a container, running or not, into a file here. Raises FileNotFoundError where
    the container has no such file, NotCopied where it is not an ordinary file, is too large or does
    not arrive, and other OSErrors where the file here cannot be written."""

    def copy(partial: Path) -> None:
        with _asked():
            pieces, about = api.get_archive(container, source)
        if about.get("size", 0) > FILE_MAX:
            raise NotCopied(f"it is larger than {FILE_MAX} bytes")
        with tempfile.TemporaryFile(dir=path.parent) as archive:
            _write(archive.write, pieces, FILE_MAX + TAR_OVERHEAD)
            archive.seek(0)
            try:
                with tarfile.open(fileobj=archive) as tar:
                    member = tar.next()
                    content = tar.extractfile(member) if member and member.isreg() else None
                    if content is None:
                        raise NotCopied("it is not an ordinary file")
                    with partial.open("wb") as file:
                        shutil.copyfileobj(content, file)
            except tarfile.TarError as error:
                raise NotCopied(f"the engine's archive is damaged: {quoted(error)}") from None

    _whole(path, limit_s, copy)


def _whole(path: Path, limit_s: float, copy: Callable[[Path], None]) -> None:
    """`copy` into a temporary name, which becomes `path` if it ends in time."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        within(limit_s, f"copying {path.name}", lambda: copy(partial))
        partial.replace(path)
    except EngineTimeout:
        raise NotCopied(f"the engine did not deliver it within {limit_s:.3g} s") from None
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _asked() -> Iterator[None]:
    """Turns the errors of a request into ours."""
    try:
        yield
    except NotFound as error:
        raise FileNotFoundError(error.explanation or str(error)) from None
    except STREAM_ERRORS as error:
        raise NotCopied(_words(error)) from None


def _write(write: Callable[[bytes], object], pieces: Iterable[bytes], bytes_max: int) -> None:
    size = 0
    for piece in _read(pieces):
        size += len(piece)
        if size > bytes_max:
            raise NotCopied(f"it is larger than {bytes_max} bytes")
        write(piece)


def _read(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Their errors are the stream's, not those of the file that they are written into."""
    try:
        yield from pieces
    except STREAM_ERRORS as error:
        raise NotCopied(_words(error)) from None


def _words(error: BaseException) -> str:
    said = error.explanation if isinstance(error, APIError) else None
    return f"the engine's stream failed: {quoted(said or error, 200)}"
