"""`antipaxos inject`: faults in containers that are already running."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any, Final

import click
from rich.console import Console

from faults.description import Fault
from faults.link_fault import DIRECTIONS
from faults.shapes import NAMED_SHAPES
from harness.cli.options import Duration, command
from harness.cli.output import SafeConsole, say
from harness.errors import UsageError
from harness.inject import parse_options as parse
from harness.inject.session import Session
from harness.run.interrupts import SIGNALS
from harness.runtimes.interface import FaultReport
from histories.text import printable

Fields = dict[str, Any]


def _pair(
    text: str, first: Callable[[str], int], second: Callable[[str], int], default: str
) -> tuple[int, int]:
    """ "30%,20ms": two amounts, of which the second may be left out."""
    one, _, other = text.partition(",")
    return first(one), second(other or default)


def _delay(text: str) -> Fields:
    by, jitter = _pair(text, parse.time_us, parse.time_us, "0s")
    return {"delay_us": by, "jitter_us": jitter}


def _duplicate(text: str) -> Fields:
    share, spread = _pair(text, parse.percent, parse.time_us, "1ms")
    return {"percent": share, "spread_us": spread}


def _reorder(text: str) -> Fields:
    share, window = _pair(text, parse.percent, parse.time_us, "20ms")
    return {"percent": share, "window_us": window}


def _strobe(text: str) -> Fields:
    offset, period = _pair(text, parse.time_us, parse.time_us, "200ms")
    return {"offset_us": offset, "period_us": period}


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a whole number") from None


READERS: Final[dict[str, Callable[[str], Fields]]] = {
    "partition": lambda text: {"shape": text},
    "loss": lambda text: {"percent": parse.percent(text)},
    "delay": _delay,
    "duplicate": _duplicate,
    "reorder": _reorder,
    "corrupt": lambda text: {"percent": parse.percent(text)},
    "rate": lambda text: {"kbps": parse.rate_kbps(text)},
    "clock": lambda text: {"offset_us": parse.time_us(text)},
    "drift": lambda text: {"ppm": _whole(text)},
    "strobe": _strobe,
    "monotonic": lambda text: {"offset_us": parse.time_us(text)},
    "slow-cpu": lambda text: {"percent": parse.percent(text)},
    "memory": lambda text: {"spare_kib": parse.size_kib(text)},
}
"""How the value of each option is read."""


@command()
@click.argument("containers", nargs=-1, required=True)
@click.option(
    "--to",
    multiple=True,
    metavar="CONTAINER",
    help="For link faults: only links with this container; default: all links. Repeatable.",
)
@click.option(
    "--direction",
    type=click.Choice(DIRECTIONS),
    default="out",
    show_default=True,
    help="For link faults: packets that the containers send, receive, or both.",
)
@click.option("--partition", metavar="SHAPE", help=f"Partition: {', '.join(NAMED_SHAPES)}.")
@click.option("--loss", metavar="SHARE", help='Drop packets:  "10%".')
@click.option("--delay", metavar="TIME[,JITTER]", help='Delay packets:  "50ms", "50ms,20ms".')
@click.option("--duplicate", metavar="SHARE[,SPREAD]", help='Duplicate packets:  "20%,5ms".')
@click.option("--reorder", metavar="SHARE[,WINDOW]", help='Reorder packets:  "30%,20ms".')
@click.option("--corrupt", metavar="SHARE", help="Flip a bit in packets.")
@click.option("--rate", metavar="RATE", help='Limit the rate:  "500kbit".')
@click.option("--clock", metavar="TIME", help='Shift the wall clock:  "+1h", "-30s".')
@click.option("--drift", metavar="PPM", help="Let clocks run this many millionths too fast.")
@click.option(
    "--strobe", metavar="TIME[,PERIOD]", help='Let the wall clock jump back and forth:  "5s,200ms".'
)
@click.option(
    "--monotonic", metavar="TIME", help="Let the monotonic clock jump ahead (permanently)."
)
@click.option("--pause", is_flag=True, help="Stop all processes.")
@click.option("--slow-cpu", metavar="SHARE", help="Limit to this share of one processor.")
@click.option(
    "--memory", metavar="SIZE", help='Limit memory to this much more than is in use:  "16MiB".'
)
@click.option(
    "--for",
    "for_us",
    type=Duration(),
    default=None,
    help="Duration; default: until Ctrl-C.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def inject(
    containers: tuple[str, ...],
    to: tuple[str, ...],
    direction: str,
    for_us: int | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Inject faults into CONTAINERS that are already running, show the evidence, and heal.

    \b
    antipaxos inject web-1 --delay 50ms --for 30s
    antipaxos inject db-1 db-2 db-3 --partition isolate
    antipaxos inject db-1 --to db-2 --loss 10% --clock +1h

    An agent joins each container's network, and acts on its processes from outside; the containers
    need no tools and no privileges. Everything heals at the end, at Ctrl-C, and when this program
    is killed. Exits with 0 when every fault took effect and ended, else with 2.
    """
    asked = [(kind, read(said)) for kind, read in READERS.items() if (said := _said(options, kind))]
    if options["pause"]:
        asked.append(("pause", {}))
    if not asked:
        raise UsageError("say which fault", remedy="antipaxos inject --help lists them")
    counts = (len(containers), len(to))
    faults = [
        parse.fault_for(kind, kind, *counts, direction=direction, **fields)
        for kind, fields in asked
    ]
    console = SafeConsole(stderr=as_json)

    def say(text: str) -> None:
        console.print(text, style="dim")

    with Stop() as stop, ExitStack() as stack:
        with stop.interrupting():
            session = Session([*containers, *to], say)
            stack.callback(session.close)
            session.open()
        ok = _for_a_while(session, faults, stop, for_us, _printer(console, as_json))
    return 0 if ok else 2


