"""Back-off: windows double, follow the duration of attempts, and are reset by a decision."""

from __future__ import annotations

from node_image.protocols.backoff import DOUBLINGS_MAX, MEMORY_PACES, PACE_US, PACE_US_MIN, Backoff


def test_window_doubles_with_every_refusal_up_to_a_bound() -> None:
    turns = Backoff(200_000)
    windows = []
    for _ in range(DOUBLINGS_MAX + 3):
        windows.append(turns.window_us())
        turns.refused(0)
    assert windows[: DOUBLINGS_MAX + 1] == [windows[0] << i for i in range(DOUBLINGS_MAX + 1)]
    assert windows[DOUBLINGS_MAX:] == [windows[DOUBLINGS_MAX]] * 3


def test_a_decision_resets_most_of_the_window_and_a_win_all_of_it() -> None:
    turns = Backoff(200_000)
    first = turns.window_us()
    for _ in range(5):
        turns.refused(0)
    turns.decided()
    assert turns.window_us() == 2 * first
    turns.won()
    assert turns.window_us() == first


def test_the_pace_follows_measurements_within_bounds() -> None:
    turns = Backoff(200_000)
    for _ in range(40):
        turns.measured(50_000)
    assert 190_000 < turns.window_us() <= 200_000
    for _ in range(40):
        turns.measured(5_000_000)
    assert turns.window_us() == 2 * 200_000
    for _ in range(40):
        turns.measured(0)
    assert turns.window_us() == 2 * PACE_US_MIN


def test_rivals_are_remembered_for_a_while() -> None:
    turns = Backoff(200_000)
    assert turns.is_quiet(0)
    assert not turns.has_rivals(0)
    turns.saw_rival(1_000)
    assert not turns.is_quiet(1_000 + PACE_US - 1)
    assert turns.is_quiet(1_000 + PACE_US)
    assert turns.has_rivals(1_000 + MEMORY_PACES * PACE_US - 1)
    assert not turns.has_rivals(1_000 + MEMORY_PACES * PACE_US)
