"""The errors of histories and run folders. Every message says what to do next.

HistoryError
├── BadHistory         a file whose content is not a history; names the file and the line
├── UnknownOperation   the model has no such operation; names it and what the model knows
├── UnknownModel       no model of that name; lists the choices
├── BadInitial         an initial value that the model cannot hold; says what it can
├── UnknownFormat      no such file format; lists the choices
└── BadFolder          not a run's folder, or one of another format version
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from histories.text import one_line

MESSAGE_MAX: Final = 500
"""The length of messages, which quote files."""


class HistoryError(Exception):
    """Base of every error of this package that a caller may want to catch."""


class BadHistory(HistoryError):
    """A line that cannot be part of a history. `line` counts from 1; 0 means the file itself."""

    def __init__(self, message: str, *, path: Path | str | None = None, line: int = 0) -> None:
        message = one_line(message, MESSAGE_MAX)
        self.path, self.line, self.message = path, line, message
        place = str(path) if path is not None else "the history"
        if line:
            place += f", line {line}" if path is not None else f", event {line}"
        super().__init__(f"{place}: {message}")


class UnknownOperation(BadHistory):
    """An operation that the chosen model does not have."""


class UnknownModel(HistoryError):
    """No model of that name."""


class BadInitial(HistoryError):
    """A value with which objects of the chosen model cannot begin."""


class UnknownFormat(HistoryError):
    """No format of that name, or none that fits the file."""


class BadFolder(HistoryError):
    """Not the folder of a run, or one that this version cannot read."""


def in_words(error: BaseException) -> str:
    """The error of a file or a document in plain words, without Python's terms.

    For OSError and the errors of JSON; other errors are unchanged.
    """
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words(error)
    return str(error) or type(error).__name__


_WORDS: Final[tuple[tuple[type[BaseException], Callable[[Any], str]], ...]] = (
    (OSError, lambda error: error.strerror or "it cannot be read or written"),
    (UnicodeDecodeError, lambda error: f"byte {error.start + 1} is not UTF-8"),
    (json.JSONDecodeError, lambda e: f"it is not JSON (line {e.lineno}, column {e.colno})"),
    (RecursionError, lambda _: "it is nested too deeply"),
    (KeyError, lambda error: f"{error.args[0]!r} is missing"),
    (MemoryError, lambda _: "there is not enough memory"),
)
