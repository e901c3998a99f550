"""`antipaxos doctor`: what this machine can do, and what is substituted for what."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.table import Table

from harness.cli.interpreter import describe, is_slow_build
from harness.cli.options import command
from harness.cli.output import SafeConsole, say
from harness.errors import EngineError, HarnessError
from harness.runtimes.docker.abilities import abilities_of
from harness.runtimes.docker.agents import Agent
from harness.runtimes.docker.engine import connect
from harness.runtimes.docker.images import ensure_image
from harness.runtimes.docker.kind_checks import Trial, try_all
from harness.runtimes.docker.pods import PodEngine
from harness.runtimes.docker.removal import remove_labelled
from histories.checker import which_kernel


class Finding(NamedTuple):
    """One thing that was looked at. `ok` None: neither good nor bad. `needed`: without it there are
    no real containers."""

    what: str
    ok: bool | None
    says: str
    needed: bool = True

    def to_json(self) -> dict[str, Any]:
        return {"what": self.what, "ok": self.ok, "says": self.says}


@command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--quick", is_flag=True, help="Only query the agent; inject no faults.")
def doctor(as_json: bool, quick: bool) -> int:
    """Check this machine: the engine, the image, the checker, and each kind of fault.

    Starts an agent and asks for its capabilities. Then starts a cluster of three nodes, and
    injects, verifies and heals every kind of fault. Exits with 0 if containers can be used, else
    with 69. The simulator works everywhere.
    """
    console = SafeConsole(stderr=as_json)
    findings: list[Finding] = []
    trials: list[Trial] = []
    for found in _look(lambda text: console.print(f"{text} …", style="dim"), quick):
        if isinstance(found, Finding):
            findings.append(found)
        else:
            trials.append(found)
    ok = all(finding.ok is not False for finding in findings if finding.needed)
    if as_json:
        said = {
            "ok": ok,
            "machine": [finding.to_json() for finding in findings],
            "faults": [trial.to_json() for trial in trials],
        }
        say(json.dumps(said))
    else:
        _show(console, findings, trials)
    return 0 if ok else EngineError.exit_code


def _show(console: Console, findings: Sequence[Finding], trials: Sequence[Trial]) -> None:
    marks = {True: "[green]✓[/]", False: "[red]✗[/]", None: " "}
    table = Table(box=None, show_header=False)
    for finding in findings:
        table.add_row(marks[finding.ok], finding.what, finding.says)
    console.print(table)
    if not trials:
        return
    table = Table(box=None, title="faults in containers", title_justify="left")
    for name in ("", "kind", "how, or what to do to get it"):
        table.add_column(name, justify="left")
    for trial in trials:
        says = trial.how if trial.ok else f"{trial.problem}; {trial.remedy}"
        table.add_row(marks[trial.ok], trial.kind, says)
    console.print(table)


def _look(say: Callable[[str], None], quick: bool) -> Iterator[Finding | Trial]:
    yield from _machine()
    try:
        api = connect()
        abilities = abilities_of(api)
        yield Finding("engine", True, f"{abilities}, API {api.api_version}")
        image = ensure_image(api, say)
        yield Finding("image", True, f"{image.name} on {image.base}")
        engine = PodEngine(api, f"doctor-{secrets.token_hex(3)}", image.name, 7001, disk=True)
        try:
            can = asyncio.run(_greeting(engine))["can"]
        finally:  # once every thread that makes something has ended
            remove_labelled(api, engine.run_id)
    except HarnessError as error:
        yield Finding("containers", False, _in_words(error))
        return
    for name, capability in can.items():
        yield Finding(name, bool(capability["ok"]), _says(capability), needed=False)
    if not quick:
        try:
            yield from try_all(engine, can, say, lacking=abilities.lacking)
        except HarnessError as error:
            yield Finding("cluster", False, _in_words(error))


def _machine() -> Iterator[Finding]:
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{os.cpu_count()} cores, {memory_gb:.0f} GB, {platform.platform()}"
    yield Finding("machine", None, machine)
    yield Finding("python", False if is_slow_build() else None, describe(), needed=False)
    yield Finding("checker", None, which_kernel())
    yield Finding("simulator", True, "needs nothing")


def _in_words(error: HarnessError) -> str:
    return "; ".join(filter(None, (error.message, error.remedy)))


def _says(capability: Mapping[str, Any]) -> str:
    return str(capability.get("how") or f"{capability.get('error')}; {capability.get('remedy')}")


async def _greeting(engine: PodEngine) -> dict[str, Any]:
    """What an agent says of itself on this engine and kernel. Raises StartError also where its
    clock is not this machine's, as a run would."""
    agent: Agent | None = None
    try:
        await asyncio.to_thread(engine.create_network)
        pod = await asyncio.to_thread(engine.create_agent, 1)
        agent = Agent(1, pod.agent_id)
        await agent.attach(engine.api)
        await asyncio.to_thread(engine.start_agent, pod)
        greeting = await agent.hello()
        await agent.clock_offset_ns()
        return greeting
    finally:
        if agent is not None:
            await agent.detach()
