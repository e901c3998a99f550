"""Changed clocks as seen by programs of different kinds: before, during and after the fault.

    python -m benchmarks.clocks        root; uses gcc, musl-gcc, javac and go if installed

Each program runs beside an agent, and answers each line on its input with what its wall clock and
its monotonic clock show, in nanoseconds. The table shows by how much each is off the host's, in
seconds (the monotonic one: off its own beginning), with the clock true, an hour ahead, 20 % too
fast for a second, healed, the monotonic clock ten seconds ahead, and after a restart under a false
clock.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import describe
from tests.faults.agent.pods import Agent, Beside, beside, lone_agent, until

NS = 10**9
HOUR = 3600 * NS
PYTHON = """
import sys, time
for line in sys.stdin:
    print(time.time_ns(), time.monotonic_ns(), flush=True)
"""
C = r"""
#include <stdio.h>
#include <time.h>
int main(void) {
    char line[99];
    while (fgets(line, sizeof line, stdin)) {
        struct timespec w, m;
        clock_gettime(CLOCK_REALTIME, &w);
        clock_gettime(CLOCK_MONOTONIC, &m);
        printf("%lld %lld\n", w.tv_sec * 1000000000LL + w.tv_nsec,
               m.tv_sec * 1000000000LL + m.tv_nsec);
        fflush(stdout);
    }
}
"""
JAVA = """
import java.io.*;
import java.time.Instant;
public class Clocks {
    public static void main(String[] a) throws IOException {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        while (in.readLine() != null) {
            Instant now = Instant.now();
            long wall = now.getEpochSecond() * 1000000000L + now.getNano();
            System.out.println(wall + " " + System.nanoTime());
        }
    }
}
"""
GO = """
package main

import (
	"bufio"
	"fmt"
	"os"
	"time"
)

func main() {
	start := time.Now()
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		now := time.Now()
		fmt.Println(now.UnixNano(), now.Sub(start).Nanoseconds())
	}
}
"""


@dataclass(frozen=True)
class Program:
    name: str
    command: list[str]


def programs(folder: Path) -> Iterator[Program]:
    """Those that this machine can build."""
    yield Program(f"CPython {sys.version.split()[0]}", [sys.executable, "-c", PYTHON])
    (folder / "clocks.c").write_text(C)
    for name, compiler, flags in (
        ("C, glibc", "gcc", []),
        ("C, static glibc", "gcc", ["-static"]),
        ("C, static musl", "musl-gcc", ["-static"]),
    ):
        if path := shutil.which(compiler):
            binary = folder / name.replace(", ", "-").replace(" ", "-")
            command = [path, "-O2", *flags, "-o", str(binary), str(folder / "clocks.c")]
            if _built(command, folder):
                yield Program(name, [str(binary)])
    if shutil.which("go"):
        (folder / "clocks.go").write_text(GO)
        command = ["go", "build", "-o", str(folder / "go-clocks"), str(folder / "clocks.go")]
        if _built(command, folder):
            yield Program("Go", [str(folder / "go-clocks")])
    if shutil.which("javac"):
        (folder / "Clocks.java").write_text(JAVA)
        if _built(["javac", "-d", str(folder), str(folder / "Clocks.java")], folder):
            yield Program("Java", ["java", "-cp", str(folder), "Clocks"])


def _built(command: list[str], folder: Path) -> bool:
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if made.returncode:
        print(f"cannot build: {' '.join(command)}: {made.stderr.strip()[:200]}", file=sys.stderr)
    return made.returncode == 0


class Readings:
    """By how much a program's clocks are off, in seconds."""

    def __init__(self, node: Beside) -> None:
        self._node = node
        _, monotonic = node.ask()
        self._ahead = monotonic - time.monotonic_ns()

    def __call__(self) -> tuple[float, float]:
        wall, monotonic = self._node.ask()
        off_wall = (wall - time.time_ns()) / NS
        return off_wall, (monotonic - time.monotonic_ns() - self._ahead) / NS


def measure(agent: Agent, command: list[str]) -> list[tuple[float, float]]:
    """The columns of the table, of one program."""
    found = []
    with beside(agent, *command) as node:
        read = Readings(node)
        found.append(read())
        agent.do("clock", offset_ns=HOUR)
        found.append(read())
        began_ns = time.monotonic_ns()
        agent.do("clock", offset_ns=0, drift_ppm=200_000, monotonic_drift_ppm=200_000)
        until(lambda: time.monotonic_ns() - began_ns >= NS, "a second to pass")
        found.append(read())
        agent.do("clock", offset_ns=0, monotonic_offset_ns=0)
        found.append(read())
        agent.do("clock", offset_ns=0, monotonic_offset_ns=10 * NS)
        found.append(read())
    agent.do("clock", offset_ns=HOUR)
    with beside(agent, *command) as node:
        node.ask()  # from now on what runs is the program, and not what executes it
        until(lambda: agent.do("probe_clock")["patched"], "the keeper to find it")
        found.append(Readings(node)())
    return found


def main() -> None:
    print(describe())
    heads = ("true", "+1 h", "+20 % for 1 s", "healed", "monotonic +10 s", "restarted under +1 h")
    print("| program | " + " | ".join(heads) + " |")
    print("|---" * (len(heads) + 1) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for program in programs(Path(folder)):
            with lone_agent() as agent:
                found = measure(agent, program.command)
            cells = [f"{wall:+.3f}, {monotonic:+.3f}" for wall, monotonic in found]
            print(f"| {program.name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
