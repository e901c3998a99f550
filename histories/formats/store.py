"""Jepsen's store: `store/NAME/TIME/` holds the files of one test.

The history is `history.edn`; beside it there may be `history.txt`, the log `jepsen.log`, and, since
Jepsen 0.3, the binary `test.jepsen`, which holds the history as well. `store/NAME/latest` and
`store/latest` are links to the last test.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from histories.errors import BadFolder
from histories.folder import runs_within

BINARY: Final = (
    "is Jepsen's binary test.jepsen, which is not read here: give the history.edn or history.txt "
    "beside it; where there is none, a REPL of the test's project writes one: (require "
    '\'jepsen.store) (run! #(spit "history.edn" (prn-str %) :append true) (:history '
    "(jepsen.store/test :latest)))"
)
FILES: Final = ("history.edn", "history.txt", "history.json", "test.jepsen", "jepsen.log")
"""Files that may hold a history, in order of preference."""


def history_file(folder: Path) -> Path:
    """The file of the history in one test's folder, or in the last one of a store.

    Raises BadFolder, which says what to give instead.
    """
    for path in (folder, folder / "latest"):
        for name in FILES:
            if (path / name).is_file():
                return path / name
    tests = sorted(
        path.parent for name in FILES[:2] for path in folder.glob(f"*/{name}") if path.is_file()
    )
    if tests:
        raise BadFolder(f"{folder} holds several tests: give one of them, such as {tests[-1]}")
    raise BadFolder(
        f"{folder} is neither the folder of a run nor one of Jepsen's store: it holds no run.json, "
        f"no history.jsonl, and none of {', '.join(FILES)}{runs_within(folder)}"
    )
