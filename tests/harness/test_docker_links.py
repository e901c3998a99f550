"""The expected state of links under several faults, and what the agents are asked for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.agent.link_shape import wanted_leads, wanted_shapes
from faults.agent.links import wanted_rules
from faults.description import Fault, UnsupportedFault
from faults.kinds.corrupt import Corrupt
from faults.kinds.delay import Delay
from faults.kinds.duplicate import Duplicate
from faults.kinds.loss import Loss
from faults.kinds.partition import Partition
from faults.kinds.rate import Rate
from faults.kinds.reorder import Reorder
from faults.shapes import cut_for
from harness.runtimes.docker.injectors.link_state import (
    CLIENTS,
    UNTOUCHED,
    Addresses,
    LinkState,
    rules_for,
    shapes_for,
    states,
)

NODES = (1, 2, 3)
KNOWN = {
    n: Addresses(
        (f"10.0.0.{n}",), (f"10.0.0.{n}", f"fe80::{n}", f"02:00:00:00:00:0{n}"), "10.0.0.9"
    )
    for n in NODES
}
COMMON: dict[str, Any] = {"id": "f", "start_us": 0, "duration_us": 1}


def cut(*nodes: int) -> Partition:
    return Partition(**COMMON, nodes=nodes, shape="halves", cut=cut_for("halves", nodes, NODES))


def test_faults_of_a_link_compose() -> None:
    found = states(
        [
            Loss(**COMMON, nodes=(1,), direction="out", percent=50),
            Loss(**COMMON, nodes=(2,), direction="in", percent=50),
            Delay(**COMMON, nodes=(1,), direction="out", delay_us=10, jitter_us=4),
            Delay(**COMMON, nodes=(1,), direction="both", delay_us=20),
            Rate(**COMMON, nodes=(1,), direction="out", kbps=100),
            Rate(**COMMON, nodes=(2,), direction="in", kbps=50),
        ],
        NODES,
    )
    assert found[1, 2] == LinkState(loss=0.75, delay_us=30, jitter_us=4, kbps=50)
    assert found[2, 1] == LinkState(delay_us=20)
    assert found[3, 2] == LinkState(loss=0.5, kbps=50)
    assert found[2, 3] == UNTOUCHED


def test_a_cut_is_sent_to_both_ends_with_every_address_and_loss_by_ip_address() -> None:
    wanted = states([cut(1), Loss(**COMMON, nodes=(2,), direction="out", percent=20)], NODES)
    first, second = rules_for(1, wanted, KNOWN), rules_for(2, wanted, KNOWN)
    assert first["drop_to"] == first["drop_from"] == [*KNOWN[2].every, *KNOWN[3].every]
    assert second["drop_to"] == second["drop_from"] == list(KNOWN[1].every)
    assert second["loss"] == {"10.0.0.3": 0.2, "fe80::3": 0.2}
    assert rules_for(3, wanted, KNOWN)["loss_from"] == {"10.0.0.2": 0.2, "fe80::2": 0.2}
    assert all(wanted_rules(rules_for(n, wanted, KNOWN)).programs for n in NODES)


def test_the_addresses_of_a_node_share_its_rate() -> None:
    wanted = states([Rate(**COMMON, nodes=(1,), direction="out", kbps=100)], NODES)
    request = shapes_for(1, wanted, KNOWN)
    assert request["same_link"] == [["10.0.0.2", "fe80::2"], ["10.0.0.3", "fe80::3"]]
    assert set(request["shapes"]) == {address for pair in request["same_link"] for address in pair}
    assert all(shape["rate_bps"] == 100_000 for shape in request["shapes"].values())


def test_clients_are_identified_by_the_bridges_address() -> None:
    wanted = states(
        [
            Loss(**COMMON, nodes=(1,), clients=True, percent=20),
            Delay(**COMMON, nodes=(1,), direction="out", clients=True, delay_us=8, jitter_us=4),
        ],
        NODES,
    )
    assert wanted[1, CLIENTS].delay_us == 8 and wanted[CLIENTS, 1] == LinkState(loss=0.2)
    rules, shapes = rules_for(1, wanted, KNOWN), shapes_for(1, wanted, KNOWN)["shapes"]
    assert rules["loss"]["10.0.0.9"] == rules["loss_in"]["10.0.0.9"] == 0.2
    assert shapes["10.0.0.9"] == {"delay_us": 10, "jitter_us": 2}
    assert shapes_for(2, wanted, KNOWN)["shapes"] == {}


def test_a_class_of_messages_has_a_state_of_its_own() -> None:
    from_1: dict[str, Any] = COMMON | {"nodes": (1,), "direction": "out"}
    wanted = states(
        [
            Loss(**from_1, percent=50, message="Accept"),
            Loss(**from_1, percent=50, message="Accept", clients=True),
            Delay(**from_1, delay_us=20, message="Promise"),
            Delay(**from_1, delay_us=10),
        ],
        NODES,
    )
    state = wanted[1, 2]
    assert state.plain == LinkState(delay_us=10)
    assert state.of_class("Accept") == LinkState(delay_us=10, loss=0.75)
    assert state.of_class("Promise") == LinkState(delay_us=30)
    assert state.of_class("Nack") == state.plain
    assert (1, CLIENTS) not in wanted, "clients use other messages"
    assert not rules_for(1, wanted, KNOWN)["loss"], "filters do not know classes"
    shape = shapes_for(1, wanted, KNOWN)["shapes"]["10.0.0.2"]
    assert shape == {
        "delay_us": 10,
        "classes": {'["Accept",': {"delay_us": 10, "loss": 0.75}, '["Promise",': {"delay_us": 30}},
    }


def test_the_rate_of_one_class_of_messages_cannot_be_limited() -> None:
    with pytest.raises(UnsupportedFault, match="Accept"):
        states([Rate(**COMMON, nodes=(1,), kbps=5, message="Accept")], NODES)


LINK_FAULTS: list[Fault] = [
    Delay(**COMMON, nodes=(1,), delay_us=20_000),
    Delay(**COMMON, nodes=(1,), delay_us=20_000, jitter_us=20_000),
    Loss(**COMMON, nodes=(1,), percent=30),
    Loss(**COMMON, nodes=(1,), percent=2),
    Corrupt(**COMMON, nodes=(1,), percent=30),
    Duplicate(**COMMON, nodes=(1,), percent=30, spread_us=10_000),
    Reorder(**COMMON, nodes=(1,), percent=30, window_us=50_000),
    Rate(**COMMON, nodes=(1,), kbps=512),
    cut(1),
]
OF_CLASSES: list[Fault] = [
    Loss(**COMMON, nodes=(1, 2), percent=30, message="Accept"),
    Duplicate(**COMMON, nodes=(1,), percent=30, spread_us=10_000, message="Accept"),
    Delay(**COMMON, nodes=(1,), delay_us=20_000, jitter_us=20_000, message="Promise"),
]


@given(
    st.lists(
        st.sampled_from([*LINK_FAULTS, *OF_CLASSES]),
        max_size=5,
    ),
    st.sampled_from(NODES),
)
def test_the_agents_accept_the_requests_sent_to_them(faults: list[Fault], node: int) -> None:
    wanted = states(faults, NODES)
    wanted_rules(rules_for(node, wanted, KNOWN))
    request = shapes_for(node, wanted, KNOWN)
    wanted_leads(request["same_link"], wanted_shapes(request["shapes"]))
