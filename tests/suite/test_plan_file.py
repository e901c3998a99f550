"""The file of a suite: what is refused, and the jobs that it plans."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.run.limits import JOBS_MAX
from harness.suite.cells import Cell
from harness.suite.plan import BadSuite, example
from harness.targets import target_named
from tests.suite.plans import SMALL, suite


def test_the_example_is_a_valid_suite(tmp_path: Path) -> None:
    one = suite(tmp_path, example())
    jobs = list(one.jobs_of("2026-01-01"))
    assert {job.on for job in jobs} == {"sim", "docker"}
    assert len({job.identity for job in jobs}) == len(jobs)
    assert [job.cell for job in jobs[:3]] != [jobs[0].cell] * 3  # cells take turns


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("store", "stroe"), r"line 4: \[suite\] has no 'stroe'"),
        (('"raft"', '"rift"'), r"line 7: .*no target 'rift'.*choose one of"),
        (('"M3"', '"Z9"'), "Z9"),
        (('time = "1s"', 'time = "soon"'), "line 9: time = 'soon' is not a duration"),
        (("seeds = [1, 2]", 'seeds = ["one"]'), "line 8: seeds must be whole numbers"),
        (
            ("seeds = [1, 2]", ""),
            "line 5: correct .*neither seeds, nor fresh",
        ),
        (('targets = ["raft"]', ""), "line 5: a cell needs targets"),
        (('time = "4s"', 'time = "4 weeks"'), "line 15: time = '4 weeks' is not a duration"),
        (('shrink = "500ms"', "shrink = 5"), "line 17: shrink = 5 is not a duration"),
        (
            ("[tell]", '[[expected]]\nsignature = "x"\nreason = "y"\n[tell]'),
            "a date without quotes",
        ),
        (('name = "correct"', 'on = "moon"'), "no runtime 'moon'; choose one of docker, sim"),
        (
            ('name = "correct"', 'faults = ["kill,flood"]'),
            "line 6: .*no fault 'flood'; choose one of",
        ),
        (("[suite]", "[suite"), "nightly.toml"),
        (('name = "small"', "jobs = 0"), f"jobs must be a whole number, 1 to {JOBS_MAX}"),
        (('name = "correct"', 'on = "docker"\nfaults = ["swarm"]'), "the swarm's mix is for"),
        (('name = "correct"', 'on = "docker"\nfaults = ["kill"]\nsweep = 5'), "a sweep over the"),
        (("[findings]", '[[failover]]\ntargets = ["rift"]\n[findings]'), "no target 'rift'"),
        (
            ("[findings]", '[[failover]]\ntargets = ["raft"]\nfailures = ["flood"]\n[findings]'),
            "line 18: failover / raft / flood .*choose one of: .*kill",
        ),
        (
            ("[findings]", '[[failover]]\ntargets = ["raft"]\nregress = 2\n[findings]'),
            'line 18: regress = 2 is not a percentage; write "20%"',
        ),
        (('name = "small"', "name = 5"), "line 3: name must be a printable text, not 5"),
        (('name = "correct"', 'name = "a\\u0001"'), "line 6: name must be a printable text"),
        (('store = "nights"', "store = []"), r"line 4: store must be a printable text, not \[\]"),
        (('store = "nights"', 'store = ""'), "line 4: store must not be empty"),
        (("seeds = [1, 2]", "seeds = [1, 1]"), "line 8: seed 1 is there twice"),
        (("seeds = [1, 2]", "seeds = [-1]"), "line 8: seeds must be 0 or more, not -1"),
        (('time = "1s"', 'time = "0s"'), "line 9: time must be 1us to 168h, not '0s'"),
        (('time = "1s"', 'budget = "0s"'), "line 9: budget must be 1us to 168h, not '0s'"),
        (('shrink = "500ms"', 'shrink = "200h"'), "line 17: shrink must be 0s to 168h"),
        (
            ('junit = "junit.xml"', "junit = true"),
            "line 19: junit must be a printable text, not True",
        ),
        (('junit = "junit.xml"', 'webhook = "me"'), "line 19: webhook = 'me' is not an address"),
        (
            ("[tell]", '[[expected]]\nsignature = "x"\nreason = "y"\nuntil = "2030-01-31"\n[tell]'),
            "line 21: needs a signature, a reason, and a date without quotes",
        ),
        (('name = "correct"', 'images = ["raft:2"]'), "line 6: .* image cannot be chosen"),
        (
            ("[findings]", '[[failover]]\ntargets = ["raft"]\nimages = ["raft:2"]\n[findings]'),
            "line 18: .* image cannot be chosen",
        ),
        (
            ('targets = ["raft"]', 'targets = ["etcd"]'),
            'line 7: .*etcd cannot be simulated.*on = "docker"',
        ),
    ],
)
def test_a_wrong_file_is_refused_with_the_line_and_the_choices(
    tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    with pytest.raises(BadSuite, match=words) as caught:
        suite(tmp_path, SMALL.replace(*change, 1))
    assert caught.value.exit_code == 64


def test_images_are_rows_of_their_own_and_told_apart(tmp_path: Path) -> None:
    text = """
    [[cells]]
    on = "docker"
    targets = ["etcd"]
    faults = ["kill"]
    images = ["etcd:v3.4", "etcd:v3.5"]
    seeds = [1]
    settings = { reads = "serializable" }
    [[failover]]
    targets = ["etcd"]
    images = ["etcd:v3.5"]
    """
    jobs = list(suite(tmp_path, text).jobs_of("tonight"))
    assert [job.subject for job in jobs] == ["etcd@etcd:v3.5", "etcd@etcd:v3.4", "etcd@etcd:v3.5"]
    assert len({job.identity for job in jobs}) == 3
    assert jobs[0].failover().settings == {"image": "etcd:v3.5"}
    settings = jobs[1].config().cluster.settings
    assert settings == {"reads": "serializable", "image": "etcd:v3.4"}
    spec = target_named("etcd").node(1, {1: "10.0.0.1"}, jobs[1].config().cluster, 1)
    assert (spec.image, spec.entrypoint) == ("etcd:v3.4", ("etcd",))


def test_fresh_seeds_differ_from_night_to_night(tmp_path: Path) -> None:
    one = suite(tmp_path, SMALL.replace("seeds = [1, 2]", "seeds = [1]\nfresh = 5"))
    cell = one.cells[0]
    assert isinstance(cell, Cell)
    first, again, other = (cell.seeds_of(one.name, night) for night in ("a", "a", "b"))
    assert first == again and len(first) == 6 and first[0] == 1
    assert not set(first[1:]) & set(other[1:])
