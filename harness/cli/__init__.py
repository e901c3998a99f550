"""The command `antipaxos`. One file per subcommand; this one knows where each is.

A subcommand is imported when it is called, and not before: `check` needs no container engine. The
table below says of each where it is, and what the list of commands says about it.

Exit codes: 0 valid, 1 invalid, 2 unknown; 64 wrong usage, 69 no engine, 70 the cluster did not
start, 71 any other failure of the harness, 74 the output could not be written, 130 interrupted
before there was anything to judge. Nothing but a verdict has an exit code below 64.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import click

from harness import __version__
from harness.cli.streams import OUTPUT_FAILED, OutputFailed, failure
from harness.errors import HarnessError, UsageError
from harness.start import INTERRUPTED
from histories.errors import HistoryError, in_words
from histories.text import printable

PROGRAM: Final = "antipaxos"
USAGE = UsageError.exit_code


class Where(NamedTuple):
    """The module and the name in it of a subcommand, and its short help."""

    module: str
    name: str
    help: str


COMMANDS: Final = {
    "run": Where(
        "run",
        "run",
        "Start a cluster of TARGET, inject faults, and check what the clients saw.",
    ),
    "check": Where("check", "check", "Check recorded histories: run folders, or history files."),
    "show": Where(
        "show",
        "show_command",
        "Print the run in FOLDER: operations, faults with their evidence, and the verdict.",
    ),
    "explain": Where("explain", "explain_command", "Explain why the run in FOLDER is not valid."),
    "report": Where(
        "report",
        "report_command",
        "Write report.html into each of FOLDERS, which are run folders.",
    ),
    "serve": Where(
        "serve",
        "serve_command",
        "Show the runs in DIRECTORY (runs/) in a browser, on 127.0.0.1 only.",
    ),
    "index": Where(
        "index",
        "index_command",
        "Write index.html into DIRECTORY (runs/): a table of its runs, linked to their pages.",
    ),
    "export": Where(
        "export",
        "export_command",
        "Write the run in FOLDER in the format of another program.",
    ),
    "sweep": Where(
        "sweep", "sweep_command", "Simulate PROTOCOL with many seeds, and group the failures."
    ),
    "replay": Where(
        "replay",
        "replay_command",
        "Run the recorded run in FOLDER again: the same operations, faults and times.",
    ),
    "shrink": Where(
        "shrink",
        "shrink_command",
        "Reduce the failing run in FOLDER to few faults, few operations and simple timing.",
    ),
    "mutants": Where(
        "mutants",
        "mutants",
        "Plant all known bugs of PROTOCOLS (default: all), and count the runs until each is found.",
    ),
    "suite": Where(
        "suite",
        "suite_command",
        "Run the suite in FILE: many runs within a budget, and one summary page.",
    ),
    "failover": Where(
        "failover",
        "failover_command",
        "Fail the leader of each of TARGETS repeatedly, and measure the unavailability.",
    ),
    "compare": Where(
        "compare",
        "compare_command",
        "Measure the trade-offs between the protocols, and compare them with theory.",
    ),
    "convert": Where(
        "convert",
        "convert",
        "Write the history in SOURCE (a file or a folder) to TARGET in another format.",
    ),
    "inject": Where(
        "inject",
        "inject",
        "Inject faults into CONTAINERS that are already running, show the evidence, and heal.",
    ),
    "doctor": Where(
        "doctor",
        "doctor",
        "Check this machine: the engine, the image, the checker, and each kind of fault.",
    ),
    "list": Where(
        "listing",
        "list_command",
        "List targets, faults, shapes, workloads, models, formats, settings or mutants.",
    ),
    "completion": Where(
        "completion",
        "completion_command",
        "Print the script with which SHELL completes commands, options, targets and faults.",
    ),
    "clean": Where(
        "clean", "clean", "Remove containers, networks and volumes that runs left behind."
    ),
}
"""In the order in which they are usually needed."""


@contextmanager
def _starting(where: Where) -> Iterator[None]:
    """On a terminal: a line while a command is imported, which takes a moment on a busy machine."""
    shown = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    shown = shown and f"harness.cli.{where.module}" not in sys.modules
    if shown:
        sys.stderr.write("\x1b[2mstarting …\x1b[0m\r")
        sys.stderr.flush()
    try:
        yield
    finally:
        if shown:
            sys.stderr.write("\x1b[2K")
            sys.stderr.flush()


class _LazyGroup(click.Group):
    """Commands that are imported when they are asked for."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            # Some connection. The library would end the process with 1: for us that is a verdict.
            raise HarnessError(f"a connection was closed: {in_words(error)}") from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        where = COMMANDS.get(cmd_name)
        if where is None:
            return None
        with _starting(where):
            found = getattr(importlib.import_module(f"harness.cli.{where.module}"), where.name)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = formatter.width - 6 - max(map(len, COMMANDS))
        rows = [
            (name, click.Command(name, help=where.help).get_short_help_str(width))
            for name, where in COMMANDS.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="antipaxos")
