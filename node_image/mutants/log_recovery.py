"""Planted bugs of the recovery of a damaged log, for every protocol."""

from __future__ import annotations

from collections.abc import Sequence

from node_image.log_recovery import LogCopy, LogLost, LogRecovery, Recovery, read_on
from node_image.mutants.variation import Variation, vary


class _CutAtDamage(LogRecovery):
    """D1: the log ends at the first bad record, as if that were torn; the copy is not used."""

    def recover(self, copies: Sequence[LogCopy], start: int) -> Recovery:
        return read_on(copies[0], start)


class _SkipDamage(LogRecovery):
    """D2: bad records are skipped, and the good ones after them are used."""

    def recover(self, copies: Sequence[LogCopy], start: int) -> Recovery:
        copy, records, position = copies[0], [], start
        while True:
            read = read_on(copy, position)
            records += read.records
            behind = copy.next_good(read.end)
            if behind is None:
                return Recovery(records, read.end)
            position = behind


class _TrustCleanEnd(LogRecovery):
    """D3: a copy that ends at the end of a record is taken to be complete."""

    def recover(self, copies: Sequence[LogCopy], start: int) -> Recovery:
        for copy in copies:
            read = read_on(copy, start)
            if copy.ends_at(read.end):
                return read
        return super().recover(copies, start)


class _CommonPrefix(LogRecovery):
    """D4: records that are not in both copies are treated as unacknowledged and truncated."""

    def recover(self, copies: Sequence[LogCopy], start: int) -> Recovery:
        return min((read_on(copy, start) for copy in copies), key=lambda read: read.end)


class _StartEmpty(LogRecovery):
    """D5: a node with a damaged log starts with an empty one, and votes."""

    def recover(self, copies: Sequence[LogCopy], start: int) -> Recovery:
        try:
            recovery = super().recover(copies, start)
        except LogLost:
            return Recovery([], start)
        damaged = any(read_on(copy, start).end != recovery.end for copy in copies)
        return Recovery([], start) if damaged else recovery


class _LastCopyFirst(LogRecovery):
    """D0, which is safe: the copies are read in the other order."""

    def recover(self, copies: Sequence[LogCopy], start: int) -> Recovery:
        return super().recover(copies[::-1], start)


def _with(recovery: LogRecovery) -> Variation:
    return lambda protocol: vary(protocol, log_recovery=recovery)


LOG_RECOVERY: dict[str, Variation] = {
    "D1": _with(_CutAtDamage()),
    "D2": _with(_SkipDamage()),
    "D3": _with(_TrustCleanEnd()),
    "D4": _with(_CommonPrefix()),
    "D5": _with(_StartEmpty()),
    "D0": _with(_LastCopyFirst()),
}
