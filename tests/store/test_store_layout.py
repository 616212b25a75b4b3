"""Layouts and chunk plans."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store import twin
from vardax_core.store import (
    ChunkPlan,
    Coordinate,
    Diagnostic,
    Group,
    ObservedDescription,
    StateDescription,
    StructureError,
    Variable,
    experiment_layout,
)

MB = 2**20


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((24, 40), (50, 24, 40)),  # 3.8 kB a cycle: a whole segment of 192 kB
        ((64, 64, 64), (2, 64, 64, 64)),  # 1 MB a cycle: 4 would fit, 2 divides 50
        ((64, 128, 128), (1, 64, 128, 128)),  # 4 MB a cycle
        ((64, 4, 512, 512), (1, 64, 4, 128, 128)),  # 256 MB a cycle: 16 objects of 16 MB
        ((40, 721, 1440), (1, 40, 241, 360)),  # an ensemble in tiles, all members of a place
        ((), (50,)),
    ],
)
def test_chunks_of_float32_in_segments_of_50(shape, expected):
    assert ChunkPlan(segment_length=50).along_time(shape, 4) == expected


def test_chunks_divide_the_segment_where_that_costs_little():
    # 100 kB a cycle: 41 fit into 4 MB, and 32 divides the segment of 64.
    assert ChunkPlan(segment_length=64).along_time((25_600,), 4) == (32, 25_600)
    # 4 MB hold 41 of 61, a prime; 1 would make tiny objects.
    assert ChunkPlan(segment_length=61).along_time((25_600,), 4) == (40, 25_600)


@given(
    st.lists(st.integers(1, 3000), max_size=4).map(tuple),
    st.sampled_from([1, 4, 8]),
    st.integers(1, 300),
)
def test_no_object_is_larger_than_16_mb_or_needlessly_small(shape, itemsize, segment):
    plan = ChunkPlan(segment_length=segment)
    chunk = plan.along_time(shape, itemsize)
    size, per_time = itemsize * math.prod(chunk), itemsize * math.prod(shape)
    assert size <= 16 * MB
    assert chunk[0] <= segment
    if per_time <= 16 * MB:
        assert chunk[1:] == shape
        # Half of the target at least, unless the whole segment is smaller; rounding down to whole
        # cycles costs at most another half.
        assert size >= min(MB, per_time * segment)
    else:
        assert chunk[0] == 1
        assert all(c <= n for c, n in zip(chunk[1:], shape, strict=True))


def test_time_is_one_large_chunk_and_every_array_names_its_dimensions(store):
    for name, group in store.root().groups():
        for key, array in group.arrays():
            assert len(array.metadata.dimension_names or ()) == array.ndim, (name, key)
        if "time" in group:
            assert group["time"].chunks == (65536,)
            assert group["time"].attrs["units"] == "minutes since 2000-01-01 00:00:00"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Variable("t2m", ("member", "time"), "float32"), "begin with 'time'"),
        (lambda: Coordinate("x", ("x",), np.zeros((2, 2))), "do not fit"),
        (lambda: Group("g", (Variable("a", ("time", "x"), "float32"),)), "unknown length"),
        (
            lambda: Group("g", (Variable("x", ("time",), "int8"),), (_line(3),)),
            r"\['x'\] declared twice",
        ),
        (
            lambda: Group("g", (), (_line(3), Coordinate("y", ("x",), np.zeros(4)))),
            "'x' has length 3 and, by coordinate 'y', 4",
        ),
        (lambda: ChunkPlan(segment_length=0), "positive"),
        (
            lambda: _with_diagnostics(a=Diagnostic({"bin": 2}), b=Diagnostic({"bin": 3})),
            "dimension 'bin' has length 3 here and 2",
        ),
    ],
)
def test_contradictions_are_refused(make, says):
    with pytest.raises(StructureError, match=says):
        make()


def _line(n):
    return Coordinate("x", ("x",), np.arange(n))


def _with_diagnostics(**diagnostics):
    state = StateDescription("u", (_line(3),), {"units": "m s-1"})
    location = Coordinate("location", ("location",), np.arange(2))
    return experiment_layout(
        states=(state,),
        observed=ObservedDescription(state, (location,), {"used": 0}),
        n_members=2,
        diagnostics=diagnostics,
        chunks=ChunkPlan(),
    )


def test_units_of_a_variance_are_squared_as_udunits_reads_them():
    groups = {g.name: g for g in _with_diagnostics(a=Diagnostic()).groups}
    units = {v.name: v.attrs.get("units") for v in groups["innovations"].variables}
    assert units["background_departure"] == "m s-1"
    assert units["background_equivalent_variance"] == "(m s-1)2"


def test_without_a_nature_run_there_is_no_truth_to_write():
    names = [g.name for g in twin.layout().groups]
    assert names == [
        "observations",
        "nature_run",
        "background",
        "analysis",
        "innovations",
        "diagnostics",
        "state",
        "streams",
        "calibration",
    ]
