"""Tick labels never overlap, and even ticks stay even."""

import pytest

from attnlang.picture.ticks import numbered, spaced


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 64, 100, 4096])
def test_numbers_are_at_most_eight_and_inside(length: int) -> None:
    ticks = numbered(length)
    assert 1 <= len(ticks) <= 8
    assert ticks[0] == (0, "0")
    assert all(position < length and label == str(position) for position, label in ticks)


def test_even_ticks_stay_even() -> None:
    ticks = numbered(64)
    kept = spaced(ticks, unit=2.0, size=lambda label: 9.0 * len(label))
    assert [position for position, _ in kept] == [0, 16, 32, 48]


def test_uneven_ticks_drop_only_what_collides() -> None:
    ticks = ((0, "a"), (1, "b"), (40, "c"), (60, "d"))
    kept = spaced(ticks, unit=2.0, size=lambda label: 12.0)
    assert [label for _, label in kept] == ["a", "c", "d"]