def _said(options: dict[str, Any], kind: str) -> str | None:
    return options.get(kind.replace("-", "_"))


def _for_a_while(
    session: Session,
    faults: Sequence[Fault],
    stop: Stop,
    for_us: int | None,
    tell: Callable[[str, Fault, FaultReport], None],
) -> bool:
    """Inject all, wait, heal all in the opposite order; whether all of that is proven. Raises
    UsageError, before the first one, if one is refused, and KeyboardInterrupt if it is to stop by
    then."""
    for fault in faults:
        session.check(fault)
    if stop.is_set():
        raise KeyboardInterrupt
    proven = []
    try:
        for fault in faults:
            if stop.is_set():
                break
            report = session.inject(fault)
            tell("injected", fault, report)
            proven.append(report.verified)
        if len(proven) == len(faults) and all(proven):
            stop.wait(for_us)
    finally:
        for fault in reversed(faults):
            if session.is_active(fault):
                report = session.heal(fault)
                tell("healed", fault, report)
                proven.append(report.verified)
    return len(proven) == 2 * len(faults) and all(proven)


def _printer(console: Console, as_json: bool) -> Callable[[str, Fault, FaultReport], None]:
    def tell(what: str, fault: Fault, report: FaultReport) -> None:
        if as_json:
            line = {"what": what, "fault": fault.to_json(), **report.to_json()}
            say(json.dumps(line))
            return
        mark = "[green]✓[/]" if report.verified else "[red]✗[/]"
        console.print(f"{mark} {what} {fault.kind}", highlight=False)
        if report.problem:
            console.print(printable(f"  {report.problem}"), highlight=False, markup=False)
        console.print(
            f"  {json.dumps(report.evidence)}", style="dim", highlight=False, markup=False
        )

    return tell


class Stop:
    """Whether SIGINT, SIGTERM or SIGHUP has come. They end the waiting, and what follows is healed
    in peace; while `interrupting`, the first one raises KeyboardInterrupt. A signal that was
    ignored before (nohup) stays ignored."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._interrupts = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGTERM:
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        self._interrupts = True
        try:
            yield
        finally:
            self._interrupts = False

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, for_us: int | None) -> None:
        self._event.wait(None if for_us is None else min(for_us / 1e6, threading.TIMEOUT_MAX))

    def _receive(self, _: int, __: FrameType | None) -> None:
        is_first = not self._event.is_set()
        self._event.set()
        if is_first and self._interrupts:
            raise KeyboardInterrupt
