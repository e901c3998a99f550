"""Explains in a terminal why a run is not valid: the few operations that contradict each other,
drawn in order, the longest partial order of them, what replicas decided differently, and the
story."""

from __future__ import annotations

import json
import shlex
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.report.coverage import Evidence, coverage
from harness.report.disagreements import disagreements
from harness.report.failures import failing_parts
from harness.report.messages import story_of
from harness.report.next_steps import next_step
from harness.report.run_report import RunData
from harness.report.text import outcome_words, show_evidence
from histories.text import one_line, printable

WIDTH: Final = 62
PARTS_MAX: Final = 3
FINDINGS_MAX: Final = 3


def explain_run(data: RunData, console: Console) -> None:
    """Print the explanation. For a valid run: that it is valid, and what it did not test."""
    console.print(outcome_words(data))
    for problem in data.problems:
        console.print(Text.assemble(("note: ", "dim"), printable(problem)))
    for reason in data.verdict.get("reasons") or ():
        console.print(Text(printable(str(reason))))
    if data.outcome not in ("valid", "invalid"):
        _next_steps(data, console)
    linear = data.verdict.get("linearizability") or {}
    parts = failing_parts(linear, data.events, data.operations, data.model)
    for part in parts[:PARTS_MAX]:
        _part(part, data, console)
    if len(parts) > PARTS_MAX:
        console.print(f"\nand {len(parts) - PARTS_MAX} more keys that fail")
    _findings(data, console)
    _unproven(data, console)
    _story(data, console)
    if data.outcome == "valid":
        _untested(data, console)


def _next_steps(data: RunData, console: Console) -> None:
    """What to do about a run that is unknown, or cannot be judged."""
    folder = shlex.quote(str(data.folder.path))
    reasons = [*data.problems, *map(str, data.verdict.get("reasons") or ())]
    for step in dict.fromkeys(filter(None, (next_step(reason, folder) for reason in reasons))):
        console.print(Text(f"→ {step}"), soft_wrap=True)
    console.print("→ docs/troubleshooting.md has every reason, and what to do", style="dim")


def _part(part: dict[str, Any], data: RunData, console: Console) -> None:
    evidence = part.get("evidence") or {}
    where = "" if part["key"] is None else f" on key {one_line(part['key'], 40)}"
    anomaly = one_line(str(evidence.get("anomaly", "not linearizable")).replace("-", " "), 60)
    console.print(Text(f"\n{anomaly}{where}", style="bold"))
    operations = evidence.get("operations") or []
    table = Table(box=None, pad_edge=False)
    for name in ("", "process", "operation", "called", "returned"):
        table.add_column(name)
    for number, op in enumerate(operations[:30], 1):
        returned = "never" if op["return"] is None else f"{op['return_ns'] / 1e9:.6f}"
        cells = (str(number), str(op["process"]), words(op), f"{op['call_ns'] / 1e9:.6f}", returned)
        table.add_row(*(Text(one_line(cell, 44)) for cell in cells))
    console.print(table)
    if 0 < len(operations) <= 12:
        console.print()
        for line in diagram(operations):
            console.print(Text(line), no_wrap=True, overflow="crop")
        console.print()
    _partial(part, operations, console)
    for line in (*(evidence.get("could") or ()), *(part.get("weaker") or ())):
        console.print(Text(f"  {printable(str(line))}"))
    reach = part.get("reach")
    if reach:
        stuck = reach.get("number")
        at = "" if stuck is None else f", which ends in line {data.operations.returns[stuck] + 1}"
        console.print(
            f"  in the whole history one order explains {reach['completions']} of {reach['of']} "
            f"completions of this key, and none explains the next one{at}"
        )


def _partial(part: dict[str, Any], operations: list[Any], console: Console) -> None:
    partial = part.get("partial")
    if not partial:
        return
    for number, state in zip(partial["order"], partial["states"], strict=True):
        then = "empty" if state is None else json.dumps(state, ensure_ascii=False)
        console.print(
            Text(f"  {number + 1} {one_line(f'{words(operations[number])}: then {then}')}")
        )
    for number, why in partial["stuck"].items():
        text = f"  {int(number) + 1} {one_line(words(operations[int(number)]))} cannot follow: "
        console.print(Text(text + printable(why), style="red"))


