"""A verdict and its evidence, on a terminal."""

from __future__ import annotations

import json
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from histories.agreement import AgreementVerdict
from histories.checker import Evidence, Verdict
from histories.checker.verdict import counted
from histories.operations import NEVER, Operation, thaw
from histories.text import printable

COLOURS: Final = {"valid": "green", "invalid": "red", "unknown": "yellow"}


def plain(text: str) -> str:
    """Text from outside: neither markup nor terminal escapes."""
    return escape(printable(text))


def _say(console: Console, text: str, style: str | None = None) -> None:
    """One line as it is: sentences are for reading and for copying, so they are not folded."""
    console.print(text, style=style, highlight=False, soft_wrap=True)


def show_verdict(
    console: Console, verdict: Verdict, outcome: str | None = None, reason: str | None = None
) -> None:
    """Print a verdict and its evidence; `outcome` where a larger whole came to another one, and
    `reason` why it did: it is printed first."""
    shown, first = outcome or verdict.outcome, reason or verdict.sentence
    _say(console, f"[bold {COLOURS[shown]}]{shown}[/]  {plain(first)}")
    if first != verdict.sentence and verdict.outcome != "invalid":  # else its evidence says so
        _say(console, f"  linearizability: {plain(verdict.sentence)}")
    for note in verdict.notes:
        _say(console, f"  note: {plain(note)}")
    for part in verdict.partitions:
        if part.evidence is not None:
            where = "" if part.key is None else f"key {part.key}: "
            _say(console, f"\n{plain(where + part.evidence.anomaly)}", style="bold")
            show_evidence(console, part.evidence, told=first)
        for line in part.weaker:
            _say(console, f"  {plain(line)}")
    _say(
        console,
        f"{counted(verdict.operations)}, {counted(len(verdict.partitions), 'key')}, "
        f"model {verdict.model}, {verdict.seconds:.3f} s ({verdict.checker})",
        style="dim",
    )


def show_evidence(
    console: Console, evidence: Evidence, rows_max: int = 30, *, told: str = ""
) -> None:
    """Print the sentence, unless it was `told` already, and the operations that cannot be ordered
    as a table."""
    if evidence.sentence not in told:
        _say(console, f"  {plain(evidence.sentence)}")
    table = Table("client", "operation", "outcome", "called", "returned", box=None)
    for op in evidence.operations[:rows_max]:
        table.add_row(*(plain(cell) for cell in _row(op)))
    console.print(table)
    if len(evidence.operations) > rows_max:
        more = counted(len(evidence.operations) - rows_max, "more operation")
        _say(console, f"  … and {more}")
    for line in evidence.could:
        _say(console, f"  {plain(line)}")


def _row(op: Operation) -> tuple[str, str, str, str, str]:
    value = "" if op.value is None else f" {json.dumps(thaw(op.value))}"
    key = "" if op.key is None else f" {op.key}"
    told = op.seen and op.result != op.value
    returned = "never" if op.ret == NEVER else f"{op.ret_ns / 1e9:.6f}"
    return (
        str(op.process),
        f"{op.f}{key}{value}",
        op.outcome + (f" {json.dumps(thaw(op.result))}" if told else ""),
        f"{op.call_ns / 1e9:.6f}",
        returned,
    )


def _duplicates(count: int) -> str:
    """A client's retry, or a node that proposes again, may have a command decided in two slots; the
    state machine's sessions apply it once."""
    if not count:
        return ""
    return f"{counted(count, 'command')} decided twice (retried; applied once), "


def show_agreement(console: Console, agreement: AgreementVerdict) -> None:
    """Print what the replicas' logs came to."""
    colour = COLOURS[agreement.outcome]
    _say(
        console,
        f"replicas: [{colour}]{agreement.outcome}[/], {counted(agreement.slots, 'slot')} on "
        f"{counted(len(agreement.nodes), 'node')}, "
        f"{_duplicates(agreement.duplicates)}"
        f"states compared after {counted(agreement.states, 'slot')}",
    )
    for finding in agreement.findings:
        _say(
            console,
            f"  {plain(f'{finding.kind}: {finding.sentence}')}",
        )
    if agreement.unaccounted:
        _say(
            console,
            f"  {counted(agreement.unaccounted, 'acknowledged write')} could not be looked for: "
            f"{counted(agreement.holes, 'slot')} hidden by snapshots",
        )
