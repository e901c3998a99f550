"""What proved a fault, in words: "n1: an fsync took 21.3 ms".

A report of a fault has evidence per node, or for the links of all nodes, in the form in which the
injector of its kind makes it (`harness.runtimes.docker.injectors`). Each phrase belongs to one
field of it. What the simulator reads off its own state has none, nor has a form that this version
does not know: the page shows the whole evidence as JSON besides.

Evidence comes out of a folder and may hold anything: a field of another form has no phrase.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from histories.events import Json
from histories.text import one_line

PHRASE_MAX: Final = 300
LINKS_MAX: Final = 3
UNLIMITED: Final = 1 << 50
"""Stands for no limit of memory, where there was one."""
WRONG_FORM: Final = (AttributeError, KeyError, IndexError, TypeError, ValueError, ArithmeticError)
_NODE: Final = re.compile(r"n\d{1,6}")


def evidence_words(evidence: Json) -> list[str]:
    """A phrase for each node, or for all links; nothing where there is nothing to say."""
    if not isinstance(evidence, dict):
        return []
    nodes = {name: of for name, of in evidence.items() if _NODE.fullmatch(name)}
    if nodes:
        told = ((name, ", ".join(_phrases(of))) for name, of in nodes.items())
        return [one_line(f"{name}: {words}", PHRASE_MAX) for name, words in told if words]
    return [one_line(words, PHRASE_MAX) for words in _phrases(evidence)]


def _phrases(evidence: Json) -> Iterator[str]:
    if not isinstance(evidence, dict):
        return
    for name, phrase in PHRASES.items():
        if name in evidence:
            try:
                words = phrase(evidence[name], evidence)
            except WRONG_FORM:
                continue
            if words:
                yield words


# ------------------------------------------------------------------------------- processes


def _killed(pids: list[Any], evidence: Mapping[str, Any]) -> str:
    end = {True: " by itself", False: " after SIGKILL", None: ""}[evidence.get("graceful")]
    return f"{_count(len(pids), 'process', 'es')} ended{end}, container {evidence['engine']}"


def _states(states: list[str], _: Mapping[str, Any]) -> str:
    """For each process the state letters of its threads, from /proc."""
    return f"thread states {' '.join(states)}" if states else "no process"


def _erased(files: int, evidence: Mapping[str, Any]) -> str:
    return f"{_count(files, 'file')} deleted, {int(evidence['files_left'])} left"


def _pids(pids: list[int], evidence: Mapping[str, Any]) -> str:
    return f"runs as {', '.join(str(int(pid)) for pid in pids)}"


# ------------------------------------------------------------------------------- resources


def _quota(quota_us: int, evidence: Mapping[str, Any]) -> str:
    if quota_us <= 0:
        return "no quota of processor time"
    percent = 100 * quota_us / evidence["period_us"]
    counted = {True: ", which the kernel counts", False: ", which the kernel does not count"}
    return f"quota {percent:g} % of a processor{counted.get(_counts(evidence), '')}"


def _counts(evidence: Mapping[str, Any]) -> Any:
    return evidence.get("kernel_counts_periods")


def _memory(limit: int, evidence: Mapping[str, Any]) -> str:
    if not 0 < limit < UNLIMITED:
        return "no limit of memory"
    kernel = evidence.get("kernel_limit")
    by_kernel = "" if kernel is None else f" ({_mebibytes(kernel)} by the kernel)"
    return f"memory limit {_mebibytes(limit)}{by_kernel}"


def _out_of_memory(killed: bool, _: Mapping[str, Any]) -> str:
    return "killed by the kernel for want of memory" if killed is True else ""


def _ended(code: int, _: Mapping[str, Any]) -> str:
    return f"ended with {int(code)}"


def _started_again(_: Any, __: Mapping[str, Any]) -> str:
    return "started again"


# ------------------------------------------------------------------------------- disks


def _look(look: Any, evidence: Mapping[str, Any]) -> str:
    """What a program in the node's mount namespace saw."""
    if look is None:
        return "no process of the node to look from"
    error, found = look["error"], []
    if error not in (None, "hangs"):
        found.append(f"a write failed with {error}")
    if "after_ms" in look:
        waiting = evidence.get("waiting")
        others = f", {_count(waiting, 'fsync')} waiting" if waiting else ""
        found.append(f"an fsync had not returned after {int(look['after_ms'])} ms{others}")
    if found:
        return ", ".join(found)
    took_us = [int(us) for us in look["fsync_us"]]
    return f"write and read back, fsync in {_range_ms(took_us)}"


