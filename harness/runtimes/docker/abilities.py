"""What an engine cannot do, asked before anything is started.

`/version` and `/info` say what the engine is: Docker or Podman with Docker's interface, of which
version, on which kind of processor, with which control groups. A kind of fault that it cannot carry
out is refused then, with the reason. What only an agent can try is refused when the agents have
started (`Nemesis.require`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import docker
from docker.errors import APIError

from faults.kinds.memory import MemoryPressure
from faults.kinds.slow_cpu import SlowCpu
from harness.errors import EngineError, UsageError
from harness.runtimes.docker.engine import engine_errors
from harness.runtimes.docker.injectors.disks import DISK_FAULTS
from harness.runtimes.docker.pods import CGROUP_VARIABLE, cgroup_parent
from histories.text import one_line

API_LEAST: Final = (1, 41)
"""Of Docker 20.10."""
PROCESSORS: Final = {"amd64": "x86_64", "arm64": "aarch64"}
"""Names of Go's, which some engines give, and the kernel's."""
WITH_CLOCKS: Final = ("x86_64", "aarch64")
"""Those that agents can change clocks on."""
CLOCKS: Final = ("clock", "drift", "strobe", "monotonic")
LIMITS: Final = {SlowCpu.kind: "CpuCfsQuota", MemoryPressure.kind: "MemoryLimit"}
"""The entry of `/info` that says whether the engine can limit a container so."""
NOBODY: Final = "antipaxos-no-such-container"
WORDS_MAX: Final = 60


class Abilities(NamedTuple):
    """What an engine is, in words, and the kinds of faults that it cannot have, each with why."""

    engine: str
    processor: str
    control_groups: str
    lacking: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.engine} on {self.processor}, {self.control_groups}"


def abilities_of(api: docker.APIClient) -> Abilities:
    """Raises EngineError for an engine that no run can use."""
    with engine_errors("asking the engine what it is"):
        version, info = _mapping(api.version()), _mapping(api.info())
        updates = _can_update(api)
    processor = _processor(info)
    control_groups = f"cgroup v{_text(info.get('CgroupVersion') or '1')}"
    engine = f"{'Podman' if _is_podman(version) else 'Docker'} {_text(version.get('Version'))}"
    _require_usable(engine, version, info)
    lacking = dict(_lacking(engine, version, info, updates=updates))
    return Abilities(engine, processor, control_groups, lacking)


def require_kinds(abilities: Abilities, kinds: Sequence[str]) -> None:
    """Raises UsageError for a kind that the engine cannot have."""
    for kind in kinds:
        if why := abilities.lacking.get(kind):
            raise UsageError(
                f"this engine cannot have {kind} faults: {why}",
                remedy="leave them out, use another engine, or run in the simulator: --on sim",
            )


def _require_usable(engine: str, version: Mapping[str, Any], info: Mapping[str, Any]) -> None:
    if (kind := _text(info.get("OSType") or "linux")) != "linux":
        raise EngineError(
            f"the engine has {kind} containers, and nodes need Linux", remedy="switch the engine"
        )
    spoken = _text(version.get("ApiVersion"))
    parts = tuple(int(part) if part.isdecimal() else 0 for part in spoken.split("."))
    if parts < API_LEAST:
        raise EngineError(
            f"{engine} speaks version {spoken} of the engine's interface, and 1.41 is needed",
            remedy="use Docker 20.10 or later, or run in the simulator: --on sim",
        )
    parent = cgroup_parent()
    if parent and info.get("CgroupDriver") == "systemd" and not parent.endswith(".slice"):
        raise EngineError(
            f"{CGROUP_VARIABLE} is {one_line(parent, WORDS_MAX)}, and systemd manages this "
            "engine's control groups, which takes the name of a slice only",
            remedy=f"{CGROUP_VARIABLE}=antipaxos.slice",
        )


def _lacking(
    engine: str, version: Mapping[str, Any], info: Mapping[str, Any], *, updates: bool
) -> Iterator[tuple[str, str]]:
    for kind, entry in LIMITS.items():
        if not updates:
            yield kind, f"{engine} does not change the limits of a container that runs"
        elif info.get(entry) is False:
            yield kind, f"{engine} has no control group for it here ({entry} is false)"
    if _is_podman(version):
        for fault in DISK_FAULTS:
            yield fault.kind, f"on {engine} a node cannot write to a volume that its agent has too"
    if (processor := _processor(info)) not in WITH_CLOCKS:
        for kind in CLOCKS:
            yield kind, f"clocks are changed on x86-64 and aarch64 only, and this is {processor}"


def _can_update(api: docker.APIClient) -> bool:
    """An engine that has the call says that there is no such container."""
    try:
        api.update_container(NOBODY, cpu_period=100_000, cpu_quota=-1)
    except APIError as error:
        said = str(error.explanation or error).lower()
        return error.status_code != 404 or NOBODY in said
    return True


def _is_podman(version: Mapping[str, Any]) -> bool:
    parts = version.get("Components")
    named = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    return any("podman" in str(part.get("Name")).lower() for part in named)


def _processor(info: Mapping[str, Any]) -> str:
    said = _text(info.get("Architecture"))
    return PROCESSORS.get(said, said)


def _mapping(said: Any) -> Mapping[str, Any]:
    if not isinstance(said, dict):
        raise EngineError("the engine does not say what it is")
    return said


def _text(value: Any) -> str:
    return one_line(str(value), WORDS_MAX)
