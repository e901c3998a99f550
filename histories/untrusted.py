"""What nodes, agents and folders say, read at one entry: bounded in size and depth, real JSON.

`parse` takes one document or line, `lines` a file of them. Both raise Malformed, whose message is
one short line that is safe to display; nothing that they read makes them use more memory than a
small multiple of their bounds. Only regular files are opened (`open_regular`): a pipe in a folder
would be waited for without end. NaN, infinities, numbers beyond a double and bytes that are no
UTF-8 are not JSON here, although Python's own parser takes some of them.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from histories.errors import BadHistory
from histories.events import Json
from histories.operations import DEPTH_MAX, TOO_DEEP, too_deep
from histories.text import one_line

LINE_BYTES_MAX: Final = 4 << 20
"""A line of a node's file, or of an agent's or a node's answers."""
FILE_BYTES_MAX: Final = 512 << 20
"""A file that is read line by line."""
DOCUMENT_BYTES_MAX: Final = 64 << 20
"""A document that is read whole (run.json, verdict.json, schedule.json)."""
INTEGER_MAX: Final = 1 << 63
R = TypeVar("R")


class NotRegular(OSError):
    """A pipe, a device or a socket instead of a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EINVAL, "it is not a regular file", str(path))


def open_regular(path: Path) -> BufferedReader:
    """A file to be read, in binary. Raises OSError, and NotRegular for what is no file but could be
    opened: nothing is waited for."""
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        is_folder = stat.S_ISDIR(os.fstat(opened).st_mode)
        os.close(opened)
        if is_folder:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise NotRegular(path)
    return open(opened, "rb")  # noqa: PTH123  # it is open already


def require_regular(path: Path) -> None:
    """For what is read by others. Raises OSError as `open_regular` does."""
    open_regular(path).close()


class Malformed(ValueError):
    """Not what it should be; says why in one short line."""


def parse(data: bytes | str, *, bytes_max: int = LINE_BYTES_MAX, bounded: bool = False) -> Json:
    """The JSON value that `data` holds. `bounded`: integers must fit into 64 bits, as everything
    that is calculated with must. Raises Malformed."""
    if len(data) > bytes_max:
        raise Malformed(f"is longer than {bytes_max} bytes")
    try:
        text = data if isinstance(data, str) else data.decode()
        found = json.loads(
            text,
            parse_constant=no_constant,
            parse_float=finite,
            parse_int=_integer if bounded else None,
        )
    except UnicodeDecodeError as error:
        raise Malformed(f"byte {error.start + 1} is not UTF-8") from None
    except RecursionError:
        raise Malformed(TOO_DEEP) from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise Malformed(f"is not JSON ({place})") from None
    except ValueError as error:
        raise Malformed(f"is not JSON: {one_line(str(error), 120)}") from None
    if text.count("[") + text.count("{") > DEPTH_MAX and too_deep(found):
        raise Malformed(TOO_DEEP)
    return found


def parse_object(
    data: bytes | str, *, bytes_max: int = LINE_BYTES_MAX, bounded: bool = False
) -> dict[str, Any]:
    """The same where it must be an object. Raises Malformed."""
    found = parse(data, bytes_max=bytes_max, bounded=bounded)
    if not isinstance(found, dict):
        raise Malformed("is not a JSON object")
    return found


def read_document(path: Path, *, bytes_max: int = DOCUMENT_BYTES_MAX) -> Json:
    """The JSON document in a file. Raises Malformed, and OSError where it cannot be read."""
    with open_regular(path) as file:
        return parse(file.read(bytes_max + 1), bytes_max=bytes_max)


def lines(
    path: Path, *, line_max: int = LINE_BYTES_MAX, file_max: int = FILE_BYTES_MAX
) -> Iterator[bytes]:
    """The lines of a file, each with its newline; the last may have none. Read as they are asked
    for. Raises Malformed at a line or a file that is too long, OSError where it cannot be read."""
    total = 0
    with open_regular(path) as file:
        while line := file.readline(line_max + 1):
            total += len(line)
            if len(line) > line_max:
                raise Malformed(f"is longer than {line_max} bytes")
            if total > file_max:
                raise Malformed(f"the file is larger than {file_max} bytes")
            yield line


def records(
    path: Path,
    checked: Callable[[dict[str, Any]], R],
    notes: list[str],
    *,
    wrong: str,
    line_max: int = LINE_BYTES_MAX,
) -> Iterator[R]:
    """What `checked` makes of each line of a file that a node wrote, read as they are asked for. A
    torn last line is noted. Raises BadHistory, with file and line, for what `checked` calls
    Malformed: `wrong` says what such a line is not."""
    number = 1
    try:
        for line in lines(path, line_max=line_max):
            try:
                record = checked(parse_object(line))
            except Malformed:
                if line.endswith(b"\n") or not line.startswith(b"{"):
                    raise
                notes.append(f"{path.name}: line {number} is cut off in the middle")
                return
            yield record
            number += 1
    except Malformed as error:
        raise BadHistory(f"{wrong}: {error}", path=path, line=number) from None
    except OSError as error:
        raise BadHistory(f"cannot be read: {error.strerror or error}", path=path) from None


def objects(
    path: Path, *, line_max: int = LINE_BYTES_MAX, file_max: int = FILE_BYTES_MAX
) -> Iterator[tuple[dict[str, Any] | None, bytes]]:
    """For showing: every line of a file, and the object that it holds, None where it holds none.
    Of a line that is too long the beginning is given; a file that is too large ends there. Integers
    fit into 64 bits. Raises OSError."""
    total = 0
    with open_regular(path) as file:
        while total < file_max and (line := file.readline(line_max)):
            rest = line
            while not rest.endswith(b"\n") and (rest := file.readline(line_max)):
                total += len(rest)
            total += len(line)
            try:
                yield parse_object(line, bounded=True), line
            except Malformed:
                if line.strip():
                    yield None, line


class LineSplitter:
    """Makes lines of what a stream brings, piece by piece. Linear in what comes, whatever the
    pieces are, and never holds more than `line_max` bytes and one piece."""

    def __init__(self, line_max: int = LINE_BYTES_MAX) -> None:
        self._line_max = line_max
        self._pieces: list[bytes] = []
        self._size = 0

    def lines(self, data: bytes) -> list[bytes]:
        """The lines that end in `data`, without their newlines. Raises Malformed where one is too
        long; nothing that comes after that is a line."""
        *whole, rest = data.split(b"\n")
        if whole:
            whole[0] = b"".join([*self._pieces, whole[0]])
            self._pieces, self._size = [], 0
        self._size += len(rest)
        if self._size > self._line_max or any(len(line) > self._line_max for line in whole):
            self._pieces, self._size = [], 0
            raise Malformed(f"a line is longer than {self._line_max} bytes")
        if rest:
            self._pieces.append(rest)
        return whole


def finite(text: str) -> float:
    """For `parse_float`."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def no_constant(name: str) -> NoReturn:
    """For `parse_constant`: NaN and the infinities."""
    raise ValueError(f"{name} is not JSON")


def _integer(text: str) -> int:
    number = int(text)
    if not -INTEGER_MAX <= number < INTEGER_MAX:
        raise ValueError("an integer does not fit into 64 bits")
    return number