def _lost(lost: Mapping[str, Any], _: Mapping[str, Any]) -> str:
    """What a power cut undid."""
    files = lost["files"]
    undone = [
        f"{name} from {int(f['bytes'])} to {int(f['left'])} bytes" for name, f in files.items()
    ]
    more = int(lost.get("files_count", len(files))) - len(files)
    if more:
        undone.append(_count(more, "more file"))
    entries = int(lost["entries_count"])
    if entries:
        undone.append(f"{_count(entries, 'directory entry', '', 'directory entries')}")
    words = f"undone: {', '.join(undone)}" if undone else "nothing was unsynced"
    torn = lost.get("torn")
    if torn:
        words += f"; {torn['file']} keeps {int(torn['kept'])} of {int(torn['of'])} bytes of a write"
    return words


def _canary(canary: Any, evidence: Mapping[str, Any]) -> str:
    """Of a file of which half was fsynced before the cut: what is left after it."""
    if canary is None or "lost" in evidence:
        return ""
    return (
        f"of the probe's file {int(canary['synced'])} bytes that were fsynced are there, and "
        f"{int(canary['unsynced'])} that were not"
    )


def _damaged(mode: str, evidence: Mapping[str, Any]) -> str:
    words = {
        "flip": "bits flipped",
        "truncate": "cut off",
        "old": "an old block came back",
        "read-error": "cannot be read",
    }[mode]
    before, after = evidence["digest"]
    digests = "" if before == after else f", digest {before[:8]} before and {after[:8]} after"
    return f"{evidence['file']}: {words} at {int(evidence['offset'])}{digests}"


# ------------------------------------------------------------------------------- clocks and links


def _clock(offsets_ns: list[int], evidence: Mapping[str, Any]) -> str:
    told = evidence.get("node_says_offset_ns")
    own = "" if told is None else f", {_ms(told)} by the node's own report"
    if not offsets_ns:
        return f"no process{own}"
    return f"wall clock off by {', '.join(sorted({_ms(ns) for ns in offsets_ns}))}{own}"


def _monotonic(offsets_ns: list[int], evidence: Mapping[str, Any]) -> str:
    return f"monotonic clock ahead by {', '.join(sorted({_ms(ns) for ns in offsets_ns}))}"


def _strobe(seen_off: bool, evidence: Mapping[str, Any]) -> str:
    seen = [name for name, was in (("off", seen_off), ("right", evidence["seen_right"])) if was]
    return f"wall clock seen {' and '.join(seen) or 'never'}"


def _probes(arrived: int, evidence: Mapping[str, Any]) -> str:
    return f"probes: {_count(arrived, 'link')} open, {int(evidence['probes_lost'])} cut and silent"


def _measured(measured: Mapping[str, Any], _: Mapping[str, Any]) -> str:
    shown = []
    for link, seen in list(measured.items())[:LINKS_MAX]:
        words = f"{link}: {int(seen['received'])} of {int(seen['sent'])}"
        if "delay_us_p50" in seen:
            words += f" after {_ms(seen['delay_us_p50'] * 1000).lstrip('+')}"
        extra = [f"{int(seen[n])} {n}" for n in ("duplicates", "reordered") if seen.get(n)]
        shown.append(" ".join([words, *(f"({one})" for one in extra)]))
    more = len(measured) - len(shown)
    return "; ".join(shown) + (f"; {_count(more, 'link')} more" if more else "")


PHRASES: Final[dict[str, Callable[[Any, Mapping[str, Any]], str]]] = {
    "killed": _killed,
    "states": _states,
    "files_erased": _erased,
    "pids": _pids,
    "quota_us": _quota,
    "limit": _memory,
    "killed_for_memory": _out_of_memory,
    "look": _look,
    "lost": _lost,
    "canary": _canary,
    "mode": _damaged,
    "ended_with": _ended,
    "started_again": _started_again,
    "patched_offset_ns": _clock,
    "patched_monotonic_ns": _monotonic,
    "seen_off": _strobe,
    "probes_arrived": _probes,
    "measured": _measured,
}
"""By a field of the evidence, the phrase for it."""


def _count(number: int, one: str, plural: str = "s", many: str = "") -> str:
    return f"{int(number)} {one if number == 1 else many or one + plural}"


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"


def _ms(ns: float) -> str:
    return f"{ns / 1e6:+.3f} ms" if abs(ns) < 10**9 else f"{ns / 1e9:+.3f} s"


def _range_ms(took_us: list[int]) -> str:
    least, most = min(took_us) / 1000, max(took_us) / 1000
    return f"{least:.1f} ms" if f"{least:.1f}" == f"{most:.1f}" else f"{least:.1f} to {most:.1f} ms"
