"""`antipaxos completion`: what a shell needs to complete our commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from harness.cli import PROGRAM, cli
from harness.cli.options import command
from harness.cli.output import say

SHELLS = ("bash", "zsh", "fish")


@command(name="completion")
@click.argument("shell", type=click.Choice(SHELLS))
def completion_command(shell: str) -> None:
    """Print the script with which SHELL completes commands, options, targets and faults.

    \b
    bash:  eval "$(antipaxos completion bash)"        in ~/.bashrc
    zsh:   eval "$(antipaxos completion zsh)"         in ~/.zshrc
    fish:  antipaxos completion fish | source         in ~/.config/fish/config.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    variable = f"_{PROGRAM.upper()}_COMPLETE"
    say(kind(cli, {}, PROGRAM, variable).source())


__all__ = ["completion_command"]