def cli() -> None:
    """Injects faults into consensus clusters, and checks whether what the clients saw was possible.

    \b
    A first run, five Multi-Paxos nodes in containers:
      antipaxos run multi-paxos --faults partition,kill,pause,clock --time 30s --seed 7
    Check a recorded run again:
      antipaxos check runs/20260101T120000-multi-paxos-seed7
    Remove what a killed run left behind:
      antipaxos clean
    """


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP (a cancelled job, a closed terminal) are Ctrl-C, from the first moment and
    in every command. A signal that was ignored (nohup) stays ignored."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: list[str] | None = None) -> Any:
    """The console script. Output that could not be written is not taken for a verdict."""
    try:
        with _interruptible():
            _main(arguments)
    finally:
        failed = failure()
        if failed is not None:
            if not failed.reader_left:
                _complain(str(failed))
            sys.exit(OUTPUT_FAILED)


def _main(arguments: list[str] | None) -> None:
    """Our errors become one clear sentence, a remedy and their exit code."""
    try:
        code = cli.main(args=arguments, standalone_mode=False, prog_name=PROGRAM)
        sys.exit(code if isinstance(code, int) else 0)
    except OutputFailed:  # `main` has the exit code
        sys.exit(OUTPUT_FAILED)
    except click.UsageError as error:
        sys.exit(_wrong_usage(error))
    except click.ClickException as error:
        _complain(error.format_message())
        sys.exit(error.exit_code if error.exit_code >= USAGE else USAGE)
    except HarnessError as error:
        _complain(printable(error.message), printable(error.remedy))
        sys.exit(error.exit_code)
    except HistoryError as error:
        _complain(printable(str(error)))
        sys.exit(USAGE)
    except (click.Abort, KeyboardInterrupt) as error:
        # It may have come between a coroutine and the task that would run it.
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        _complain("interrupted; nothing is left running", printable(str(error)), label="")
        sys.exit(INTERRUPTED)
    except Exception as error:  # a bug of ours must not look like a verdict
        if _is_fault_error(error):
            _complain(printable(str(error)))
            sys.exit(USAGE)
        if isinstance(error, OSError) and error.filename is not None:
            _complain(f"{error.filename}: {in_words(error)}")
        elif isinstance(error, MemoryError):
            _complain(in_words(error))
        else:
            _console().print_exception()
            _complain("this is a bug of antipaxos: the lines above say where")
        sys.exit(HarnessError.exit_code)


def _wrong_usage(error: click.UsageError) -> int:
    """Says what was wrong with the command line; the exit code."""
    message = error.format_message()  # of a missing argument, `error.message` is empty
    if not message.strip() or type(error).__name__ == "NoArgsIsHelpError":
        error.show()  # nothing was asked: the help
        return USAGE
    command = error.ctx.command_path if error.ctx is not None else "antipaxos"
    _complain(message[:1].lower() + message[1:], f"{command} --help")
    return USAGE


def _complain(message: str, remedy: str = "", *, label: str = "error: ") -> None:
    """One sentence on standard error, and what to do next."""
    console = _console()
    console.print(f"[bold red]{label}[/]", end="")
    console.print(message, markup=False)
    if remedy:
        console.print(f"→ {remedy}", markup=False)


def _is_fault_error(error: Exception) -> bool:
    """Whether a fault was described wrongly. Who raises that has imported the module."""
    module = sys.modules.get("faults.description")
    return module is not None and isinstance(error, module.FaultError)


def _console() -> Any:
    """Standard error, for messages that are not to be folded."""
    output = importlib.import_module("harness.cli.output")
    return output.SafeConsole(stderr=True, highlight=False, soft_wrap=True)
