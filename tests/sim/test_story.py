"""Stories: made from a folder alone, of bounded length, and about the disputed events."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from faults.kinds.pause import Pause
from faults.kinds.power import PowerCut
from faults.kinds.slow_disk import SlowDisk
from harness.errors import UsageError
from harness.reproduce.recorded_run import NodeEvent, RecordedRun, SentMessage, read_run
from harness.reproduce.replay import load
from harness.reproduce.story import LINES_MAX, tell, tell_run
from harness.run.simulation import SimulatedRun, simulate, simulate_and_judge, write_folder
from harness.search.swarm import SweepPlan, draw
from histories.agreement import DecidedRecord, check_agreement
from histories.events import Event
from node_image.mutants import PROTOCOLS
from tests.sim.runs import SECOND, messages, run
from tests.sim.test_replay_and_shrink import CORPUS


def failing_run(protocol: str, mutant: str) -> SimulatedRun:
    plan = SweepPlan(protocol=protocol, mutant=mutant, fixed={"time_us": 6_000_000})
    for seed in range(300):
        config, schedule = draw(plan, seed)
        if simulate_and_judge(config, schedule).outcome == "invalid":
            return simulate_and_judge(config, schedule, traced=True)
    raise AssertionError(f"{protocol} with {mutant} fails in none of 300 seeds")


def check_story(folder: Path) -> list[str]:
    """Check the properties of every story of a failing run; returns its lines."""
    run, story = read_run(folder), tell(folder)
    assert run.messages
    assert len(story.lines) <= LINES_MAX + 1
    assert len(story.text().splitlines()) <= LINES_MAX + 40
    assert all(line.isprintable() and len(line) < 500 for line in story.text().splitlines())
    arrows = [line for line in story.lines if " → n" in line]
    assert len(arrows) >= LINES_MAX // 5 or not story.omitted
    assert story.ending[0] == "in the end"
    for node in run.nodes:
        assert any(line.startswith(f"  n{node}  ") for line in story.ending)
    assert any(line.startswith("verdict: ") for line in story.ending)
    return story.lines


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_failing_seed_of_every_protocol_is_explained(protocol: str, tmp_path: Path) -> None:
    failing = failing_run(protocol, "B6")
    lines = check_story(write_folder(failing, tmp_path, "run").path)
    assert any("⚡" in line for line in lines)


@pytest.mark.parametrize("run_file", CORPUS, ids=lambda p: p.parent.name)
def test_the_corpus_is_explained(run_file: Path, tmp_path: Path) -> None:
    """In the timing of the network in which it fails with the current code."""
    recorded = load(run_file.parent)
    for seed in range(200):
        world = dict(recorded.config.world) | ({"seed": seed} if seed else {})
        config = recorded.config.changed(world=world)
        if simulate_and_judge(config, recorded.schedule).outcome == "invalid":
            break
    run = simulate_and_judge(config, recorded.schedule, traced=True)
    check_story(write_folder(run, tmp_path, "run").path)


def test_a_folder_without_messages_still_has_a_story() -> None:
    story = tell(CORPUS[0].parent)
    assert any("client" in line for line in story.lines)
    assert "holds no messages" in story.text()


def test_a_record_that_was_edited_is_refused(tmp_path: Path) -> None:
    config, schedule = draw(SweepPlan(protocol="raft", fixed={"time_us": 1_000_000}), 1)
    folder = write_folder(simulate(config, schedule, traced=True), tmp_path, "run").path
    path = folder / "nodes" / "messages.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    for wrong in ("[1]\n", "nonsense\n", '{"sent_us": "now"}\n', '{"sent_us": 1, "source": 0}\n'):
        path.write_text("".join([*lines, wrong]))
        with pytest.raises(UsageError):
            read_run(folder)
    path.write_text("".join(lines) + '{"sent_us": 1')  # incomplete: that line is left out
    assert read_run(folder).messages is not None


# ------------------------------------------------------------------------------- small ones


def sent(at_us: int, source: int, target: int, kind: str, **more: Any) -> SentMessage:
    arrives_us = None if "reason" in more else at_us + 400
    fields = more.pop("fields", {"ballot": "1.1", "slot": 7})
    departs_us = more.pop("departs_us", at_us)
    return SentMessage(at_us, departs_us, arrives_us, source, target, kind, fields, **more)


def recorded(messages: list[SentMessage], *processes: NodeEvent, **more: Any) -> RecordedRun:
    finding = {"kind": "two-values", "sentence": "slot 7 was decided twice", "slot": 7}
    verdict = {"agreement": {"findings": [finding]}, "reasons": [finding["sentence"]]}
    events = more.pop("events", ())
    return RecordedRun(events, verdict, (1, 2, 3), tuple(messages), processes, (), (), **more)


def test_messages_that_waited_for_the_disk_at_a_crash_are_shown_as_never_sent() -> None:
    message = sent(100, 2, 1, "Promise", departs_us=None, reason="unsynced")
    (line,) = tell_run(recorded([message])).lines[1:]
    assert "n2 → n1 (never sent, the sender crashed before its disk was synced)" in line
    assert "x───●" in line


def test_a_broadcast_shows_every_delay_and_why_it_missed_a_node() -> None:
    slow = sent(100, 1, 2, "Accept")._replace(arrives_us=9_100)
    lost = sent(100, 1, 3, "Accept", reason="cut")
    (line,) = tell_run(recorded([slow, lost])).lines[1:]
    assert "n1 → n2 in 9.0 ms; n3 (cut off)  Accept(ballot 1.1, slot 7)" in line
    both = [sent(100, 1, 2, "Accept"), sent(100, 1, 3, "Accept")._replace(arrives_us=800)]
    assert "n1 → n2, n3 in 0.4, 0.7 ms" in tell_run(recorded(both)).lines[1]


def test_repetitions_are_folded_but_not_across_a_restart() -> None:
    known = [sent(1_000 * i, 1, 2, "Known", fields={"slot": 7, "stamp": i}) for i in range(25)]
    lines = tell_run(recorded(known)).lines[1:]
    assert len(lines) == 2 and "(24 times until 0.023 s)" in lines[0]
    restart = NodeEvent(20_500, 1, "start", {})
    kept = [line for line in tell_run(recorded(known, restart)).lines if "Known" in line]
    assert len(kept) == 4


def test_the_same_answer_of_several_nodes_is_one_line() -> None:
    votes = [sent(100, 2, 1, "Accepted"), sent(150, 3, 1, "Accepted")._replace(arrives_us=1_150)]
    (line,) = tell_run(recorded(votes)).lines[1:]
    assert "n2, n3 → n1 in 0.4, 1.0 ms" in line
    crash = NodeEvent(120, 1, "crash", {})
    assert len(tell_run(recorded(votes, crash)).lines) == 3


def test_clients_never_crowd_out_the_messages_in_dispute() -> None:
    events = tuple(
        Event(i, i * 1000, i % 50, "invoke", "write", key="k0", value=i) for i in range(500)
    )
    messages = [sent(i, 1, 2, "Accept", fields={"slot": 7, "ballot": f"{i}.1"}) for i in range(60)]
    story = tell_run(recorded(messages, events=events))
    assert len(story.lines) <= LINES_MAX + 1
    assert sum("Accept" in line for line in story.lines) >= 50
    assert any(name == "lines of clients" for name in story.omitted)


def test_an_exception_is_shown_with_the_message_that_caused_it() -> None:
    crash = NodeEvent(30_400, 1, "crash", {"traceback": "Traceback:\n  ...\nKeyError: 7\n"})
    beats = [sent(1_000 * i, 2, 1, "Beat", fields={"stamp": i}) for i in range(100)]
    run = dataclasses.replace(recorded(beats), notes=(crash,), verdict={"reasons": ["n1 died"]})
    lines = tell_run(run).lines
    assert any("n1: dies of KeyError: 7" in line for line in lines)
    assert any("Beat(stamp 30)" in line for line in lines)


def test_clients_have_one_name_in_a_story() -> None:
    """Nodes know a client by its session; findings and stories name its process."""
    told = {"client": 3, "seq": 45}
    event = Event(0, 0, 2, "invoke", "read", key="k8", extra=told)
    decided = {
        1: [DecidedRecord(7, (1, 1), ((3, 45, "read", "k8", None),))],
        2: [DecidedRecord(7, (2, 2), ((9, 1, "read", "k8", None),))],
    }
    (finding,) = check_agreement(decided, [event]).findings
    sentence = finding.sentence
    assert "(client 2, command 45)" in sentence and "(session 9, command 1)" in sentence
    run = dataclasses.replace(
        recorded([sent(100, 1, 2, "Accept")], events=(event,)), verdict={"reasons": [sentence]}
    )
    text = tell_run(run).text()
    assert "client 2 asks: read k8" in text and "(client 2, command 45)" in text


def test_text_from_a_folder_cannot_control_the_terminal() -> None:
    fields = {"slot": 7, "note": "\x1b[2J\n[red]x"}
    text = tell_run(recorded([sent(100, 1, 2, "Accept", fields=fields)])).text()
    assert "\x1b" not in text and "\\x1b[2J⏎[red]x" in text


def test_every_message_has_a_fate(tmp_path: Path) -> None:
    """Of all the messages of runs with many faults; none arrives at a node that is down."""
    kinds = ("power", "slow-disk", "partition", "loss", "pause")
    fixed = {"faults": kinds, "time_us": 4_000_000}
    reasons: set[str | None] = set()
    for seed in range(4):
        config, schedule = draw(SweepPlan(protocol="multi-paxos", fixed=fixed), seed)
        folder = write_folder(simulate(config, schedule, traced=True), tmp_path, "run").path
        run = read_run(folder)
        assert run.messages
        reasons |= {message.reason for message in run.messages}
        lives = [(e.at_us, e.node, e.event) for e in run.processes]
        for message in run.messages:
            check_fate(message, lives)
        lines = [json.loads(line) for line in (folder / "nodes" / "processes.jsonl").open()]
        assert [line["event"] for line in lines[-config.cluster.nodes :]] == [
            "end"
        ] * config.cluster.nodes
    assert {None, "lost", "cut", "down"} <= reasons


def test_messages_that_a_power_cut_prevented_were_never_sent(tmp_path: Path) -> None:
    """Also when the process was paused meanwhile, and its messages were still waiting."""
    slow = SlowDisk(id="d", start_us=SECOND, duration_us=2 * SECOND, nodes=(1,), fsync_us=300_000)
    stop = Pause(id="p", start_us=1_500_000, duration_us=SECOND, nodes=(1,))
    power = PowerCut(id="c", start_us=2_200_000, duration_us=SECOND, nodes=(1,))
    for faults in ((slow, power), (slow, stop, power)):
        done = run(*faults, traced=True)
        cut_us = next(e.at_us for e in done.runtime.world.processes.events if e.what == "crash")
        torn = [message for message in messages(done) if message.reason == "unsynced"]
        assert torn and all(m.source == 1 and m.sent_us <= cut_us for m in torn)
        folder = write_folder(done, tmp_path, "run").path
        written = read_run(folder)
        lives = [(event.at_us, event.node, event.event) for event in written.processes]
        for message in written.messages or ():
            check_fate(message, lives)


def check_fate(message: SentMessage, lives: list[tuple[int, int, str]]) -> None:
    assert (message.arrives_us is None) == (message.reason is not None)
    assert (message.departs_us is None) == (message.reason == "unsynced")
    if message.arrives_us is not None:
        assert message.departs_us is not None
        assert message.sent_us <= message.departs_us < message.arrives_us
        before = [
            event
            for at_us, node, event in lives
            if node == message.target and at_us <= message.arrives_us
            if event in ("start", "crash")
        ]
        assert before[-1] == "start"
