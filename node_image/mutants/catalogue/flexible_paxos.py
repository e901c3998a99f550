"""Flexible Paxos: quorums that do not intersect, and a control."""

from __future__ import annotations

from node_image.mutants.catalogue.mutant import (
    Mutant,
)

BUGS = (
    Mutant(
        id="F1",
        protocols=("flexible-paxos",),
        change="Q1 + Q2 = N is not refused",
        exposed_by="disjoint partition, then a new leader",
        shows="acknowledged write lost",
        scenario="test_mutants.test_f1_has_disjoint_quorums_and_f2_does_not",
    ),
    Mutant(
        id="F2",
        protocols=("flexible-paxos",),
        change="Q1 and Q2 swapped, their sum still more than N",
        exposed_by="as F1",
        shows="nothing: it is safe",
        scenario="test_mutants.test_f1_has_disjoint_quorums_and_f2_does_not",
        control=True,
    ),
)
