"""Faults as data: their JSON form, resolving the leader, and the links that each shape cuts."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.description import LEADER, BadFault, Fault
from faults.kinds import KINDS, fault_from_json
from faults.kinds.kill import Kill
from faults.kinds.partition import Partition, links_cut
from faults.shapes import SHAPES, cut_for
from tests.faults.strategies import FIELDS, faults

ROOT = Path(__file__).parents[2]
SIZES = range(2, 10)
TIMES = {"start_us": 0, "duration_us": 1_000}


def seen_by(node: int, cluster: list[int], cut: tuple[tuple[int, int], ...]) -> set[int]:
    """The nodes that a node is connected to in both directions, itself included."""
    return {node} | {n for n in cluster if not {(n, node), (node, n)} & set(cut)}


def is_majority(nodes: set[int], cluster: list[int]) -> bool:
    return 2 * len(nodes) > len(cluster)


@given(faults())
def test_json_and_back(fault: Fault) -> None:
    assert fault_from_json(json.loads(json.dumps(fault.to_json()))) == fault


def test_the_strategies_know_every_kind() -> None:
    assert set(FIELDS) == set(KINDS)


@given(faults(), st.integers(1, 9))
def test_resolving_names_the_leader_once_and_keeps_the_rest(fault: Fault, leader: int) -> None:
    resolved = fault.resolve(leader, range(1, 10))
    assert resolved.is_resolved
    assert len(set(resolved.nodes)) == len(resolved.nodes)
    assert set(resolved.nodes) == {leader if n == LEADER else n for n in fault.nodes}
    assert resolved.resolve(leader % 9 + 1, range(1, 10)) == resolved
    assert LEADER not in resolved.describe()


def test_a_leader_that_was_also_named_occurs_once() -> None:
    assert Kill(id="k", nodes=(LEADER, 3), **TIMES).resolve(3, [1, 2, 3]).nodes == (3,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "flood"}, "no fault kind 'flood'; choose one of partition, kill"),
        ({"kind": None}, "no fault kind None"),
        ({"colour": "red"}, "colour"),
        ({"start_us": -1}, "must not be negative"),
    ],
)
def test_unknown_faults_are_refused_by_name(change: dict[str, object], words: str) -> None:
    data = Kill(id="k", nodes=(1,), **TIMES).to_json()
    with pytest.raises(BadFault, match=words):
        fault_from_json(data | change)


@pytest.mark.parametrize("wrong", [5, None, True, 1.5, "leader", "x", {}, [True], ["x"], [[1]]])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_nodes_are_a_list_of_numbers(kind: str, wrong: object) -> None:
    data: dict[str, object] = {"kind": kind, "id": "f", "nodes": wrong, **TIMES}
    with pytest.raises(BadFault, match=r'nodes is .*; give a list of numbers or "leader"'):
        fault_from_json(data)


@pytest.mark.parametrize("wrong", [5, None, "n1>n2", {}, [1], [[1]], [[1, 2, 3]], [["a", "b"]]])
@pytest.mark.parametrize(
    "data",
    [
        {"kind": "partition", "shape": "links", "cut": ...},
        {"kind": "loss", "percent": 5, "links": ...},
    ],
)
def test_links_are_pairs_of_numbers(data: dict[str, object], wrong: object) -> None:
    fields = {name: wrong if value is ... else value for name, value in data.items()}
    with pytest.raises(BadFault, match="give a list of pairs of numbers"):
        fault_from_json({"id": "f", "nodes": [1], **TIMES, **fields})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": {}}, "the id of a fault is a table, not a text"),
        ({"id": 5}, "the id of a fault is 5, not a text"),
        ({"kind": "clog", "release": 5}, "f: release is 5; give a list of numbers"),
        ({"kind": "clog", "release": ["leader"]}, "name them in place of the leader"),
        ({"nodes": ["x" * 5000]}, "nodes is "),
    ],
)
def test_wrong_values_are_shown_in_one_sentence(change: dict[str, object], words: str) -> None:
    with pytest.raises(BadFault, match=words) as caught:
        fault_from_json({"kind": "kill", "id": "f", "nodes": [1], **TIMES} | change)
    assert len(str(caught.value)) < 1_000


def test_a_missing_field_is_named() -> None:
    data = Kill(id="k", nodes=(1,), **TIMES).to_json()
    del data["nodes"]
    with pytest.raises(BadFault, match="nodes"):
        fault_from_json(data)


def test_an_unknown_shape_lists_the_choices() -> None:
    with pytest.raises(BadFault, match="majorities-ring"):
        Partition(id="p", nodes=(1,), shape="star", **TIMES)


# ------------------------------------------------------------------------------------ the shapes


@pytest.mark.parametrize("size", SIZES)
def test_halves_and_isolation_cut_every_link_between_and_none_within(size: int) -> None:
    cluster = list(range(1, size + 1))
    for count in range(1, size):
        inside, outside = set(cluster[:count]), set(cluster[count:])
        cut = cut_for("halves", cluster[:count], cluster)
        assert cut == cut_for("isolate", cluster[:count], cluster)
        for a in cluster:
            assert seen_by(a, cluster, cut) == (inside if a in inside else outside)


@pytest.mark.parametrize("size", SIZES)
def test_one_way_cuts_are_the_two_halves_of_an_isolation(size: int) -> None:
    cluster = list(range(1, size + 1))
    into, out = cut_for("one-way-in", [2], cluster), cut_for("one-way-out", [2], cluster)
    assert all(b == 2 for _, b in into) and all(a == 2 for a, _ in out)
    assert len(into) == len(out) == size - 1
    assert sorted(into + out) == list(cut_for("isolate", [2], cluster))


@pytest.mark.parametrize("size", range(3, 10))
def test_only_the_bridge_sees_both_sides(size: int) -> None:
    cluster = list(range(1, size + 1))
    cut = cut_for("bridge", [2], cluster)
    assert cut
    views = {n: seen_by(n, cluster, cut) for n in cluster}
    assert views[2] == set(cluster)
    sides = {frozenset(views[n]) for n in cluster if n != 2}
    left, right = sides
    assert left & right == {2}
    if size % 2:  # guaranteed: each side is a majority with the bridge
        assert is_majority(set(left), cluster) and is_majority(set(right), cluster)


@pytest.mark.parametrize("size", SIZES)
def test_on_the_ring_every_node_keeps_just_a_majority(size: int) -> None:
    ring = [(3 * i) % size + 1 for i in range(size)] if size % 3 else list(range(1, size + 1))
    cut = cut_for("majorities-ring", ring, sorted(ring))
    views = {n: frozenset(seen_by(n, ring, cut)) for n in ring}
    assert all(is_majority(set(view), ring) for view in views.values())
    spare = 1 if size % 4 == 3 else 0  # there is no regular graph of odd size and odd degree
    assert {len(view) for view in views.values()} == {size // 2 + 1 + spare}
    assert (not cut) == (size <= 3)
    if size > 3:
        assert len(set(views.values())) == size, "no two see the same majority"


@pytest.mark.parametrize("size", range(4, 10))
@pytest.mark.parametrize("nodes", [(2,), (2, 4)])
def test_in_partial_connectivity_only_the_hub_sees_a_majority(
    size: int, nodes: tuple[int, ...]
) -> None:
    cluster = list(range(1, size + 1))
    hub = (*nodes, 3)[1]
    for shape in ("quorum-loss", "constrained"):
        cut = cut_for(shape, nodes, cluster)
        views = {n: seen_by(n, cluster, cut) for n in cluster}
        assert [n for n in cluster if is_majority(views[n], cluster)] == [hub], shape
        assert views[2] == ({2, hub} if shape == "quorum-loss" else {2})


@pytest.mark.parametrize("size", range(3, 10))
def test_in_a_chain_each_sees_its_neighbours_and_a_leader_with_a_hub_sees_only_it(
    size: int,
) -> None:
    cluster = list(range(1, size + 1))
    line = [2, *range(3, size + 1), 1]
    cut = cut_for("chained", [2], cluster)
    for at, node in enumerate(line):
        assert seen_by(node, cluster, cut) == set(line[max(0, at - 1) : at + 2])
    cut = cut_for("hub", [2], cluster)
    assert seen_by(2, cluster, cut) == {2, 3}
    assert seen_by(3, cluster, cut) == set(cluster)
    for other in set(cluster) - {2, 3}:
        assert seen_by(other, cluster, cut) == set(cluster) - {2}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", SIZES)
def test_cuts_are_sorted_distinct_links_of_the_cluster(shape: str, size: int) -> None:
    cluster = list(range(1, size + 1))
    cut = cut_for(shape, cluster if shape == "majorities-ring" else [1], cluster)
    assert list(cut) == sorted(set(cut))
    assert all(a != b and a in cluster and b in cluster for a, b in cut)


def test_overlapping_partitions_cut_the_union() -> None:
    first, second = (
        Partition(id=f"p{n}", nodes=(n,), shape="isolate", **TIMES).resolve(9, [1, 2, 3])
        for n in (1, 2)
    )
    assert isinstance(first, Partition) and isinstance(second, Partition)
    assert links_cut([first, second, Kill(id="k", nodes=(3,), **TIMES)]) == {
        *first.cut,
        *second.cut,
    }
    assert links_cut([]) == frozenset()


def test_the_registry_is_the_files_of_the_package() -> None:
    files = {path.stem for path in (ROOT / "faults" / "kinds").glob("*.py")} - {"__init__"}
    assert {kind.fault.__module__.rpartition(".")[2] for kind in KINDS.values()} == files
    orders = [kind.order for kind in KINDS.values()]
    assert orders == sorted(set(orders)), "each kind needs an order of its own"


def test_the_agent_does_not_import_descriptions() -> None:
    """It must start fast, in an image that contains nothing else."""
    code = "import sys, faults.agent.server; print('faults.description' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"


@given(faults())
def test_the_steps_of_a_composite_lie_within_it_and_have_ids_of_their_own(fault: Fault) -> None:
    resolved = fault.resolve(1, range(1, 10))
    steps = resolved.steps()
    assert len({step.id for step in steps}) == len(steps)
    for step in steps:
        assert step.steps() == (step,)
        assert resolved.start_us <= step.start_us and step.end_us <= resolved.end_us
        assert set(step.nodes) <= set(resolved.nodes)
    if steps != (resolved,) and resolved.down_at_once == 1 and resolved.nodes:
        assert all(a.end_us <= b.start_us for a, b in itertools.pairwise(steps))
