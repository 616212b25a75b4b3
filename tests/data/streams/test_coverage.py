"""When and where a stream observes."""

import dataclasses

import numpy as np

from tests.data.streams.test_records import EPOCH, HOUR, records
from vardax_core.data.streams.coverage import by_day, by_platform, gaps
from vardax_core.data.streams.records import Records
from vardax_core.observations.quality import QualityCode

ROWS = [(0, "a", 1, 5.0, 1), (1, "b", 2, 5.0, 1), (30, "a", 1, 6.0, 1), (75, "b", 3, 6.0, 1),
        (76, "c", 3, 6.0, 1)]  # fmt: skip


def marked(last):
    """The records, of which the last is a gross error."""
    found = records(ROWS)
    code = np.zeros(len(found), np.int8)
    code[last] = QualityCode.GROSS_ERROR
    return dataclasses.replace(found, code=code)


def test_days_are_counted_without_a_gap():
    days = by_day(marked(-1))
    assert days.day.astype(str).tolist() == [f"2019-03-0{n}" for n in range(1, 5)]
    assert days.used.tolist() == [2, 1, 0, 1]
    assert days.marked.tolist() == [0, 0, 0, 1]


def test_gaps_are_spans_without_a_used_record():
    span = (EPOCH - 10 * HOUR, EPOCH + 80 * HOUR)
    found = gaps(marked(-1), 20 * HOUR, *span)
    assert found == [(EPOCH + HOUR, EPOCH + 30 * HOUR), (EPOCH + 30 * HOUR, EPOCH + 75 * HOUR)]
    assert gaps(Records.none("s", ("y", "x")), HOUR, *span) == [span]


def test_platforms_stand_or_move():
    found = by_platform(marked(-1))
    assert found.name == ("a", "b", "c")
    assert found.used.tolist() == [2, 2, 0]
    assert found.moves.tolist() == [False, True, False]
    assert found.first[:2].tolist() == [(EPOCH + n * HOUR).astype(int) for n in (0, 1)]
    assert found.last[:2].tolist() == [(EPOCH + n * HOUR).astype(int) for n in (30, 75)]
    np.testing.assert_array_equal(found.place, [[1, -1], [2, -2], [np.nan, np.nan]])
    assert np.isnat(found.first[2])


def test_nothing_covers_nothing():
    none = Records.none("s", ("y", "x"))
    assert by_day(none).day.size == 0
    assert by_platform(none).used.size == 0
