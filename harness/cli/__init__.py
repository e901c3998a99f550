"""The command `antipaxos`. One file per subcommand; this one gathers them.

Exit codes: 0 valid, 1 invalid, 2 unknown; 64 wrong usage, 69 no engine, 70 the cluster did not
start, 3 any other failure of the harness, 130 interrupted before there was anything to judge.
"""

from __future__ import annotations

import sys
from typing import Any

import click
from rich.console import Console

from faults.description import FaultError
from harness import __version__
from harness.cli.check import check, convert
from harness.cli.clean import clean
from harness.cli.doctor import doctor
from harness.cli.explain import explain_command
from harness.cli.mutants import mutants
from harness.cli.replay import replay_command
from harness.cli.report import report_command
from harness.cli.run import run
from harness.cli.show import show_command
from harness.cli.shrink import shrink_command
from harness.cli.sweep import sweep_command
from harness.errors import HarnessError, UsageError
from histories.errors import HistoryError

USAGE = UsageError.exit_code
INTERRUPTED = 130


class _Group(click.Group):
    """Commands in the order in which a person meets them, not by the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="antipaxos")
def cli() -> None:
    """Breaks consensus clusters, and proves whether what their clients saw was possible.

    \b
    A first run, five Multi-Paxos nodes in containers:
      antipaxos run multi-paxos --faults partition,kill,pause,clock --time 30s --seed 7
    Judge a recorded run again:
      antipaxos check runs/20260101T120000-multi-paxos-seed7
    Remove what a killed run left:
      antipaxos clean
    """


for command in (
    run,
    check,
    show_command,
    explain_command,
    report_command,
    sweep_command,
    replay_command,
    shrink_command,
    mutants,
    convert,
    doctor,
    clean,
):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> Any:
    """The console script: our errors become one clear sentence, a remedy and their exit code."""
    try:
        code = cli.main(args=arguments, standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.UsageError as error:
        error.show()
        sys.exit(USAGE)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except HarnessError as error:
        errors = Console(stderr=True, highlight=False, soft_wrap=True)
        errors.print(f"[bold red]{type(error).__name__}[/]: ", end="")
        errors.print(error.message, markup=False)
        if error.remedy:
            errors.print(f"→ {error.remedy}", markup=False)
        sys.exit(error.exit_code)
    except (FaultError, HistoryError) as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(str(error), markup=False)
        sys.exit(HarnessError.exit_code)
    except (click.Abort, KeyboardInterrupt):
        Console(stderr=True).print("interrupted; nothing is left running")
        sys.exit(INTERRUPTED)
    except Exception:  # a bug of ours must not look like a verdict
        Console(stderr=True).print_exception()
        sys.exit(HarnessError.exit_code)
