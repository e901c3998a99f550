"""The summary of a run: what was done, what broke, what clients felt, and the verdict."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.cli.check import show_evidence
from harness.run.engine import RunResult, again
from harness.run.verdict import RunVerdict

STYLES = {"valid": "bold green", "invalid": "bold red", "unknown": "bold yellow"}


def show(result: RunResult, console: Console) -> None:
    """Everything, then where the folder is and the command that runs it again."""
    console.print()
    show_operations(result.verdict, console)
    if result.stats.shed:
        console.print(
            f"{result.stats.shed} arrivals found every client waiting and were shed", style="dim"
        )
    show_faults(result.verdict, console)
    show_verdict(result.verdict, console)
    console.print(Text.assemble(("folder   ", "dim"), str(result.folder.path)), soft_wrap=True)
    console.print(Text.assemble(("again    ", "dim"), again(result.config)), soft_wrap=True)
    judged = f"antipaxos check {result.folder.path}"
    console.print(Text.assemble(("judge    ", "dim"), judged), soft_wrap=True)


def show_operations(verdict: RunVerdict, console: Console) -> None:
    """Operations by kind and outcome, and latencies."""
    table = Table(title="operations", title_justify="left", title_style="bold", box=None)
    for name in ("", "answered", "p50 ms", "p90 ms", "p99 ms", "max ms"):
        table.add_column(name, justify="left" if not name else "right")
    felt = verdict.availability
    for f, latency in felt.latencies_by_f.items():
        numbers = (latency.p50_ns, latency.p90_ns, latency.p99_ns, latency.max_ns)
        table.add_row(f, str(latency.count), *(f"{ns / 1e6:.1f}" for ns in numbers))
    console.print(table)
    words = {"ok": "ok", "mismatch": "cas mismatches", "fail": "failed", "info": "unknown outcome"}
    counts = [
        f"{felt.outcomes[kind]} {word}" for kind, word in words.items() if kind in felt.outcomes
    ]
    console.print(", ".join(counts))
    if felt.longest is not None:
        start_s, end_s = felt.longest.start_ns / 1e9, felt.longest.end_ns / 1e9
        console.print(
            f"longest time without an answer: {end_s - start_s:.3f} s, "
            f"from {start_s:.3f} s to {end_s:.3f} s"
        )


def show_faults(verdict: RunVerdict, console: Console) -> None:
    """Every fault: when, what, at which moments, and the proof that it was real."""
    if not verdict.faults:
        return
    table = Table(title="faults", title_justify="left", title_style="bold", box=None)
    for name in ("at s", "for s", "what", "nodes' moments within", "verified"):
        table.add_column(name, justify="right" if name.endswith(" s") else "left")
    for fault in verdict.faults:
        table.add_row(
            f"{fault['at_s']:.2f}",
            f"{fault['for_s']:.2f}" if fault["for_s"] is not None else "-",
            fault["what"],
            f"{fault['spread_us'] / 1000:.1f} ms" if fault["spread_us"] is not None else "-",
            _evidence(fault),
        )
    console.print(table)


def _evidence(fault: dict[str, Any]) -> Text:
    words = Text()
    for what in ("inject", "heal"):
        report = fault.get(what)
        if report is None:
            words.append(f"{what}: not reported ", style="yellow")
        elif report["verified"]:
            words.append("✓ ", style="green")
        else:
            words.append(f"✗ {report.get('problem', 'not verified')} ", style="red")
    return words


def show_verdict(verdict: RunVerdict, console: Console) -> None:
    """The detectors, the evidence, the verdict."""
    console.print()
    for name, outcome in verdict.detectors().items():
        console.print(Text.assemble((f"{name:<16}", "dim"), (outcome, STYLES[outcome])))
    for note in verdict.notes:
        console.print(Text.assemble(("note: ", "dim"), note))
    for part in verdict.linearizability.partitions:
        if part.evidence is not None:
            show_evidence(console, part.evidence)
    for reason in verdict.reasons:
        console.print(Text(reason), style=STYLES[verdict.outcome])
    console.print(Text.assemble(("verdict  ", "dim"), (verdict.outcome, STYLES[verdict.outcome])))
