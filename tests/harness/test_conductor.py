"""The run as a state machine, in a scripted world."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

from faults.description import LEADER
from faults.kinds.kill import Kill
from faults.kinds.partition import Partition
from faults.kinds.pause import Pause
from harness.run.expected import Expected
from harness.run.verdict import combine
from harness.runtimes.interface import FaultReport
from harness.targets.interface import Request, Response
from histories.checker import check
from histories.events import NEMESIS, Event
from histories.formats.native import History
from tests.harness.scripted import ScriptedWorld, play, store_that_answers


def clients(events: list[Event]) -> list[Event]:
    return [e for e in events if e.process != NEMESIS]


def phases(events: list[Event]) -> list[str]:
    return [e.value for e in events if e.f == "phase"]


def liveness_of(events: list[Event]) -> tuple[str, str]:
    """As the history alone says it."""
    verdict = combine(
        History(events), check(events, model="kv"), None, expected=Expected(model="kv")
    )
    return verdict.liveness.outcome, verdict.liveness.reason


def phases_at(events: list[Event], phase: str) -> int:
    return next(i for i, e in enumerate(events) if e.f == "phase" and e.value == phase)


def test_a_healthy_run_goes_through_its_phases_and_is_live() -> None:
    conductor, _, events = play()
    assert phases(events) == ["chaos", "heal", "finale", "done"]
    assert conductor.stats.not_live is None
    assert conductor.stats.outcomes["info"] == 0
    assert conductor.stats.outcomes["ok"] > 60


def test_every_operation_completes_once_and_indexes_count_up() -> None:
    _, _, events = play()
    assert [e.index for e in events] == list(range(len(events)))
    assert all(a.time <= b.time for a, b in itertools.pairwise(events))
    open_operations: dict[int | str, Event] = {}
    for event in clients(events):
        if event.type == "invoke":
            assert event.process not in open_operations
            open_operations[event.process] = event
        else:
            begun = open_operations.pop(event.process)
            assert (begun.f, begun.key) == (event.f, event.key)
    assert not open_operations


def test_written_values_are_unique() -> None:
    _, _, events = play(keys=1)
    invoked = [e for e in clients(events) if e.type == "invoke"]
    written = [e.value if e.f == "write" else e.value[1] for e in invoked if e.f != "read"]
    assert len(written) == len(set(written)) > 20


def test_the_rate_is_kept_whatever_the_answers_take() -> None:
    _, _, events = play(rate=200.0, time_us=5_000_000, concurrency=10)
    invoked = [e for e in clients(events) if e.type == "invoke"]
    assert 900 < len(invoked) < 1100


def test_a_redirect_is_followed_to_the_leader() -> None:
    def third_leads(world: ScriptedWorld, node: int, command: Request) -> tuple[Response, int]:
        if node != 3:
            return Response("not-leader", None, 3, definite=True), 500
        return store_that_answers(world, 1, command)

    conductor, _, events = play(third_leads)
    assert conductor.stats.outcomes["info"] == 0
    answered = [e for e in clients(events) if e.type == "ok"]
    assert {e.node for e in answered} == {3}


def test_no_answer_makes_writes_info_reads_fail_and_retires_the_process() -> None:
    def deaf_for_a_while(
        world: ScriptedWorld, node: int, command: Request
    ) -> tuple[Response, int] | None:
        if 500_000 < world.now_us < 3_500_000:
            return None
        return store_that_answers(world, node, command)

    _, _, events = play(deaf_for_a_while, operation_timeout_us=1_000_000)
    done = [e for e in clients(events) if e.type in ("fail", "info")]
    kinds = Counter((e.f, e.type) for e in done if e.error == "timeout")
    assert kinds["read", "fail"] and kinds["write", "info"]
    assert not kinds["read", "info"]
    retired = {e.process for e in done if e.type == "info"}
    for process in retired:
        last = [e for e in clients(events) if e.process == process][-1]
        assert last.type == "info"


def test_a_retry_carries_the_same_session_number_to_another_node() -> None:
    def lost_once(world: ScriptedWorld, node: int, command: Request) -> tuple[Response, int] | None:
        seen = sum(
            1 for _, _, c in world.requests if (c.client, c.seq) == (command.client, command.seq)
        )
        return None if seen == 1 else (Response(None, None, node), 1000)

    conductor, world, _ = play(lost_once, time_us=500_000)
    by_command: dict[tuple[int, int], set[int]] = {}
    for _, node, command in world.requests:
        by_command.setdefault((command.client, command.seq), set()).add(node)
    assert all(len(nodes) == 2 for nodes in by_command.values())
    assert conductor.stats.outcomes["info"] == 0


def test_a_late_answer_to_an_earlier_attempt_counts() -> None:
    def slow(world: ScriptedWorld, node: int, command: Request) -> tuple[Response, int]:
        return Response(None, None, node), 700_000  # beyond the attempt's time-out

    conductor, _, _ = play(slow, time_us=300_000)
    assert conductor.stats.outcomes == {
        "ok": sum(conductor.stats.outcomes.values()),
        "fail": 0,
        "info": 0,
    }


def test_faults_begin_and_end_at_their_times_and_are_in_the_history() -> None:
    fault = Pause(id="f1", start_us=300_000, duration_us=400_000, nodes=(2,))
    conductor, world, events = play(faults=(fault,))
    (inject_us, what, _), (heal_us, healed, _) = world.faults
    start_us = conductor.stats.chaos_start_us or 0
    assert (what, healed) == ("inject", "heal")
    assert (inject_us - start_us, heal_us - start_us) == (300_000, 700_000)
    lines = [(e.type, e.f) for e in events if e.process == NEMESIS and e.f != "phase"]
    assert lines == [("invoke", "inject"), ("info", "inject"), ("invoke", "heal"), ("info", "heal")]


def test_a_fault_aimed_at_the_leader_is_resolved_and_recorded_so() -> None:
    kill = Kill(id="f1", start_us=100_000, duration_us=200_000, nodes=(LEADER,))
    cut = Partition(
        id="f2", start_us=150_000, duration_us=100_000, nodes=(LEADER,), shape="isolate"
    )
    _, world, events = play(faults=(kill, cut))
    assert all(f.is_resolved for _, _, f in world.faults)
    recorded = {e.value["id"]: e.value for e in events if e.f == "inject"}
    assert recorded["f1"]["nodes"] == [1]
    assert sorted(recorded["f2"]["cut"]) == [[1, 2], [1, 3], [2, 1], [3, 1]]


def test_a_fault_still_being_injected_when_the_chaos_ends_is_healed_afterwards() -> None:
    world = ScriptedWorld()
    world.fault_delay_us = 900_000
    fault = Pause(id="f1", start_us=1_900_000, duration_us=50_000, nodes=(2,))
    conductor, world, _ = play(faults=(fault,), world=world)
    assert [what for _, what, _ in world.faults] == ["inject", "heal"]
    assert conductor.stats.not_live is None


def test_a_fault_that_did_not_take_effect_is_remembered() -> None:
    world = ScriptedWorld()
    world.verified = False
    fault = Kill(id="f1", start_us=100_000, duration_us=100_000, nodes=(2,))
    conductor, _, _ = play(faults=(fault,), world=world)
    assert len(conductor.stats.unverified) == 2
    assert "kill n2" in conductor.stats.unverified[0]


def test_a_cluster_that_does_not_answer_after_healing_is_not_live() -> None:
    def dies(world: ScriptedWorld, node: int, command: Request) -> tuple[Response, int] | None:
        return store_that_answers(world, node, command) if world.now_us < 1_000_000 else None

    conductor, _, events = play(dies, liveness_timeout_us=5_000_000)
    assert conductor.stats.not_live is not None and "final round" in conductor.stats.not_live
    assert events[-1].f == "phase" and events[-1].extra["not_live"]  # type: ignore[index]


def test_a_slow_cluster_is_live_and_one_that_forgets_an_operation_is_not() -> None:
    """The bound applies to every operation of the final round, not to the round: a leader that
    receives only every third message does answer, though slowly."""

    def slow(world: ScriptedWorld, node: int, command: Request) -> tuple[Response, int] | None:
        answer = store_that_answers(world, node, command)
        return (answer[0], 450_000) if node == 1 and answer else answer

    def forgets(world: ScriptedWorld, node: int, command: Request) -> tuple[Response, int] | None:
        late = world.now_us > 2_000_000
        return None if late and command.key == "k1" else store_that_answers(world, node, command)

    patient: dict[str, Any] = {"liveness_timeout_us": 3_000_000, "concurrency": 1}
    conductor, world, _ = play(slow, **patient)
    assert conductor.stats.not_live is None
    assert world.now_us > 2_000_000 + 2 * 3_000_000
    conductor, _, _ = play(forgets, **(patient | {"concurrency": 2}))
    assert " k1 of the final round" in (conductor.stats.not_live or "")


def test_clients_of_the_last_round_do_not_give_up_before_the_bound() -> None:
    """Abandoned commands would be in the queues before new ones: the harness itself would keep a
    slow cluster from answering. Clients retry the same command at other nodes."""

    def sleeps_on(world: ScriptedWorld, node: int, command: Request) -> Any:
        asleep = 2_000_000 < world.now_us < 9_000_000
        return None if asleep else store_that_answers(world, node, command)

    conductor, world, events = play(sleeps_on, liveness_timeout_us=12_000_000)
    last = clients(events[phases_at(events, "finale") :])
    assert {e.type for e in last} == {"invoke", "ok"}
    assert conductor.stats.not_live is None
    asked = [command for at_us, _, command in world.requests if 3_000_000 < at_us < 9_000_000]
    assert len(asked) > len(set(asked)) > 0


def test_a_cluster_that_never_answers_is_not_live_before_any_fault() -> None:
    fault = Kill(id="f1", start_us=0, duration_us=100_000, nodes=(2,))
    conductor, world, _ = play(lambda *_: None, faults=(fault,), liveness_timeout_us=4_000_000)
    assert "before any fault" in (conductor.stats.not_live or "")
    assert not world.faults


def test_a_fault_that_does_not_heal_ends_the_run_and_is_reported() -> None:
    world = ScriptedWorld()
    world.heals = False
    fault = Kill(id="f1", start_us=100_000, duration_us=100_000, nodes=(2,))
    conductor, _, events = play(faults=(fault,), world=world)
    assert any("did not end" in text for text in conductor.stats.unverified)
    assert phases(events) == ["chaos", "heal", "done"]
    assert liveness_of(events) == (
        "unknown",
        "the run was stopped because healing did not end in time: kill n2",
    )
    report = FaultReport({2: world.now_us * 1000}, verified=True)
    conductor.fault_done(fault, "heal", report, world.now_us + 1_000_000)
    assert events[-1].value == "done", "a report after the end proves nothing about the run"
    assert [e.type for e in events if e.f == "heal"] == ["invoke"]


def test_a_cluster_that_hangs_for_good_is_not_live_however_patient_its_clients_are() -> None:
    def hangs(world: ScriptedWorld, node: int, command: Request) -> tuple[Response, int] | None:
        return store_that_answers(world, node, command) if world.now_us < 1_000_000 else None

    conductor, _, events = play(
        hangs, operation_timeout_us=60_000_000, liveness_timeout_us=5_000_000
    )
    assert phases(events) == ["chaos", "heal", "finale", "done"]
    assert "of the final round had no answer" in (conductor.stats.not_live or "")
    assert liveness_of(events)[0] == "invalid"


def test_interrupt_heals_and_skips_the_last_round() -> None:
    fault = Pause(id="f1", start_us=100_000, duration_us=1_500_000, nodes=(2,))
    world = ScriptedWorld()
    world.at(600_000, lambda: world.conductor.interrupt(world.now_us))
    conductor, world, events = play(faults=(fault,), world=world)
    assert phases(events) == ["chaos", "heal", "done"]
    assert [what for _, what, _ in world.faults] == ["inject", "heal"]
    assert world.now_us < 1_000_000
    assert conductor.stats.interrupted


def test_arrivals_beyond_the_clients_capacity_are_shed_and_counted() -> None:
    def slow(world: ScriptedWorld, node: int, command: Request) -> tuple[Response, int]:
        return Response(None, None, node), 400_000

    conductor, _, _ = play(slow, rate=100.0, concurrency=2)
    assert conductor.stats.shed > 100


def test_the_same_seed_gives_the_same_history() -> None:
    assert play(seed=5)[2] == play(seed=5)[2]
    assert play(seed=5)[2] != play(seed=6)[2]
