"""Finds the line number of a table or key in a TOML file, for error messages."""

from __future__ import annotations

import re

HEADER = re.compile(r"\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")


class Lines:
    """The lines of a file; one table at a time is the current one."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self._start, self._end = 0, len(self._lines)

    def enter(self, table: str, number: int = 0) -> None:
        """Make the table of this name the current one; of several, the one with this number,
        counted from 0. If there is none, as with inline tables, it is the whole file."""
        heads = [
            (at, found[1])
            for at, line in enumerate(self._lines)
            if (found := HEADER.match(line)) is not None
        ]
        starts = [at for at, name in heads if name == table]
        self._start, self._end = 0, len(self._lines)
        if number < len(starts):
            self._start = starts[number]
            later = (at for at, n in heads if at > self._start and not n.startswith(f"{table}."))
            self._end = next(later, len(self._lines))

    def of(self, word: str) -> int | None:
        """The number, from 1, of the line in the current table that sets this key, or contains the
        word, or of the table's first line. None in an empty file."""
        own = [
            (at + 1, line.partition("#")[0])
            for at, line in enumerate(self._lines[self._start : self._end], self._start)
        ]
        escaped = re.escape(word)
        for pattern in (rf'^\s*["\']?{escaped}["\']?\s*=', rf"(?<![\w-]){escaped}(?![\w-])"):
            found = re.compile(pattern)
            for at, line in own:
                if found.search(line):
                    return at
        return self._start + 1 if own else None
