"""Completion as a person has it: the scripts that we print, in each shell, with the Tab key."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WAIT_S = 60.0
BIN = Path(sys.executable).parent
SETUP = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], ""),
    "zsh": (["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -u -d $HOME/dump; "),
}
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r|\x07")


class Shell:
    """An interactive shell on a terminal of its own."""

    def __init__(self, words: list[str], home: Path) -> None:
        environment = os.environ | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(home),
            "TERM": "dumb",
            "PS1": "> ",
        }
        self.seen = ""
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.execvpe(words[0], words, environment)

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def until(self, pattern: str) -> str:
        """What the screen shows, from the last call on, once it holds this."""
        deadline = time.monotonic() + WAIT_S
        while not re.search(pattern, self.seen):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.seen!r}"
            if select.select([self._terminal], [], [], 1)[0]:
                data = os.read(self._terminal, 65_536).decode(errors="replace")
                self.seen += ESCAPES.sub("", data)
        seen, self.seen = self.seen, ""
        return seen

    def close(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._terminal)


@pytest.mark.parametrize("name", sorted(SETUP))
def test_the_tab_key_completes(name: str, tmp_path: Path) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    words, prepare = SETUP[name]
    shell = Shell(words, tmp_path)
    try:
        shell.type(f'{prepare}eval "$(antipaxos completion {name})"; echo re""ady\n')
        shell.until("ready")
        for typed, completed in (
            ("antipaxos shri", "antipaxos shrink"),
            ("antipaxos run mul", "antipaxos run multi-paxos"),
            ("antipaxos run raft --workl", "antipaxos run raft --workload"),
            ("antipaxos run raft --faults kill,mon", "antipaxos run raft --faults kill,monotonic"),
            ("antipaxos list mut", "antipaxos list mutants"),
        ):
            shell.type(f"{typed}\t")
            # It may be drawn as the rest alone, or as the whole line again.
            shell.until(f"{typed}{completed.removeprefix(typed)}|{completed}")
            shell.type("\x15")
    finally:
        shell.close()


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [("antipaxos shri", "shrink"), ("antipaxos run mul", "multi-paxos")],
)
def test_fish_completes(typed: str, completed: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["fish", "--no-config", "-c", f'antipaxos completion fish | source; complete -C "{typed}"'],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(tmp_path)},
    )
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [completed], done.stderr
