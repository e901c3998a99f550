"""The standard streams of the command: an output that fails has an exit code of its own, and no
character stops the output.

    standard output   a write that fails (no reader, no space, closed) raises OutputFailed once and
                      is remembered; what is written after it is dropped
    standard error    a write that fails is dropped: the exit code says how the command ended
    a closed stream   its descriptor is occupied, so that no file that is opened later gets it

A character that the stream's encoding does not have is written as a similar one in ASCII, or as an
escape.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

OUTPUT_FAILED: Final = 74
"""The exit code (EX_IOERR): the output could not be written, whatever the verdict was."""
ERROR_HANDLER: Final = "antipaxos"
COLUMNS_MAX: Final = 10_000
_SIMILAR: Final = dict(
    zip("─┄╍│┊├┤▷→✓✗○●…⚡⏎—▁▂▃▄▅▆▇█", "--=|:||>>+xoo~!/-_.:-=+*#", strict=True)
) | {"≤": "<=", "≠": "!=", "∞": "inf"}
"""What is written instead, where the encoding has no such character. Those that stand in drawings
keep their width."""


class OutputFailed(Exception):
    """Standard output could not be written. `reader_left`: it was a pipe, whose reader is gone."""

    def __init__(self, error: OSError) -> None:
        reason = (error.strerror or "it failed").lower()
        if error.errno == errno.EBADF:
            reason = "standard output is closed"
        super().__init__(f"the output cannot be written: {reason}")
        self.reader_left = error.errno == errno.EPIPE


class _Descriptor(io.FileIO):
    """The descriptor of a standard stream. `failure` is the first error of a write; it is raised
    as OutputFailed, once, where the output is needed."""

    def __init__(self, number: int, *, needed: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self.failure: OSError | None = None
        self._needed = needed

    def write(self, data: ReadableBuffer, /) -> int:
        while self.failure is None:
            try:
                written: int | None = super().write(data)
                if written is not None:
                    return written
                select.select([], [self], [])  # set to non-blocking by who shares it
            except OSError as error:
                self.failure = error
                if self._needed:
                    raise OutputFailed(error) from None
        return memoryview(data).nbytes


def install() -> None:
    """Replace the standard streams of this process, once, before anything is written."""
    codecs.register_error(ERROR_HANDLER, _written_otherwise)
    _occupy_closed()
    sys.stdout = _stream(1, sys.stdout, needed=True)
    sys.stderr = _stream(2, sys.stderr, needed=False)
    for name in ("COLUMNS", "LINES"):
        value = os.environ.get(name, "1")
        if not (value.isdecimal() and 0 < int(value[:9]) <= COLUMNS_MAX):
            del os.environ[name]  # no size at all: the default is taken


def failure() -> OutputFailed | None:
    """Write what is still buffered. Returns why standard output could not be written, if so, also
    where that was raised before."""
    try:
        sys.stdout.flush()
    except OutputFailed as error:
        return error
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    failed = raw.failure if isinstance(raw, _Descriptor) else None
    return None if failed is None else OutputFailed(failed)


def _occupy_closed() -> None:
    """Reading from a closed stream gives nothing, writing to standard output is an error."""
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flags)  # the lowest number that is free: this one
            os.set_inheritable(opened, True)
            if number == 0:
                sys.stdin = open(opened, encoding="utf-8", closefd=False)  # noqa: SIM115


def _stream(number: int, before: TextIO | None, *, needed: bool) -> TextIO:
    """The stream with this descriptor, buffered as the one before it."""
    return io.TextIOWrapper(
        io.BufferedWriter(_Descriptor(number, needed=needed)),
        encoding=getattr(before, "encoding", None) or "utf-8",
        errors=ERROR_HANDLER,
        line_buffering=not needed or getattr(before, "line_buffering", False),
        write_through=getattr(before, "write_through", False),
    )


def _written_otherwise(error: UnicodeError) -> tuple[str, int]:
    """For codecs.register_error."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    written = (_SIMILAR.get(c) or c.encode("ascii", "backslashreplace").decode() for c in part)
    return "".join(written), error.end
