"""Reading a recorded history, in whatever format it is.

    native       ours, one JSON object a line (formats/native.py)
    jepsen       Jepsen's history.edn, one map a line or one vector of maps (formats/jepsen.py)
    jepsen-log   the lines of Jepsen's old text log

"auto" looks at the first line that says something.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from histories.budget import UNLIMITED, Budget
from histories.errors import BadFolder, BadHistory, UnknownFormat
from histories.folder import RUN, RunFolder
from histories.formats import jepsen, native, store
from histories.formats.native import History

FORMATS: Final = ("native", "jepsen", "jepsen-log")


def read_history(
    path: Path | str,
    format: str = "auto",  # noqa: A002
    failed_cas: str | None = None,
    independent: bool | None = None,
    budget: Budget = UNLIMITED,
) -> History:
    """The history in a file; `format` is one of FORMATS, or "auto".

    `failed_cas` says what a failed cas means where the format cannot: "mismatch" (the usual meaning
    of jepsen-log) or "ignored" (that of jepsen). Ours says it itself.

    `independent` says whether the values in Jepsen's formats are `[key value]`; None looks.

    Raises BadHistory, with the file and the line, UnknownFormat, with the choices, and LimitReached
    where the budget is used up.
    """
    path = located(Path(path))
    if failed_cas is not None and failed_cas not in jepsen.FAILED_CAS:
        raise UnknownFormat(f"failed_cas {failed_cas!r} is none of {', '.join(jepsen.FAILED_CAS)}")
    found = format_of(path) if format == "auto" else format
    if found == "native":
        return native.read(path, budget)
    if found == "jepsen":
        return jepsen.read_edn(path, failed_cas or "ignored", independent, budget)
    if found == "jepsen-log":
        return jepsen.read_log(path, failed_cas or "mismatch", independent, budget)
    raise UnknownFormat(f"no format {format!r}; there are auto, {', '.join(FORMATS)}")


def located(path: Path) -> Path:
    """The file that holds the history: `path` itself, or the one in a run's or a store's folder."""
    if not path.is_dir():
        return path
    try:
        return RunFolder.open(path).history
    except BadFolder:
        if (path / RUN).exists():
            raise
    return store.history_file(path)


def format_of(path: Path) -> str:
    """The format of a file, from its first bytes; "native" where they do not tell."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise BadHistory(f"cannot be read: {error.strerror or error}", path=path) from error
    for line in head.split(b"\n"):
        start = line.strip()
        if not start or start.startswith(b";"):
            continue
        if start.startswith(b"INFO"):
            return "jepsen-log"
        if start[:1] in b"[(#" or start[1:].lstrip()[:1] == b":":
            return "jepsen"
        return "native"
    return "native"