def words(op: dict[str, Any]) -> str:
    """ "read k0 → 7", "cas k0 [1, 2] (did not match)"."""
    told = op.get("result", op.get("observed"))
    asked = "" if op["value"] is None else f" {json.dumps(op['value'], ensure_ascii=False)}"
    seen = "result" in op or "observed" in op
    answer = ""
    if seen and (told != op["value"] or op["value"] is None):
        answer = f" → {json.dumps(told, ensure_ascii=False)}"
    key = "" if op["key"] is None else f" {op['key']}"
    end = {"mismatch": " (did not match)", "info": " (unknown outcome)"}.get(op["outcome"], "")
    return f"{op['f']}{key}{asked}{answer}{end}"


def diagram(operations: list[dict[str, Any]]) -> list[str]:
    """The operations as bars in the order of their calls and returns, one line per process."""
    moments = sorted(
        {op["call"] for op in operations} | {op["return"] or 1 << 62 for op in operations}
    )
    step = max(2, WIDTH // max(1, len(moments)))
    place = {moment: i * step for i, moment in enumerate(moments)}
    processes = list(dict.fromkeys(op["process"] for op in operations))
    lines = {process: [" "] * (place[moments[-1]] + step + 2) for process in processes}
    for number, op in enumerate(operations, 1):
        first, last = place[op["call"]], place[op["return"] or 1 << 62]
        bar = f"├{number}" + "─" * (last - first - 2 - len(str(number)) + 1)
        bar += "┄▷" if op["return"] is None else "┤"
        lines[op["process"]][first : first + len(bar)] = bar
    return [f"process {process!s:<6}  {''.join(line).rstrip()}" for process, line in lines.items()]


def _findings(data: RunData, console: Console) -> None:
    found = disagreements(
        data.folder, data.verdict.get("agreement"), data.logs.zero_ns, data.events
    )
    for finding in found[:FINDINGS_MAX]:
        kind = one_line(finding["kind"].replace("-", " "), 60)
        console.print(Text(f"\nreplicas: {kind}", style="bold"))
        console.print(Text(printable(finding["sentence"])))
        for record in finding["records"]:
            line = (
                f"  {record['at_us'] / 1e6:10.6f} s  n{record['node']}  slot {record['slot']}  "
                f"ballot {record['ballot']}  {record['words']}"
            )
            console.print(Text(one_line(line, 200)), soft_wrap=True)
    if len(found) > FINDINGS_MAX:
        console.print(f"\nand {len(found) - FINDINGS_MAX} more disagreements")


def _unproven(data: RunData, console: Console) -> None:
    """Of faults without proof, what was seen all the same."""
    bands = [band for band in data.bands if not (band.verified and band.heal_verified)]
    if any(band.seen() or band.seen_healed() for band in bands):
        console.print(Text("\nfaults without proof", style="bold"))
        show_evidence(bands, console)


def _story(data: RunData, console: Console) -> None:
    lines = story_of(data.folder)
    if lines:
        console.print(Text("\nthe story", style="bold"))
        for line in lines:
            console.print(Text(printable(line["text"])), soft_wrap=True)
    elif data.outcome == "invalid" and data.settings.get("on") == "sim":
        command = f"antipaxos shrink {shlex.quote(str(data.folder.path))}"
        console.print("\nFor a story of few operations and faults:", style="dim")
        console.print(Text(f"  {command}"), soft_wrap=True)


def _untested(data: RunData, console: Console) -> None:
    found = coverage(
        Evidence(data.settings, data.schedule, data.verdict, data.operations, data.bands, data.logs)
    )
    console.print(Text("\nwhat was not tested", style="bold"))
    for line in found:
        if not line["tested"]:
            console.print(Text(f"  {line['area']}: {printable(line['text'])}"))
