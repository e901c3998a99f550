"""The verdict of a recorded run, wherever one is shown or used.

The folder's verdict.json is used only where nothing has changed since it was written, by the
digests in the folder. Otherwise the folder is judged again, as `antipaxos check` does: a run whose
evidence was removed or edited is not valid because a file says so. What differs is said.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from harness.run.expected import Expected, changed_evidence, is_verdict_sealed, verdict_change
from harness.run.verdict import judge_folder
from harness.run.verdict_shape import what_is_wrong
from histories.errors import HistoryError, in_words
from histories.folder import VERDICT, RunFolder
from histories.text import quoted

JUDGE_LIMIT_S: Final = 60.0


class FolderVerdict(NamedTuple):
    """`document` is like verdict.json, and empty where the folder cannot be judged. `changes`: what
    is not as the run left it; `problems`: why verdict.json was not used, where its verdict differs,
    or why there is none. Both in sentences."""

    document: dict[str, Any]
    judged_now: bool = False
    changes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """valid, invalid or unknown."""
        return str(self.document.get("verdict", "unknown"))


def verdict_of(folder: RunFolder) -> FolderVerdict:
    """The verdict of a run's folder, and what has changed in it."""
    said, problems = _recorded(folder)
    try:
        changes = [change.sentence for change in changed_evidence(folder, Expected.of(folder))]
    except HistoryError as error:
        changes = [str(error)]
    except OSError as error:
        changes = [f"{error.filename} cannot be read: {in_words(error)}"]
    if edited := verdict_change(folder):
        changes.append(edited)
    if said and not changes and is_verdict_sealed(folder):
        return FolderVerdict(said)
    try:
        document = judge_folder(folder, time_limit_s=JUDGE_LIMIT_S).to_json()
    except (HistoryError, OSError) as error:
        is_os = isinstance(error, OSError)
        message = in_words(error) if is_os else getattr(error, "message", error)
        problems.append(f"it could not be judged: {message}")
        if said:
            problems.append(f"{VERDICT} says {quoted(said.get('verdict'))}, which is not used")
        return FolderVerdict({}, changes=tuple(changes), problems=tuple(problems))
    if said and said.get("verdict") != document["verdict"]:
        problems.append(
            f"{VERDICT} says {quoted(said.get('verdict'))}, but what is in the folder is judged "
            f"{document['verdict']}"
        )
    elif edited:
        problems.append(edited)
    return FolderVerdict(document, True, tuple(changes), tuple(problems))


def _recorded(folder: RunFolder) -> tuple[dict[str, Any], list[str]]:
    """What verdict.json says, and why it cannot be read."""
    if not folder.verdict.exists():
        return {}, []
    try:
        said = folder.read_object(VERDICT)
    except HistoryError as error:
        return {}, [str(error)]
    wrong = what_is_wrong(said)
    return ({}, [f"{folder.verdict} cannot be read: {wrong}"]) if wrong else (said, [])
