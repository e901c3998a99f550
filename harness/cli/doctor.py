"""`antipaxos doctor`: what this machine can do, and what is substituted for what."""

from __future__ import annotations

import asyncio
import os
import platform
import secrets
from collections.abc import Iterator
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.table import Table

from harness.errors import HarnessError
from harness.runtimes.docker.agents import Agent
from harness.runtimes.docker.engine import connect
from harness.runtimes.docker.images import ensure_image
from harness.runtimes.docker.pods import PodEngine, remove_labelled
from histories.checker import which_kernel


class Finding(NamedTuple):
    """One thing that was looked at. `ok` None: neither good nor bad."""

    what: str
    ok: bool | None
    says: str


@click.command()
def doctor() -> int:
    """Look at this machine: the engine, the image, every fault's prerequisites, the checker.

    Starts one agent container for a moment, and asks it what it can do here. Exits with 0 when
    real containers can be used, else with 1: the simulator works everywhere.
    """
    console = Console()
    findings = list(_findings(console))
    table = Table(box=None, show_header=False)
    for finding in findings:
        mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: " "}[finding.ok]
        table.add_row(mark, finding.what, finding.says)
    console.print(table)
    return 0 if all(finding.ok is not False for finding in findings) else 1


def _findings(console: Console) -> Iterator[Finding]:
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{os.cpu_count()} cores, {memory_gb:.0f} GB, {platform.platform()}"
    yield Finding("machine", None, machine)
    yield Finding("python", None, platform.python_version())
    yield Finding("checker", None, which_kernel())
    yield Finding("simulator", True, "needs nothing")
    try:
        api = connect()
        version = api.version()
        yield Finding("engine", True, f"{version['Version']}, API {api.api_version}")
        image = ensure_image(api, lambda text: console.print(f"{text} …", style="dim"))
        yield Finding("image", True, f"{image.name} on {image.base}")
        greeting = asyncio.run(
            _greeting(PodEngine(api, f"doctor-{secrets.token_hex(3)}", image.name, 7001))
        )
    except HarnessError as error:
        yield Finding("containers", False, str(error))
        return
    for name, capability in greeting["can"].items():
        says = capability.get("how") or f"{capability.get('error')}; {capability.get('remedy')}"
        yield Finding(name, bool(capability["ok"]), says)


async def _greeting(engine: PodEngine) -> dict[str, Any]:
    """What an agent says of itself on this engine and kernel."""
    agent: Agent | None = None
    try:
        await asyncio.to_thread(engine.create_network)
        pod = await asyncio.to_thread(engine.create_agent, 1)
        agent = Agent(1, pod.agent_id)
        await agent.attach(engine.api)
        await asyncio.to_thread(engine.start_agent, pod)
        return await agent.hello()
    finally:
        if agent is not None:
            await agent.detach()
        await asyncio.to_thread(remove_labelled, engine.api, engine.run_id)
