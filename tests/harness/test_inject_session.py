"""Sessions in existing containers, with agents that answer what a test says, and blocks of one
program that share a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from antipaxos import faults
from faults.kinds.partition import Partition
from harness.cluster import FaultNotProven
from harness.errors import StartError, UsageError
from harness.inject import lost_agents, shared_sessions
from harness.inject import session as session_module
from harness.inject.containers import Container
from harness.inject.parse_options import fault_for
from harness.inject.placing import affected, placed
from harness.inject.session import Session
from harness.runtimes.docker.agents import AgentError
from harness.runtimes.docker.creations import Creations
from harness.runtimes.docker.injector import FaultInjector
from harness.runtimes.docker.injectors.network import GROUPS
from harness.runtimes.docker.limits import Limits
from harness.runtimes.interface import FaultReport


def container(name: str, *, networks: tuple[str, ...] = ("net",), **owners: str) -> Container:
    own = {"network_owner": f"id-{name}", "pid_owner": f"id-{name}", **owners}
    return Container(name, f"id-{name}", 77, networks, **own)


class Guard:
    """Of limits. `ended`: whether it was told that they are restored."""

    def __init__(self, containers: Sequence[str]) -> None:
        self.containers = containers
        self.ended: bool | None = None

    def end(self, *, restored: bool) -> None:
        self.ended = restored


class World:
    """What the sessions of a test see and do."""

    def __init__(self) -> None:
        self.containers = {name: container(name) for name in ("a", "b", "c", "d")}
        self.open: list[str] = []
        """Agents that run, by the container that they have joined."""
        self.most = 0
        self.sessions = 0
        self.refuses: Callable[[Sequence[str]], None] = lambda names: None
        self.does_not_start = ""
        self.has_other_clock = ""
        self.ended: set[str] = set()
        self.paused: set[str] = set()
        self.nano_cpus = 0
        self.guards: list[Guard] = []
        self.creations = Creations()
        self.cut: dict[str, set[str]] = {}
        """By sender, the addresses that it sends nothing to."""
        self.killed: set[str] = set()
        """Containers whose agents were killed."""
        self.successors: list[tuple[str, bool]] = []
        """What has joined after a killed agent: container, and whether that had paused it."""
        self.left: Any = {"rules": 2, "clocks": [7, 8], "resumed": [], "problems": []}

    def find(self, _: Any, names: Sequence[str]) -> list[Container]:
        return [self.containers[name] for name in names]

    def require_free(
        self, _: Any, containers: Sequence[Container], own: Mapping[str, str] | None = None
    ) -> None:
        self.refuses([container.name for container in containers])

    def remove_container(self, identity: str, **_: Any) -> None:
        """An agent's container."""

    def close(self) -> None:
        """As an engine's client has it."""

    def start(self, identity: str) -> None:
        if identity == f"agent-{self.does_not_start}":
            raise StartError("the agent did not start")
        assert identity == "agent-witness" or identity not in self.open, "two in one container"
        self.open.append(identity)
        self.most = max(self.most, len(self.open))


