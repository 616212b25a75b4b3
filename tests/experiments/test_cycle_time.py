"""The time of a cycle that a report tells."""

import pytest

from vardax_core.experiments.comparison import microseconds_of


def segment(cycles, seconds):
    return {"cycles": cycles, "compute_seconds": seconds}


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([], None),
        ([segment(0, 1.0)], None),
        ([segment(100, 0.2)], 2000.0),
        # The second was computed while the first was written.
        ([segment(100, 0.2), segment(100, 0.8)], 2000.0),
        # One cycle in a hundred of the time says less than a long segment.
        ([segment(1, 1e-5), segment(100, 0.3), segment(60, 0.12)], 2000.0),
    ],
)
def test_a_cycle_takes_as_long_as_in_the_fastest_of_the_long_segments(segments, expected):
    found = microseconds_of(segments)
    assert found == (None if expected is None else pytest.approx(expected))
