"""What commands print: the one way to a terminal, for results, messages and progress.

Names of folders, values of files and texts of nodes are data: control characters in them are shown
as escapes, wherever they stand. All that a command prints goes through `SafeConsole` or `say`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from histories.text import printable


class SafeConsole(Console):
    """A console that shows control characters in texts; those of its own, which move the cursor,
    are not texts."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)


def say(text: object, *, err: bool = False, end: str = "\n") -> None:
    """Print a text as it is, on standard output or standard error: not folded, not coloured."""
    print(printable(str(text)), end=end, file=sys.stderr if err else sys.stdout, flush=True)


__all__ = ["SafeConsole", "say"]
