"""Recovery from two copies of a log when they are damaged, and the bugs planted there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.runtimes.sim.disk import Copy
from node_image.log_recovery import LogLost, LogRecovery, Recovery
from node_image.mutants import MUTANTS, protocol_class
from node_image.mutants.log_recovery import LOG_RECOVERY

RECORDS = [("vote", number) for number in range(8)]


def copies(
    *, bad: tuple[set[int], set[int]] = (set(), set()), sizes: tuple[int, int] = (8, 8)
) -> list[Copy]:
    made = [Copy(RECORDS), Copy(RECORDS)]
    for copy, positions, size in zip(made, bad, sizes, strict=True):
        copy.bad, copy.size = positions, size
    return made


def recover(mutant: str | None, of: list[Copy]) -> Recovery:
    recovery: LogRecovery = protocol_class("multi-paxos", mutant).log_recovery
    return recovery.recover(of, 0)


@given(st.sets(st.integers(0, 7)), st.integers(0, 8), st.booleans())
def test_damage_of_one_copy_is_repaired_from_the_other(
    bad: set[int], size: int, second: bool
) -> None:
    damaged = copies(bad=(bad, set()), sizes=(size, 8))
    for mutant in (None, "D0"):
        assert recover(mutant, damaged[::-1] if second else damaged).records == RECORDS


@given(st.sets(st.integers(0, 7)), st.sets(st.integers(0, 7)))
def test_recovery_never_loses_records_known_to_have_been_synced(
    first: set[int], second: set[int]
) -> None:
    """All records, or none: except that damage at the very end looks like a torn write."""
    both = first & second
    try:
        found = recover(None, copies(bad=(first, second))).records
    except LogLost:
        assert both and min(both) < max(set(range(8)) - both, default=-1)
        return
    assert found == RECORDS[: len(found)]
    assert all(number in both for number in range(len(found), 8))


def test_a_record_lost_in_both_copies_is_named() -> None:
    with pytest.raises(LogLost, match=r"the record at 3 is damaged.*stands at 4"):
        recover(None, copies(bad=({3, 5}, {3})))


FIRST_DAMAGED = {"bad": ({3}, set[int]())}
FIRST_CUT = {"sizes": (5, 8)}

SCENARIOS = {
    "D1": (FIRST_DAMAGED, RECORDS[:3]),
    "D2": (FIRST_DAMAGED, RECORDS[:3] + RECORDS[4:]),
    "D3": (FIRST_CUT, RECORDS[:5]),
    "D4": (FIRST_CUT, RECORDS[:5]),
    "D5": (FIRST_DAMAGED, []),
    "D0": (FIRST_DAMAGED, RECORDS),
}


@pytest.mark.parametrize("mutant", sorted(SCENARIOS))
def test_each_bug_matches_its_description(mutant: str) -> None:
    damage, expected = SCENARIOS[mutant]
    assert recover(None, copies(**damage)).records == RECORDS
    assert recover(mutant, copies(**damage)).records == expected
    assert recover(mutant, copies()).records == RECORDS, "without damage it does no harm"


def test_every_bug_is_tested_and_in_the_catalogue() -> None:
    assert set(SCENARIOS) == set(LOG_RECOVERY)
    assert all(MUTANTS[mutant].control == (mutant == "D0") for mutant in LOG_RECOVERY)
