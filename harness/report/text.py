"""The summary of a run for a terminal of 80 columns: operations, faults, availability, and the
verdict. It is made from the folder, so it can be shown again at any time.

All external data passes through `printable`, and is put into `Text`, which ignores markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.report.bins import Bins, binned, sparkline
from harness.report.fault_bands import FaultBand
from harness.report.run_report import RunData, availability, commands, facts
from histories.text import one_line, printable

STYLES: Final = {"valid": "bold green", "invalid": "bold red", "unknown": "bold yellow"}
CANNOT_BE_JUDGED: Final = "unknown: the folder cannot be judged"
BINS: Final = 56
LABEL: Final = 12
ROWS_MAX: Final = 6
_WORDS: Final = {
    "ok": "ok",
    "mismatch": "cas mismatches",
    "fail": "failed",
    "info": "with unknown outcome",
    "open": "never returned",
}


def show_run(data: RunData, console: Console, *, evidence: bool = False) -> None:
    """Everything, then where the folder is and the commands that go on from here; with `evidence`
    also what proved each fault."""
    _facts(data, console)
    if len(data.operations):
        for line in chart(data):
            console.print(line, no_wrap=True, overflow="crop")
        console.print()
        _operations(data, console)
    _faults(data.bands, console)
    if evidence:
        show_evidence(data.bands, console)
    _verdict(data, console)
    console.print(Text.assemble(("folder   ", "dim"), str(data.folder.path)), soft_wrap=True)
    for purpose, command in commands(data):
        label = (f"{purpose.removesuffix(' again'):<9}", "dim")
        console.print(Text.assemble(label, command), soft_wrap=True)


def _facts(data: RunData, console: Console) -> None:
    shown = {"target", "planted bug", "nodes", "runs on", "workload", "seed", "duration"}
    words = Text()
    for name, value in facts(data):
        if name in shown:
            words.append(f"{name} ", style="dim")
            words.append(f"{one_line(value, 40)}  ")
    console.print(words)
    console.print()


# ------------------------------------------------------------------------------- the chart


def chart(data: RunData) -> Iterator[Text]:
    """Rate and latency as sparklines, the faults marked under them, and a scale."""
    bins = binned(data.operations, BINS)
    yield _line("answers/s", sparkline(bins.rate), f"≤ {max(bins.rate):.0f}", "green")
    slowest = max((v for v in bins.p99_us if v is not None), default=0)
    yield _line("p99 latency", sparkline(bins.p99_us), f"≤ {_milliseconds(slowest)}", "cyan")
    if any(bins.unanswered):
        lost = sparkline(tuple(float(n) or None for n in bins.unanswered))
        yield _line("unanswered", lost, f"{sum(bins.unanswered)}", "magenta")
    rows, left_out = fault_rows(data.bands, bins)
    for number, row in enumerate(rows):
        yield _line("" if number else "faults", row, "", "red")
    if left_out:
        yield _line("", f"and {left_out} more", "", "red")
    yield _line("", _scale(bins), "", "dim")


def _line(label: str, drawing: str, told: str, style: str) -> Text:
    return Text.assemble((f"{label:<{LABEL}}", "dim"), (f"{drawing:<{BINS}}", style), f" {told}")


def _milliseconds(us: float) -> str:
    """At most seven characters."""
    if us >= 1_000_000:
        return f"{us / 1e6:.1f} s"
    return f"{us / 1000:.0f} ms" if us >= 100_000 else f"{us / 1000:.1f} ms"


def fault_rows(bands: Sequence[FaultBand], bins: Bins) -> tuple[list[str], int]:
    """The faults as bars with their names, packed into few rows; and how many did not fit."""
    rows: list[list[str]] = []
    ends: list[int] = []
    left_out = 0
    for band in bands:
        first = bins.bin_of(band.asked_us)
        last = len(bins.rate) - 1 if band.healed_us is None else bins.bin_of(band.healed_us)
        row = next((i for i, end in enumerate(ends) if end < first), len(ends))
        if row >= ROWS_MAX:
            left_out += 1
            continue
        if row == len(ends):
            ends.append(-1)
            rows.append([" "] * len(bins.rate))
        ends[row] = last
        rows[row][first : last + 1] = _bar(one_line(band.what), last - first + 1)
    return ["".join(row).rstrip() for row in rows], left_out


def _bar(name: str, width: int) -> list[str]:
    if width < 3:
        return ["╍"] * width
    inside = width - 2
    text = name[:inside] if len(name) <= inside else name[: max(0, inside - 1)] + "…"
    return list("├" + text + "─" * (inside - len(text)) + "┤")


def _scale(bins: Bins) -> str:
    marks = [" "] * (BINS + 8)
    for place in range(0, BINS, 14):
        at_s = (bins.start_us + place * bins.width_us) / 1e6
        text = f"{at_s:.1f} s" if bins.width_us * BINS < 1e8 else f"{at_s:.0f} s"
        marks[place : place + len(text)] = text
    return "".join(marks).rstrip()


# ------------------------------------------------------------------------------- the tables


def _operations(data: RunData, console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("operations", "answered", "p50 ms", "p90 ms", "p99 ms", "max ms"):
        table.add_column(name, justify="left" if name == "operations" else "right")
    felt: Any = availability(data)
    for f, latency in felt["latency_by_f"].items():
        numbers = (latency[name] for name in ("p50_ns", "p90_ns", "p99_ns", "max_ns"))
        cells = [str(latency["count"]), *(f"{ns / 1e6:.1f}" for ns in numbers)]
        table.add_row(Text(one_line(f, 24)), *cells)
    console.print(table)
    outcomes = felt["outcomes"]
    counts = [f"{outcomes[kind]} {words}" for kind, words in _WORDS.items() if kind in outcomes]
    console.print(", ".join(counts))
    if felt["longest"]:
        start_ns, end_ns = felt["longest"]
        console.print(
            f"longest time without an answer: {(end_ns - start_ns) / 1e9:.3f} s, "
            f"from {start_ns / 1e9:.3f} s to {end_ns / 1e9:.3f} s"
        )
    if shed := _shed(data):
        operations = "operation was" if shed == 1 else "operations were"
        clients = data.settings.get("concurrency")
        every = f"all {clients} clients" if isinstance(clients, int) else "all clients"
        console.print(
            f"{shed} {operations} not sent, because {every} were waiting for an answer "
            "(--concurrency)",
            style="dim",
        )
    console.print()


def _shed(data: RunData) -> int:
    extras = [e.extra or {} for e in data.events[-3:] if e.f == "phase" and e.value == "done"]
    shed = extras[-1].get("shed", 0) if extras else 0
    return shed if isinstance(shed, int) else 0


def _faults(bands: Iterable[FaultBand], console: Console) -> None:
    """Every fault: when, what, and whether it was proven to be there and to be gone."""
    table = Table(box=None, pad_edge=False)
    for name in ("at s", "for s", "fault", "proven", "healed"):
        table.add_column(name, justify="right" if name.endswith(" s") else "left")
    for band in bands:
        lasted = "-" if band.healed_us is None else f"{(band.healed_us - band.asked_us) / 1e6:.2f}"
        table.add_row(
            f"{band.asked_us / 1e6:.2f}",
            lasted,
            Text(one_line(band.what, 46)),
            _proof(band.verified, band.problem, strikes=band.strikes),
            _proof(band.heal_verified, band.problem),
        )
    if table.row_count:
        console.print(table)
        console.print()


def show_evidence(bands: Iterable[FaultBand], console: Console) -> None:
    """What was seen of every fault after it was injected, and after it was healed."""
    told = [band for band in bands if band.seen() or band.seen_healed()]
    for band in told:
        console.print(Text(f"{band.asked_us / 1e6:5.2f} s  {one_line(band.what, 60)}"))
        for words in band.seen():
            console.print(Text(f"         seen    {words}", style="dim"))
        for words in band.seen_healed():
            console.print(Text(f"         healed  {words}", style="dim"))
    if told:
        console.print()


def _proof(verified: bool | None, problem: str, *, strikes: bool = True) -> Text:
    if verified is None:
        return Text("not reported", style="yellow")
    if not verified:
        return Text(f"✗ {one_line(problem or 'no', 40)}", style="red")
    return Text("✓", style="green") if strikes else Text("○ did not fire", style="dim")


# ------------------------------------------------------------------------------- the verdict


def _verdict(data: RunData, console: Console) -> None:
    for name, outcome in (data.verdict.get("detectors") or {}).items():
        label = (f"{one_line(str(name)):<16}", "dim")
        console.print(Text.assemble(label, (str(outcome), STYLES.get(str(outcome), ""))))
    for note in [*data.problems, *(data.verdict.get("notes") or ())]:
        console.print(Text.assemble(("note: ", "dim"), printable(str(note))))
    for reason in data.verdict.get("reasons") or ():
        console.print(Text(printable(str(reason)), style=STYLES.get(data.outcome, "")))
    console.print(Text.assemble(("verdict  ", "dim"), outcome_words(data)))


def outcome_words(data: RunData) -> Text:
    """The outcome; of a folder that cannot be judged that it is unknown."""
    words = data.outcome if data.verdict else CANNOT_BE_JUDGED
    return Text(words, style=STYLES.get(words.partition(":")[0], ""))
