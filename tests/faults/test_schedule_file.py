"""Schedules written by hand: how they are read, and how errors are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.kinds.aimed import Aimed
from faults.kinds.clog import Clog
from faults.kinds.delay import Delay
from faults.kinds.partition import Partition
from faults.planner import plan, schedule_from_json
from faults.schedule_file import BadSchedule, ScheduleContext, parse_schedule, read_schedule

FIVE = (1, 2, 3, 4, 5)
EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "schedules").glob("*.toml"))
SECOND = 1_000_000

KILL = """
[[fault]]
kind = "kill"
nodes = "n1"
at = "1s"
for = "2s"
"""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_can_be_read_and_recorded(path: Path) -> None:
    schedule = read_schedule(path, FIVE, 7)
    assert schedule.faults
    assert schedule_from_json(schedule.to_json()) == schedule


def test_times_repeat_and_units_are_understood() -> None:
    schedule = parse_schedule(
        """
        duration = "1min"
        [[fault]]
        kind = "pause"
        nodes = ["n2", 3]
        every = "10s"
        from = "500ms"
        until = "35s"
        for = "1.5s"
        [[fault]]
        id = "jump"
        kind = "clock"
        nodes = "leader"
        offset = "-2min"
        at = ["1s", "20s"]
        for = "3s"
        """,
        FIVE,
        1,
    )
    pauses = [f for f in schedule.faults if f.kind == "pause"]
    assert [f.start_us for f in pauses] == [500_000, 10_500_000, 20_500_000, 30_500_000]
    assert {f.nodes for f in pauses} == {(2, 3)} and {f.duration_us for f in pauses} == {1_500_000}
    jumps = [f for f in schedule.faults if f.kind == "clock"]
    assert [f.id for f in jumps] == ["jump", "jump@2"]
    assert [f.to_json()["offset_us"] for f in jumps] == [-120 * SECOND] * 2


def test_links_stand_in_place_of_nodes() -> None:
    schedule = parse_schedule(
        """
        [[fault]]
        kind = "delay"
        links = ["n1>n2"]
        delay = "50ms"
        at = "1s"
        for = "1s"
        [[fault]]
        kind = "partition"
        links = ["n3>n1", "n1>n3"]
        at = "3s"
        for = "1s"
        """,
        FIVE,
        1,
        duration_us=9 * SECOND,
    )
    delay, cut = schedule.faults
    assert isinstance(delay, Delay) and delay.delay_us == 50_000
    assert delay.covers((1, 2)) and not delay.covers((2, 1)) and not delay.covers((1, 3))
    assert isinstance(cut, Partition)
    resolved = cut.resolve(5, FIVE)
    assert isinstance(resolved, Partition) and resolved.cut == ((1, 3), (3, 1))
    assert schedule_from_json(schedule.to_json()) == schedule


def test_the_seed_draws_groups_of_the_named_sizes() -> None:
    text = """
    [[fault]]
    kind = "pause"
    nodes = "{}"
    at = "1s"
    for = "1s"
    """
    sizes = {"one": 1, "half": 2, "minority": 2, "majority": 3, "all": 5}
    for group, size in sizes.items():
        drawn = [
            parse_schedule(text.format(group), FIVE, seed, duration_us=9 * SECOND).faults[0].nodes
            for seed in (1, 1, *range(30))
        ]
        assert {len(nodes) for nodes in drawn} == {size}
        assert drawn[0] == drawn[1]
        assert (len(set(drawn)) > 1) == (group != "all")


def test_aimed_faults_take_their_fields() -> None:
    schedule = parse_schedule(
        """
        [[fault]]
        kind = "aimed"
        nodes = "any"
        moment = "after-send"
        message = "Accept"
        action = "kill"
        count = 3
        hold = "150ms"
        at = "1s"
        for = "4s"
        """,
        FIVE,
        1,
        duration_us=9 * SECOND,
    )
    (aimed,) = schedule.faults
    assert isinstance(aimed, Aimed)
    assert (aimed.count, aimed.hold_us, aimed.message) == (3, 150_000, "Accept")


def test_the_random_part_does_not_contradict_written_faults() -> None:
    text = KILL + '[random]\nmix = { kill = 1, loss = 1 }\nevery = "1s"'
    for seed in range(40):
        schedule = parse_schedule(text, FIVE, seed, duration_us=20 * SECOND)
        (written,) = [f for f in schedule.faults if f.id == "01-kill"]
        drawn = [f for f in schedule.faults if f is not written]
        assert {f.kind for f in drawn} <= {"kill", "loss"} and drawn
        assert not any(
            f.kind == "kill"
            and 1 in f.nodes
            and f.start_us < written.end_us
            and written.start_us < f.end_us
            for f in drawn
        )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            KILL.replace('"kill"', '"kil"'),
            "line 3: no fault kind 'kil'; choose one of partition, kill",
        ),
        (KILL.replace("n1", "n9"), "line 4: there is no node 'n9'; nodes may be leader, all"),
        (KILL.replace('"1s"', '"-1s"'), "line 5: at is '-1s'; it must not be negative"),
        (KILL.replace('"2s"', '"-2s"'), "line 6: for is '-2s'; it must not be negative"),
        (KILL.replace('"2s"', "2"), "line 6: for is 2; write a time such as"),
        (KILL.replace('"2s"', '"2 weeks"'), "line 6: for is '2 weeks'"),
        (KILL.replace('"2s"', '"9s"'), "line 6: this kill ends at 10 s, and the schedule at 9 s"),
        (KILL + 'colour = "red"', "line 7: a kill fault has no 'colour'; its fields are kind, id"),
        (KILL.replace('at = "1s"', ""), "line 3: it has no time"),
        (KILL + 'every = "1s"', "line 5: it has no time"),
        (KILL.replace('nodes = "n1"', ""), "line 3: it has neither nodes nor links; nodes may be"),
        (KILL.replace('"n1"', "[]"), "line 4: nodes is empty; nodes may be"),
        (KILL + 'links = ["n1>n2"]', "a kill fault has no 'links'"),
        (
            KILL.replace('"kill"', '"delay"') + 'delay = "-5ms"',
            "line 2: 01-delay: delay_us must not be negative, as -5000 is",
        ),
        (
            KILL.replace('"kill"', '"loss"') + "percent = 5.5",
            "line 7: percent is 5.5; write a whole number",
        ),
        (
            KILL.replace('"kill"', '"loss"') + 'percent = "x"',
            "line 7: percent is 'x'; write a whole number",
        ),
        (KILL.replace('"kill"', '"delay"'), "line 3: a delay fault needs delay"),
        (
            KILL.replace('"kill"', '"loss"') + "percent = 300",
            "line 2: 01-loss: percent must be 1 to 100, not 300",
        ),
        (
            KILL.replace('"kill"', '"loss"').replace('nodes = "n1"', 'links = ["n1>n7"]')
            + "percent = 3",
            "there is no node 'n7'",
        ),
        (
            KILL.replace('"kill"', '"loss"').replace('nodes = "n1"', 'links = "n1-n2"')
            + "percent = 3",
            "line 4: 'n1-n2' is not a link; write \"n1>n2\"",
        ),
        (
            KILL.replace('"kill"', '"partition"') + 'shape = "star"',
            "no partition shape 'star'; choose one of",
        ),
        (
            KILL + KILL.replace('"kill"', '"pause"').replace('"1s"', '"2s"'),
            r"kill n1 \(01-kill, at 1 s\) and pause n1 \(02-pause, at 2 s\) overlap on n1",
        ),
        (KILL + 'id = "x"\n' + KILL.replace("n1", "n2") + 'id = "x"', "two faults have the id 'x'"),
        (KILL.replace('"1s"', "[]"), "line 5: at is empty; give at least one time"),
        (KILL.replace('"2s"', "2024-01-02"), "line 6: for is 2024-01-02; write a time such as"),
        (KILL.replace('for = "2s"', ""), "line 2: for is missing; write a time such as"),
        (
            KILL.replace('"kill"', '"loss"') + "percent = true",
            "line 7: percent is true; write a whole number",
        ),
        (KILL.replace('"kill"', '"aimed"'), "line 3: an aimed fault needs moment"),
        (KILL.replace('"kill"', '"partition"'), "line 3: a partition fault needs shape or links"),
        (
            KILL.replace('"kill"', '"partition"').replace('nodes = "n1"', 'links = ["n1>n2"]')
            + 'shape = "isolate"',
            "line 4: give a shape or links, not both",
        ),
        (
            KILL.replace('"kill"', '"loss"').replace('nodes = "n1"', "links = []") + "percent = 3",
            'line 4: links is empty; write links such as "n1>n2"',
        ),
        (KILL.replace('"kill"', '"delay"') + 'delay = "0ms"', "delay_us and jitter_us of 0 would"),
        (
            KILL.replace('"kill"', '"clock"') + 'offset = "0s"',
            "offset_us of 0 would change nothing",
        ),
        (
            KILL.replace('"kill"', '"reorder"') + 'percent = 5\nwindow = "0ms"',
            "window_us of 0 would change nothing",
        ),
        (KILL.replace('"kill"', '"drift"') + "ppm = 0", "ppm of 0 would change nothing"),
        (KILL.replace('"kill"', '"slow-disk"') + 'fsync = "0ms"', "fsync_us of 0 would change"),
        (
            KILL.replace('"kill"', '"strobe"') + 'offset = "0ms"\nperiod = "10ms"',
            "offset_us of 0 would change nothing",
        ),
        ("[random]\nmix = { kill = 0 }", "line 2: mix has no kind with a weight above 0"),
        ("", "it has no fault; write each one as"),
        (KILL + "[random]\nmix = { flood = 1 }", "line 8: no fault kind 'flood'"),
        (KILL + "[random]\nmix = 3", "line 8: mix is a table"),
        ("[[fault]\n", "at line 1"),
        ("speed = 3", "line 1: a schedule has no 'speed'; its fields are duration, fault, random"),
        ("fault = 3", "line 1: write each fault as"),
    ],
)
def test_invalid_input_is_refused_with_its_line_and_the_choices(text: str, words: str) -> None:
    with pytest.raises(BadSchedule, match=words):
        parse_schedule(text, FIVE, 1, duration_us=9 * SECOND)


def test_a_schedule_without_a_duration_is_refused() -> None:
    with pytest.raises(BadSchedule, match="say how long it lasts"):
        parse_schedule(KILL, FIVE, 1)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('at = "1e9999s"', "write a time"),
        (f'at = "{"9" * 400}s"', "longer than a year"),
        ("percent = nan", "percent is nan; write a whole number"),
        ("percent = [[1]]", r"percent is \[\[1\]\]; write a whole number"),
    ],
)
def test_values_that_no_schedule_can_hold_are_refused(line: str, words: str) -> None:
    text = f'duration = "30s"\n[[fault]]\nkind = "loss"\nnodes = "n1"\nfor = "1s"\n{line}\n'
    if "at =" not in line:
        text += 'at = "1s"\n'
    elif "percent" not in line:
        text += "percent = 5\n"
    with pytest.raises(BadSchedule, match=words) as caught:
        parse_schedule(text, range(1, 6), 1)
    assert len(str(caught.value)) < 1_000


def test_brackets_without_end_and_weights_without_bound_are_refused() -> None:
    for text in (f"a = {'[' * 5000}", f"[random]\nmix = {{ kill = {1 << 62} }}"):
        with pytest.raises(BadSchedule):
            parse_schedule(text, range(1, 6), 1, duration_us=30_000_000)


@pytest.mark.parametrize("written", ["2m", "2min", "120s", "120000ms"])
def test_minutes_are_written_as_on_the_command_line(written: str) -> None:
    text = KILL.replace('for = "2s"', f'for = "{written}"')
    (fault,) = parse_schedule('duration = "10m"' + text, FIVE, 1).faults
    assert fault.duration_us == 120_000_000


def random_part(mix: str, *, more: str = "") -> str:
    return f'duration = "60s"\n[random]\nmix = {mix}\n{more}\n'


def test_a_random_part_without_a_fitting_shape_is_refused() -> None:
    ring = 'shapes = ["majorities-ring"]'
    for kind in ("flapping", "partition"):
        for nodes, more in (((1,), ""), ((1, 2, 3), ring)):
            with pytest.raises(BadSchedule, match=f"line 3: a cluster of .* and {kind} needs one"):
                parse_schedule(random_part(f"{{ {kind} = 1, kill = 1 }}", more=more), nodes, 1)
    schedule = parse_schedule(random_part("{ partition = 0, kill = 1 }"), (1,), 1)
    assert schedule.kinds().keys() == {"kill"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("shapes = 5", "line 4: shapes is 5; write a list of shapes"),
        ("shapes = []", r"line 4: shapes is \[\]; write a list of shapes"),
        ("shapes = [1]", r"line 4: shapes is \[1\]; write a list of shapes"),
        ('shapes = "halves"', "line 4: shapes is 'halves'; write a list of shapes"),
        ('shapes = ["star"]', "no partition shape 'star'; choose one of halves"),
        ('allow_all = "yes"', "line 4: allow_all is 'yes'; write true or false"),
        ("allow_all = 1", "line 4: allow_all is 1; write true or false"),
    ],
)
def test_fields_of_the_random_part_have_types(line: str, words: str) -> None:
    with pytest.raises(BadSchedule, match=words):
        parse_schedule(random_part("{ partition = 1 }", more=line), FIVE, 1)


def test_random_faults_are_for_voters_messages_and_runtime_of_the_run() -> None:
    """As `--faults` draws them: a learner has no vote, so two of three voters are no minority."""
    text = random_part("{ kill = 1, disk-damage = 1, loss = 1, aimed = 1 }", more='every = "1s"')
    context = ScheduleContext(voters=(1, 2, 3), messages=("Accept", "Promise"), runtime="docker")
    messages, actions = set(), set()
    for seed in range(60):
        schedule = parse_schedule(text, FIVE, seed, context=context)
        drawn = plan(
            {"kill": 1, "disk-damage": 1, "loss": 1, "aimed": 1},
            seed,
            60 * SECOND,
            (1, 2, 3),
            gap_us=SECOND,
            messages=("Accept", "Promise"),
            runtime="docker",
        )
        assert schedule.faults == drawn.faults
        down = [set(f.nodes) for f in schedule.faults if f.kind in ("kill", "disk-damage")]
        assert all(nodes <= {1, 2, 3, "leader"} and len(nodes) == 1 for nodes in down)
        messages |= {getattr(f, "message", "") for f in schedule.faults}
        actions |= {f.action for f in schedule.faults if isinstance(f, Aimed)}
    assert messages == {"", "Accept", "Promise"}
    assert "power" not in actions and "kill" in actions


def test_minorities_and_majorities_are_of_voters() -> None:
    text = 'duration = "9s"\n[[fault]]\nkind = "kill"\nnodes = "{}"\nat = "1s"\nfor = "1s"\n'
    context = ScheduleContext(voters=(1, 2, 3))
    for group, size in (("minority", 1), ("majority", 2)):
        for seed in range(30):
            (kill,) = parse_schedule(text.format(group), FIVE, seed, context=context).faults
            assert len(kill.nodes) == size and set(kill.nodes) <= {1, 2, 3}


@pytest.mark.parametrize(
    ("nodes", "release", "words"),
    [
        ('["n1", "n2"]', "5", "line 5: there is no node 5"),
        ('["n1", "n2"]', "1", "release must name the same nodes as nodes"),
        ('["leader", "n2"]', '["n2"]', "name them in place of the leader"),
        ('["leader", "n2"]', '["n2", "leader"]', "name them in place of the leader"),
        ('["n1", "n2"]', '["n2", "leader"]', "name them in place of the leader"),
    ],
)
def test_the_order_in_which_a_clog_ends_names_its_nodes(
    nodes: str, release: str, words: str
) -> None:
    text = (
        f'duration = "30s"\n[[fault]]\nkind = "clog"\nnodes = {nodes}\nrelease = {release}\n'
        'at = "1s"\nfor = "4s"\n'
    )
    with pytest.raises(BadSchedule, match=words):
        parse_schedule(text, (1, 2, 3), 1)


def test_one_node_may_be_released_without_a_list() -> None:
    text = 'duration = "9s"\n[[fault]]\nkind = "clog"\nnodes = "n2"\nrelease = "n2"\nat = "1s"\n'
    (clog,) = parse_schedule(text + 'for = "4s"', (1, 2, 3), 1).faults
    assert isinstance(clog, Clog) and clog.release == (2,)


@pytest.mark.parametrize(
    ("kind", "line", "words"),
    [
        ("loss", 'clients = "no"\npercent = 5', "line 7: clients is 'no'; write true or false"),
        ("loss", "clients = 0\npercent = 5", "line 7: clients is 0; write true or false"),
        ("loss", "percent = 5\nmessage = false", "line 8: message is false; write a text"),
        ("loss", 'percent = 5\ndirection = ["in"]', r"direction is \['in'\]; write a text"),
        (
            "aimed",
            'moment = "log-line"\naction = "kill"\ntext = 5',
            "line 9: text is 5; write a text",
        ),
        ("aimed", "moment = {}\naction = 5", "line 7: moment is a table; write a text"),
        ("rolling", 'down = "1s"\naction = ["kill"]', "action is .*; write a text"),
        ("partition", "shape = 5", "line 7: shape is 5; write a text"),
        ("disk-damage", 'mode = "flip"\nseed = "5"', "line 8: seed is '5'; write a whole number"),
        ("disk-damage", f'mode = "flip"\nseed = {1 << 64}', "a number of more than 64 bits"),
        ("disk-damage", f'mode = "flip"\nseed = 0x{"f" * 5000}', "a number of more than 64 bits"),
        ("kill", "id = 5", "line 7: id is 5; write a text"),
        ("kill", 'id = ""', "line 7: id is ''; write 1 to 100 printable characters"),
        ("kill", 'id = "a\\nb"', r"line 7: id is 'a\\nb'; write 1 to 100 printable"),
    ],
)
def test_each_field_has_its_type(kind: str, line: str, words: str) -> None:
    text = KILL.replace('"kill"', f'"{kind}"') + line
    with pytest.raises(BadSchedule, match=words):
        parse_schedule(text, FIVE, 1, duration_us=9 * SECOND)


def test_any_node_is_for_aimed_faults_only() -> None:
    with pytest.raises(BadSchedule, match="line 4: nodes may be any only for an aimed fault"):
        parse_schedule(KILL.replace("n1", "any"), FIVE, 1, duration_us=9 * SECOND)
    text = KILL.replace("n1", "any").replace('"kill"', '"aimed"')
    text += 'moment = "before-reply"\naction = "kill"\n'
    (aimed,) = parse_schedule(text, FIVE, 1, duration_us=9 * SECOND).faults
    assert aimed.nodes == ()


EVERY = """
[[fault]]
kind = "pause"
nodes = "n1"
every = "{}"
for = "1us"
"""


def test_repeated_faults_are_counted_before_they_are_made() -> None:
    """Also where there would be too many of them for the memory."""
    for every in ("5us", "700ms"):
        with pytest.raises(BadSchedule, match=r"line 5: .* of these are more than 10000"):
            parse_schedule('duration = "2h"' + EVERY.format(every), FIVE, 1)
    few = parse_schedule('duration = "365h"' + EVERY.format("5us") + "times = 3", FIVE, 1)
    assert [fault.start_us for fault in few.faults] == [0, 5, 10]
    most = parse_schedule('duration = "10s"' + EVERY.format("1ms"), FIVE, 1)
    assert len(most.faults) == 10_000


def test_the_faults_of_all_entries_are_limited() -> None:
    text = EVERY.format("1ms") + EVERY.format("1ms").replace("n1", "n2")
    with pytest.raises(BadSchedule, match="it has more than 10000 faults"):
        parse_schedule('duration = "9s"' + text, FIVE, 1)


@pytest.mark.parametrize("entry", ["5", '"kill"', "[]", "[{}]"])
def test_each_fault_is_a_table(entry: str) -> None:
    with pytest.raises(BadSchedule, match=r"line 1: (fault is .*, not a table|no fault kind)"):
        parse_schedule(f"fault = [{entry}]", FIVE, 1, duration_us=9 * SECOND)


def test_lines_of_the_random_part_are_found_after_faults_with_the_same_fields() -> None:
    text = 'duration = "9s"' + EVERY.format("1s") + "[random]\nmix = { kill = 1 }\nevery = 5\n"
    with pytest.raises(BadSchedule, match="line 9: every is 5; write a time"):
        parse_schedule(text, FIVE, 1)


@pytest.mark.parametrize("node", [f"n{'1' * 5000}", "n\u0661", "1.0"])
def test_a_node_is_named_by_a_short_number(node: str) -> None:
    with pytest.raises(BadSchedule, match="line 4: there is no node") as caught:
        parse_schedule(KILL.replace("n1", node), FIVE, 1, duration_us=9 * SECOND)
    assert len(str(caught.value)) < 1_000