class Agent:
    def __init__(self, world: World, number: int, identity: str) -> None:
        self.world = world
        self.node = number
        self.name = identity.removeprefix("agent-")
        self.identity = identity
        self.greeting: dict[str, Any] = {}

    @property
    def lost(self) -> str | None:
        return "its stream closed" if self.name in self.world.killed else None

    async def attach(self, _: Any) -> None:
        """As an agent has it."""

    async def hello(self) -> dict[str, Any]:
        """The same."""
        return {"left_behind": self.world.left}

    async def clock_offset_ns(self) -> tuple[int, int]:
        if self.name == self.world.has_other_clock:
            raise StartError(f"the monotonic clock of {self.name} is another one")
        return (0, 1)

    async def detach(self) -> None:
        if self.identity in self.world.open:
            self.world.open.remove(self.identity)

    @property
    def interfaces(self) -> dict[str, Any]:
        return {"eth0": {"addresses": [f"10.0.0.{self.name}"], "hardware": ""}}

    async def call(self, do: str, **what: Any) -> dict[str, Any]:
        if self.lost is not None:
            raise AgentError(f"the agent of n{self.node} is gone")
        if do == "pause":
            self.world.paused.add(self.name)
        elif do == "resume":
            self.world.paused.discard(self.name)
        elif do == "addresses":
            return {"interfaces": self.interfaces}
        elif do == "links":
            self.world.cut[self.name] = set(what["drop_to"])
            return {"done_ns": 1, "addresses": self.interfaces}
        elif do == "probe_links":
            own = f"10.0.0.{self.name}"
            arrived = [
                int(peer)
                for peer, (address, *_) in what["peers"].items()
                if own not in self.world.cut.get(address.rpartition(".")[2], ())
            ]
            sources = {str(peer): what["peers"][str(peer)] for peer in arrived}
            groups = dict.fromkeys(GROUPS, arrived)
            return {"arrived": arrived, "sources": sources, "groups": groups}
        state = "T" if self.name in self.world.paused else "S"
        return {"done_ns": 1, "processes": [{"threads": state}]}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()

    def connect() -> Any:
        made.sessions += 1
        return made

    def guard(containers: Sequence[str]) -> Guard:
        made.guards.append(Guard(containers))
        return made.guards[-1]

    def successor(container: Container, *, had_paused: bool) -> str:
        made.successors.append((container.name, had_paused))
        return f"agent-{container.name}-again"

    fakes: dict[str, Any] = {
        "connect": connect,
        "abilities_of": lambda _: None,
        "require_kinds": lambda *_: None,
        "find_containers": made.find,
        "require_free": made.require_free,
        "has_ended": lambda _, container: container.name in made.ended,
        "EngineImages": lambda *_: SimpleNamespace(own=lambda: "image"),
        "AgentContainers": lambda *_: SimpleNamespace(
            create_agent=lambda container: f"agent-{container.name}",
            create_successor=successor,
            create_witness=lambda network: "agent-witness",
            connect=lambda witness, networks: None,
        ),
        "Agent": lambda number, identity: Agent(made, number, identity),
        "remove_labelled": lambda *_: None,
        "limits_of": lambda *_: Limits(0, 0, made.nano_cpus, 0, 0),
        "LimitsGuard": guard,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(session_module, name, fake)
    for name in ("Agent", "has_ended", "require_free"):
        monkeypatch.setattr(lost_agents, name, fakes[name])
    for name in ("connect", "find_containers"):
        monkeypatch.setattr(shared_sessions, name, fakes[name])
    return made


def test_a_fault_of_some_containers_has_their_numbers_in_the_session() -> None:
    partition = fault_for("partition", "p", 2, 1).resolve(1, (1, 2, 3))
    moved = placed(partition, [4, 2, 7])
    assert isinstance(moved, Partition)
    assert moved.nodes == (4, 2) and sorted(moved.cut) == [(2, 7), (4, 7), (7, 2), (7, 4)]
    assert affected(moved) == [2, 4, 7]
    delay = placed(fault_for("delay", "d", 1, 1, delay_us=5).resolve(1, (1, 2)), [3, 1])
    assert affected(delay) == [1, 3] and delay.links == ((3, 1),)  # type: ignore[attr-defined]


def test_nested_blocks_use_one_agent_per_container(world: World) -> None:
    with faults.pause("a"):
        with faults.pause(["b", "a"]) as report:
            assert report.evidence == {"b": {"states": ["T"]}, "a": {"states": ["T"]}}
            assert world.paused == {"a", "b"}
            with faults.pause("b"):
                pass
            assert world.paused == {"a", "b"}, "the end of one of two pauses resumes nothing"
        assert world.paused == {"a"}
        assert sorted(world.open) == ["agent-a", "agent-b", "agent-witness"]
    assert not world.open and world.most == 3 and not world.paused
    with faults.pause("a"):
        assert sorted(world.open) == ["agent-a", "agent-witness"]


def test_a_container_that_joins_later_is_in_the_proofs(world: World) -> None:
    with faults.partition("a", to="b") as outer:
        assert outer.evidence["links"] == {
            "a": "all others",
            "b": "all others",
            "all others": "a b",
        }
        with faults.partition(["c", "a"], shape="one-way-out") as inner:
            assert inner.evidence["links"] == {
                "a": "c all others",
                "b": "c all others",
                "c": "b all others",
                "all others": "a b c",
            }
            assert inner.evidence["groups_arrived"] == dict.fromkeys(GROUPS, 9)
    assert not any(world.cut.values())


def test_blocks_of_other_containers_have_a_session_of_their_own(world: World) -> None:
    with faults.pause("a"), faults.pause("c"):
        assert len(shared_sessions._OPEN) == 2
        with (
            pytest.raises(UsageError, match="a and c have faults of different blocks"),
            faults.pause(["a", "c"]),
        ):
            pytest.fail("it was injected")
    assert not world.open and not shared_sessions._OPEN


def test_an_inner_block_that_is_interrupted_is_healed_before_the_outer_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    inject = FaultInjector.inject

    async def interrupted(injector: FaultInjector, fault: Any) -> FaultReport:
        await inject(injector, fault)
        assert world.paused == {"a", "b"}
        raise KeyboardInterrupt

    with faults.pause("a"), monkeypatch.context() as patch:
        patch.setattr(FaultInjector, "inject", interrupted)
        with pytest.raises(KeyboardInterrupt), faults.pause(["a", "b"]):
            pytest.fail("it was injected")
        assert world.paused == {"a"}


def test_a_session_lasts_as_long_as_the_last_block(world: World) -> None:
    first, second = ExitStack(), ExitStack()
    first.enter_context(faults.pause("a"))
    second.enter_context(faults.pause(["a", "b"]))
    first.close()
    assert world.paused >= {"b"} and "agent-a" in world.open
    second.close()
    assert not world.open and not world.paused


def test_a_container_of_another_program_is_refused(world: World) -> None:
    def refuse(names: Sequence[str]) -> None:
        if "b" in names:
            raise UsageError("another session has an agent in the container")

    world.refuses = refuse
    with pytest.raises(UsageError, match="another session"), Session(["b"]):
        pytest.fail("it was opened")
    assert not world.open


def test_one_that_is_created_meanwhile_is_found_before_agents_start(world: World) -> None:
    asked = []

    def refuse(names: Sequence[str]) -> None:
        asked.append(names)
        if len(asked) == 2:
            raise UsageError("an earlier session has an agent in the container")

    world.refuses = refuse
    with pytest.raises(UsageError, match="an earlier session"), Session(["a"]):
        pytest.fail("it was opened")
    assert world.most == 0


@pytest.mark.parametrize("why", ["refused", "does not start"])
def test_what_cannot_be_added_leaves_the_outer_block_as_it_was(world: World, why: str) -> None:
    def refuse(names: Sequence[str]) -> None:
        if "b" in names and why == "refused":
            raise UsageError("another session has an agent in the container")

    world.refuses = refuse
    world.does_not_start = "b" if why == "does not start" else ""
    with faults.pause("a"):
        with pytest.raises((UsageError, StartError)), faults.pause(["b", "a"]):
            pytest.fail("it was injected")
        assert world.paused == {"a"} and sorted(world.open) == ["agent-a", "agent-witness"]
        world.refuses, world.does_not_start = lambda names: None, ""
        with faults.pause(["b", "a"]):
            assert world.paused == {"a", "b"}
    assert not world.open


def test_a_witness_that_came_with_what_cannot_be_added_goes_with_it(world: World) -> None:
    world.containers["a"] = container("a", networks=())
    with faults.pause("a"):
        world.does_not_start = "b"
        with pytest.raises(StartError), faults.pause(["a", "b"]):
            pytest.fail("it was injected")
        assert world.open == ["agent-a"]
        world.does_not_start = ""
        with faults.pause(["a", "b"]):
            assert sorted(world.open) == ["agent-a", "agent-b", "agent-witness"]


def test_an_agent_with_another_clock_is_refused(world: World) -> None:
    """Faults of links begin at one time on the clock that all agents and this program share."""
    world.has_other_clock = "b"
    with pytest.raises(StartError, match="the monotonic clock of b"), faults.pause(["a", "b"]):
        pytest.fail("it was injected")
    assert not world.open and not world.paused


def test_containers_that_share_a_namespace_have_no_two_agents_for_it(world: World) -> None:
    world.containers["b"] = container("b", network_owner="id-a")
    with (
        Session(["a", "b"]) as session,
        pytest.raises(UsageError, match="'a' and 'b' use the same network namespace"),
    ):
        session.inject(fault_for("delay", "d", 1, delay_us=5))
    with (
        faults.pause("a"),
        pytest.raises(UsageError, match="the same network namespace"),
        faults.pause("b"),
    ):
        pytest.fail("it was injected")
    world.containers["b"] = container("b", pid_owner="id-a")
    with pytest.raises(UsageError, match="the same PID namespace"), Session(["a", "b"]):
        pytest.fail("it was opened")
    assert not world.open


def test_a_fault_that_changes_nothing_is_refused(world: World) -> None:
    bridge = Partition(id="p", start_us=0, duration_us=0, nodes=(1,), shape="bridge")
    with Session(["a", "b", "c"]) as session:
        assert session.check(bridge)
        with pytest.raises(UsageError, match=r"would change nothing among .* it cuts no link"):
            session.inject(bridge, [1, 2])
        assert not session.is_active(bridge)


def test_a_fault_ends_unproven_where_its_container_was_restarted(world: World) -> None:
    with (
        pytest.raises(FaultNotProven, match="b ended meanwhile, and the fault with it"),
        faults.pause(["a", "b"]),
    ):
        world.ended = {"b"}
    with (
        pytest.raises(FaultNotProven, match="b ended meanwhile: there is nothing left to affect"),
        faults.pause(["a", "b"]),
    ):
        pytest.fail("it was proven")
    with faults.pause("a"):
        pass


def heal_after_kill(
    world: World, *killed: str, ended: Sequence[str] = ()
) -> tuple[FaultReport, FaultReport]:
    """Of a pause of a and b, and of one of b alone, where agents were killed meanwhile, and
    containers ended."""
    with Session(["a", "b"]) as session:
        both, one = fault_for("pause", "p", 2), fault_for("pause", "q", 1)
        assert session.inject(both).verified and session.inject(one, among=[2]).verified
        world.killed |= set(killed)
        world.ended |= set(ended)
        return session.heal(both), session.heal(one)


def test_another_agent_removes_what_a_killed_one_has_left(world: World) -> None:
    both, one = heal_after_kill(world, "a")
    assert world.successors == [("a", True)] and not world.open
    assert not both.verified and both.problem == (
        "the agent of a ended meanwhile (its stream closed); another one has removed what it "
        "left: filters and qdiscs: 2, processes with a false clock: 2"
    )
    assert both.evidence["left"] == {"a": {"rules": 2, "clocks": [7, 8], "resumed": []}}
    assert one.verified and "left" not in one.evidence


def test_what_a_killed_agent_has_left_is_removed_at_the_end_also(world: World) -> None:
    with Session(["a", "b"]) as session:
        world.killed |= {"b", "witness"}
        session.inject(fault_for("pause", "p", 1))
    assert world.successors == [("b", False)] and not world.open


def test_what_cannot_be_removed_is_told(world: World) -> None:
    world.left = {"rules": 0, "clocks": [], "resumed": [], "problems": ["clocks: no"]}
    both, one = heal_after_kill(world, "a", "b")
    lost = "ended meanwhile (its stream closed), and what it left could not be removed: clocks: no"
    assert both.problem == f"the agent of a {lost}; the agent of b {lost}"
    assert one.problem == f"the agent of b {lost}" and len(world.successors) == 2


def test_what_is_left_in_a_container_of_another_session_by_now_is_told(world: World) -> None:
    with Session(["a"]) as session:
        fault = fault_for("pause", "p", 1)
        session.inject(fault)
        world.killed.add("a")
        world.refuses = _refuse
        report = session.heal(fault)
    assert report.problem is not None and report.problem.endswith("removed: another session")
    assert not world.successors


def _refuse(_: Sequence[str]) -> None:
    raise UsageError("another session")


def test_nothing_is_left_in_a_container_that_has_ended_with_its_agent(world: World) -> None:
    both, one = heal_after_kill(world, "a", ended=["a"])
    assert both.problem == "a ended meanwhile, and the fault with it" and not world.successors
    assert one.verified


def test_where_no_link_can_be_measured_no_fault_of_links_is_proven(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.containers["a"] = container("a", networks=())

    async def claims(*_: Any) -> Any:
        return FaultReport({1: 1}, verified=True, evidence={})

    monkeypatch.setattr(FaultInjector, "inject", claims)
    monkeypatch.setattr(FaultInjector, "heal", claims)
    with (
        pytest.raises(FaultNotProven, match="nothing could be measured: a is on no network"),
        faults.delay("a", "50ms"),
    ):
        pytest.fail("it was proven")
    with faults.delay("b", "50ms"):
        pass


def test_a_quota_of_a_container_with_cpus_is_refused(world: World) -> None:
    world.nano_cpus = 2 * 10**9
    with (
        pytest.raises(UsageError, match="'b' was started with --cpus"),
        faults.slow_cpu(["b"], "10%"),
    ):
        pytest.fail("it was injected")
    assert not world.guards


@pytest.mark.parametrize("healed", [True, False])
def test_a_guard_is_told_that_all_is_restored_only_if_that_was_verified(
    world: World, monkeypatch: pytest.MonkeyPatch, healed: bool
) -> None:
    async def reports(injector: FaultInjector, fault: Any) -> FaultReport:
        return FaultReport({}, verified=True, evidence={})

    async def heals(injector: FaultInjector, fault: Any) -> FaultReport:
        return FaultReport({}, verified=healed or fault.kind == "slow-cpu", evidence={})

    monkeypatch.setattr(FaultInjector, "inject", reports)
    monkeypatch.setattr(FaultInjector, "heal", heals)
    one = fault_for("memory", "m", 1, spare_kib=256)
    two = fault_for("slow-cpu", "s", 2, percent=10)
    with Session(["a", "b"]) as session:
        for fault in (one, two):
            assert session.inject(fault).verified
        assert [guard.containers for guard in world.guards] == [["id-a"], ["id-b"]]
        for fault in (two, one):
            session.heal(fault)
        assert [guard.ended for guard in world.guards] == [None, None]
    assert [guard.ended for guard in world.guards] == [healed, healed]
