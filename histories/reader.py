"""Reading a recorded history, in whatever format it is.

    native        ours, one JSON object a line (formats/native.py)
    jepsen        Jepsen's history.edn (formats/jepsen.py)
    jepsen-json   one JSON array of operations
    jepsen-txt    Jepsen's history.txt, separated by tabs
    jepsen-log    the lines of Jepsen's logs, old and new
    jepsen-binary test.jepsen: refused, with what to give instead (formats/store.py)

"auto" detects the format from the first line with content. A folder is a run's, or one of Jepsen's
store (formats/store.py).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from histories.budget import UNLIMITED, Budget
from histories.errors import BadHistory, UnknownFormat
from histories.folder import HISTORY, RUN, RunFolder
from histories.formats import jepsen, native, store
from histories.formats.native import History
from histories.streams import as_file
from histories.untrusted import open_regular

FORMATS: Final = (
    "native",
    "jepsen",
    "jepsen-json",
    "jepsen-txt",
    "jepsen-log",
    "jepsen-binary",
)


def read_history(
    path: Path | str,
    format: str = "auto",  # noqa: A002
    failed_cas: str | None = None,
    independent: bool | None = None,
    budget: Budget = UNLIMITED,
) -> History:
    """The history in a file; `format` is one of FORMATS, or "auto".

    `failed_cas` says what a failed cas means where the format cannot: "mismatch" (the usual meaning
    of jepsen-log) or "ignored" (that of jepsen). Our own format records it.

    `independent` says whether the values in Jepsen's formats are `[key value]`; None detects it.

    Raises BadHistory, with the file and the line, UnknownFormat, with the choices, and LimitReached
    where the budget is used up.
    """
    if failed_cas is not None and failed_cas not in jepsen.FAILED_CAS:
        raise UnknownFormat(f"failed_cas {failed_cas!r} is none of {', '.join(jepsen.FAILED_CAS)}")
    path = located(Path(path))
    with as_file(path, budget) as file:
        history = _read(file, format, failed_cas, independent, budget)
    return history if file == path else history._replace(path=path)


def _read(
    path: Path,
    format: str,  # noqa: A002
    failed_cas: str | None,
    independent: bool | None,
    budget: Budget,
) -> History:
    found = format_to_read(path, format, failed_cas, independent)
    if found == "native":
        return native.read(path, budget)
    if found == "jepsen-binary":
        raise BadHistory(store.BINARY, path=path)
    meaning = failed_cas or ("mismatch" if found == "jepsen-log" else "ignored")
    read = {
        "jepsen": jepsen.read_edn,
        "jepsen-json": jepsen.read_json,
        "jepsen-txt": jepsen.read_txt,
        "jepsen-log": jepsen.read_log,
    }[found]
    return read(path, meaning, independent, budget)


def format_to_read(
    path: Path,
    format: str,  # noqa: A002
    failed_cas: str | None,
    independent: bool | None,
) -> str:
    """The format of a file, one of FORMATS, from its first bytes where `format` is "auto".

    Raises UnknownFormat for a name that is none, and BadHistory for a file of our own format where
    `failed_cas` or `independent` is given: they would have no effect there.
    """
    found = format_of(path) if format == "auto" else format
    if found not in FORMATS:
        raise UnknownFormat(f"no format {format!r}; choose one of auto, {', '.join(FORMATS)}")
    for name, given in (("failed_cas", failed_cas), ("independent", independent)):
        if found == "native" and given is not None:
            raise BadHistory(
                f"is of the native format, to which {name} does not apply: leave it out", path=path
            )
    return found


def is_run_folder(path: Path) -> bool:
    """Whether a path is the folder of a run, whole or broken, and not one of Jepsen's store."""
    return path.is_dir() and ((path / RUN).exists() or (path / HISTORY).exists())


def located(path: Path) -> Path:
    """The file that holds the history: `path` itself, or the one in a run's or a store's folder."""
    if not path.is_dir():
        return path
    return RunFolder.open(path).history if is_run_folder(path) else store.history_file(path)


def format_of(path: Path) -> str:
    """The format of a file, from its first bytes; "native" where they do not show it.

    Raises BadHistory for what cannot be read, and for compressed files.
    """
    try:
        with open_regular(path) as file:
            head = file.read(4096)
    except OSError as error:
        raise BadHistory(f"cannot be read: {error.strerror or error}", path=path) from error
    for magic, name in _COMPRESSED.items():
        if head.startswith(magic):
            raise BadHistory(f"is compressed ({name}): unpack it first", path=path)
    if head.startswith(b"JEPSEN"):
        return "jepsen-binary"
    for line in head.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        start = line.strip()
        if start and not start.startswith((b";", b"#!")):
            return _format_of_text(start, head[head.index(start) :])
    return "native"


def _format_of_text(line: bytes, text: bytes) -> str:
    if line.startswith(b"INFO") or _LOGGED.match(line):
        return "jepsen-log"
    if _COLUMNS.match(line):
        return "jepsen-txt"
    if _JSON_ARRAY.match(text):
        return "jepsen-json"
    if line[:1] in b"[(#^" or line[1:].lstrip()[:1] == b":":
        return "jepsen"
    return "native"


_COMPRESSED: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}
_LOGGED: Final = re.compile(rb"\d{4}-\d\d-\d\d[ T]\d\d:\d\d")
_COLUMNS: Final = re.compile(rb"\S+[ ]*\t\s*:(?:invoke|ok|fail|info)\b")
_JSON_ARRAY: Final = re.compile(rb'\[\s*(?:\{\s*(?:"[^"]*"\s*:|\})|\]\s*$)')
