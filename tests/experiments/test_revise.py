"""What a row of a store becomes with what its files say now."""

import numpy as np
import pytest

from tests.experiments import reported
from vardax_core.experiments.revise import revised
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.store.experiment import NOT_ARRIVED

RECIPE = reported.recipe()
MINUTE = np.array([1000], np.int64)
KEPT, DUPLICATE = QualityCode.KEPT, QualityCode.DUPLICATE


def record(value, arrival, until=None, own=KEPT, who=1):
    return who, float(value), arrival, until, own


def columns(*records, spare=0):
    """One row of a store with some records, and room for more."""
    width = len(records) + spare
    found = {
        "sst": np.full((1, width), np.nan, np.float32),
        "sst_error": np.ones((1, width), np.float32),
        QUALITY_CONTROL: np.full((1, width), QualityCode.MISSING, np.int8),
        "own_quality_control": np.full((1, width), QualityCode.MISSING, np.int8),
        "observation_id": np.zeros((1, width), np.int64),
        "arrival_time": np.full((1, width), NOT_ARRIVED, np.int64),
        "superseded_time": np.full((1, width), NOT_ARRIVED, np.int64),
    }
    for n, (who, value, arrival, until, own) in enumerate(records):
        code = own if until is None else QualityCode.SUPERSEDED
        values = (value, 1.0, code, own, who, arrival, NOT_ARRIVED if until is None else until)
        for name, entry in zip(found, values, strict=True):
            found[name][0, n] = entry
    return found


def records(found):
    """The records of a row, in their columns."""
    there = np.flatnonzero(found[QUALITY_CONTROL][0] != QualityCode.MISSING)
    return [
        record(
            found["sst"][0, n],
            int(found["arrival_time"][0, n]),
            None
            if found[QUALITY_CONTROL][0, n] != QualityCode.SUPERSEDED
            else int(found["superseded_time"][0, n]),
            QualityCode(int(found["own_quality_control"][0, n])),
            int(found["observation_id"][0, n]),
        )
        for n in there
    ]


A1, A5, B5 = record(1, 1), record(1, 5), record(2, 5)


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ([A1], [A1]),
        ([A1], [record(1, 7)]),  # its file was touched
        ([A5], [A1]),  # readers saw it arrive at 5, and that is not taken back
        ([record(1, 1, 2), record(2, 2)], [A1]),  # the file of the correction is gone
        ([A1, record(3, 1, who=2)], []),  # a file is gone
        ([record(1, 5, own=DUPLICATE), record(2, 5, own=DUPLICATE)], [A5]),
    ],
)
def test_what_says_nothing_new_changes_nothing(stored, read):
    assert revised(RECIPE, columns(*stored), columns(*read, spare=1), MINUTE) is None


@pytest.mark.parametrize(
    ("stored", "read", "expected"),
    [
        ([A1], [record(1, 1, 5), B5], [record(1, 1, 5), B5]),
        # The file was overwritten, and arrives when its recipe says.
        ([A5], [B5], [record(1, 5, 5), B5]),
        # Another file contradicts it.
        (
            [A5],
            [record(1, 5, own=DUPLICATE), record(2, 5, own=DUPLICATE)],
            [record(1, 5, own=DUPLICATE), record(2, 5, own=DUPLICATE)],
        ),
        # Two that follow each other within a minute.
        ([A5], [record(1, 5, 5), B5], [record(1, 5, 5), B5]),
        # A correction is taken back.
        (
            [record(1, 1, 2), record(2, 2)],
            [record(1, 1, 2), record(2, 2, 3), record(1, 3)],
            [record(1, 1, 2), record(2, 2, 3), record(1, 3)],
        ),
        # A version from before is found.
        ([B5], [record(1, 1, 5), B5], [B5, record(1, 1, 5)]),
        # What contradicted each other is settled, and stays what it was.
        (
            [record(1, 5, own=DUPLICATE), record(2, 5, own=DUPLICATE)],
            [record(3, 9)],
            [record(1, 5, 9, DUPLICATE), record(2, 5, 9, DUPLICATE), record(3, 9)],
        ),
        # Another observation, late.
        ([A1], [A1, record(4, 9, who=2)], [A1, record(4, 9, who=2)]),
    ],
)
@pytest.mark.parametrize("spare", [0, 3])
def test_columns_keep_their_records_and_versions_follow_each_other(stored, read, expected, spare):
    found = revised(RECIPE, columns(*stored, spare=spare), columns(*read), MINUTE)
    assert found is not None
    assert records(found.columns) == expected
    assert found.minutes.tolist() == MINUTE.tolist()
    assert found.late + found.corrected == len(expected) - len(stored)
    assert found.width == max(len(stored) + spare, len(expected))
    again = revised(RECIPE, found.columns, columns(*read), MINUTE)
    assert again is None
