"""Laws of records: one order, and the version that is used."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vardax_core.data.streams.records import Records, RecordsError
from vardax_core.data.streams.revisions import resolve, superseded_times
from vardax_core.observations.quality import QualityCode

EPOCH = np.datetime64("2019-03-01T00:00:00", "ns")
HOUR = np.timedelta64(1, "h")


def records(rows, file="a.csv"):
    """Records of rows (hour, platform, place, value, hour of arrival)."""
    names = tuple(sorted({name for _, name, *_ in rows}))
    n = len(rows)
    return Records(
        stream="stations",
        dims=("y", "x"),
        time=np.array([EPOCH + row[0] * HOUR for row in rows], "datetime64[ns]"),
        place=np.array([[row[2], -row[2]] for row in rows], np.float64).reshape(n, 2),
        level=np.full(n, np.nan),
        value=np.array([row[3] for row in rows], np.float64),
        error_sd=np.full(n, np.nan),
        platform=np.array([names.index(row[1]) for row in rows], np.int32),
        platforms=names,
        code=np.zeros(n, np.int8),
        arrival=np.array([EPOCH + row[4] * HOUR for row in rows], "datetime64[ns]"),
        file=np.zeros(n, np.int32),
        files=(file,),
        row=np.arange(1, n + 1, dtype=np.int64),
    )


ROWS = st.lists(
    st.tuples(
        st.integers(0, 2), st.sampled_from("ab"), st.integers(0, 1), st.integers(0, 2),
        st.integers(3, 5),
    ),
    min_size=1,
    max_size=12,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(ROWS, st.randoms(use_true_random=False))
def test_neither_order_nor_splits_nor_copies_change_what_is_used(rows, random):
    whole = resolve(records(rows))
    shuffled = random.sample(rows, len(rows)) + random.sample(rows, random.randint(0, len(rows)))
    cut = random.randint(0, len(shuffled))
    parts = [part for part in (shuffled[:cut], shuffled[cut:]) if part]
    first, *others = [records(part, f"{n}.csv") for n, part in enumerate(parts)]
    again = resolve(first.joined(*others))
    assert again.current.says_the_same(whole.current)
    assert again.superseded.says_the_same(whole.superseded)
    assert len(again.current) + len(again.superseded) + again.repeated == len(shuffled)


def known_at(versions, instant):
    """The records that had arrived at an instant and were not superseded then."""
    until = superseded_times(versions.current, versions.superseded)
    then = versions.superseded.taken((versions.superseded.arrival <= instant) & (until > instant))
    return versions.current.taken(versions.current.arrival <= instant).joined(then)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(2, 6))
def test_what_was_known_is_what_a_reader_of_that_time_would_have_had(rows, hour):
    then = [row for row in rows if row[4] <= hour]
    found = resolve(records(rows))
    known = known_at(found, EPOCH + hour * HOUR)
    if then:
        assert known.says_the_same(resolve(records(then)).current)
    else:
        assert len(known) == 0


def test_a_later_value_supersedes_and_the_earlier_is_kept():
    found = resolve(records([(0, "a", 1, 5.0, 1), (0, "a", 1, 6.0, 2), (1, "a", 1, 7.0, 1)]))
    assert found.current.value.tolist() == [6.0, 7.0]
    assert found.superseded.value.tolist() == [5.0]
    assert found.first_superseded.row.tolist() == [1]
    assert found.repeated == found.conflicting == 0


def test_a_correction_that_is_taken_back_is_a_version_of_its_own():
    found = resolve(records([(0, "a", 1, 5.0, 1), (0, "a", 1, 6.0, 2), (0, "a", 1, 5.0, 3)]))
    assert found.current.value.tolist() == [5.0]
    assert found.superseded.value.tolist() == [5.0, 6.0]
    assert known_at(found, EPOCH + 2 * HOUR).value.tolist() == [6.0]


def test_values_that_contradict_each_other_are_not_used():
    found = resolve(records([(0, "a", 1, 5.0, 1), (0, "a", 1, 6.0, 1), (0, "b", 1, 6.0, 1)]))
    assert found.current.code.tolist() == [QualityCode.DUPLICATE] * 2 + [QualityCode.KEPT]
    assert found.conflicting == 2


@pytest.mark.parametrize("settled", [5.0, 6.0])
def test_a_later_value_settles_a_contradiction_whichever_it_repeats(settled):
    both = [(0, "a", 1, 5.0, 1), (0, "a", 1, 6.0, 1)]
    found = resolve(records([*both, (0, "a", 1, settled, 2)]))
    assert found.current.value.tolist() == [settled]
    assert found.current.code.tolist() == [QualityCode.KEPT]
    assert found.superseded.value.tolist() == [5.0, 6.0]
    again = resolve(records([*both, *((*row[:4], 2) for row in both)]))
    assert (again.repeated, again.conflicting, len(again.superseded)) == (2, 2, 0)


def test_a_gross_error_does_not_contradict_a_good_value():
    both = records([(0, "a", 1, 5.0, 1), (0, "a", 1, 99.0, 1)])
    code = np.array([QualityCode.KEPT, QualityCode.GROSS_ERROR], np.int8)
    found = resolve(dataclasses.replace(both, code=code))
    assert found.current.code.tolist() == code.tolist()


def test_a_repetition_counts_from_its_first_arrival():
    found = resolve(records([(0, "a", 1, 5.0, 2), (0, "a", 1, 5.0, 1)]))
    assert found.current.arrival.tolist() == [(EPOCH + HOUR).astype(int)]
    assert found.repeated == 1


def test_columns_that_do_not_fit_are_refused():
    one = records([(0, "a", 1, 5.0, 2)])
    with pytest.raises(RecordsError, match=r"'time' must be datetime64\[ns\] of shape"):
        dataclasses.replace(one, time=one.time.astype("datetime64[s]"))
    with pytest.raises(RecordsError, match="cannot be joined"):
        one.joined(dataclasses.replace(one, stream="other"))
    assert len(Records.none("s", ("y", "x")).joined(Records.none("s", ("y", "x")))) == 0
