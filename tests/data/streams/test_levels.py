"""Values of several levels: those that are meant are taken, and else they are refused."""

import numpy as np
import pytest
from pydantic import ValidationError

from tests.data.streams.reading import COLUMNS, GRID, read, table, write
from vardax_core.data.errors import RecipeError
from vardax_core.data.streams.account import NothingUsableError, Reason
from vardax_core.data.streams.levels import near_surface, span_of_levels

HEADER = "time,lat,lon,t,station,depth"
DEPTHS = (5.0, 10.0, 50.0, 200.0)
LEVEL = COLUMNS | {"level": "depth"}


def profiles(folder, depths=DEPTHS, header=HEADER):
    """Two floats a day that move, each of which measures at several depths."""
    rows = [
        f"2019-03-{day:02d}T06:00Z,{52 + n + day / 100:.2f},-6.25,{20 - depth / 20:g},{name},"
        f"{depth}"
        for day in (2, 3, 4)
        for n, name in enumerate("ab")
        for depth in depths
    ]
    write(folder, *rows, header=header)


def stations(folder, heights=(3.0, 250.0)):
    """Stations that stay, each at a height of its own."""
    rows = [
        f"2019-03-{day:02d}T06:00Z,{52 + n},-6.25,10,s{n},{height}"
        for day in (2, 3)
        for n, height in enumerate(heights)
    ]
    write(folder, *rows, header=HEADER)


def test_levels_are_taken_with_both_ends_and_the_others_counted(tmp_path):
    profiles(tmp_path)
    found = read(tmp_path, table(columns=LEVEL, levels=[5, 10]), grid=GRID)
    assert found.account.used == 12
    assert found.account.count(Reason.OTHER_LEVEL) == 12
    assert "12 outside of the levels (first a.csv row 3: depth = '50.0')" in str(
        found.account.sentences()
    )
    np.testing.assert_allclose(np.unique(found.records.value), [292.65, 292.9])
    one = read(tmp_path, table(columns=LEVEL, levels=[200, 200]), grid=GRID)
    assert set(one.records.level) == {200.0}


def test_a_row_without_a_level_is_at_none(tmp_path):
    write(tmp_path, "2019-03-02T06:00Z,52,-6,1,a,", "2019-03-02T06:00Z,52,-6,2,a,5", header=HEADER)
    found = read(tmp_path, table(columns=LEVEL, levels=[0, 10]), grid=GRID)
    assert (found.account.used, found.account.count(Reason.OTHER_LEVEL)) == (1, 1)


def test_an_end_of_the_levels_may_be_rounded_as_float32_is(tmp_path):
    profiles(tmp_path, depths=(float(np.float32(0.1)),))
    assert read(tmp_path, table(columns=LEVEL, levels=[0, 0.1])).account.used == 6


def test_levels_of_other_units_are_told(tmp_path):
    profiles(tmp_path)
    with pytest.raises(NothingUsableError, match=r"24 outside of the levels.*source\.levels"):
        read(tmp_path, table(columns=LEVEL, levels=[5000, 20000]), grid=GRID)


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
def test_profiles_are_refused_where_nothing_says_which_level(tmp_path, named):
    profiles(tmp_path)
    columns = {role: name for role, name in LEVEL.items() if named or role != "platform"}
    with pytest.raises(RecipeError, match=r"4 levels from 5 to 200.*levels: \[5, 24\]"):
        read(tmp_path, table(columns=columns), grid=GRID)
    assert read(tmp_path, table(columns=columns)).account.used == 24  # of no state


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
def test_a_track_through_levels_is_refused(tmp_path, named):
    rows = [f"2019-03-02T{n:02d}:00Z,{52 + n / 10},-6,10,a,{n}" for n in range(10)]
    write(tmp_path, *rows, header=HEADER)
    columns = {role: name for role, name in LEVEL.items() if named or role != "platform"}
    with pytest.raises(RecipeError, match="10 levels from 0 to 9"):
        read(tmp_path, table(columns=columns), grid=GRID)


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
def test_stations_at_heights_of_their_own_are_no_profiles(tmp_path, named):
    stations(tmp_path)
    columns = {role: name for role, name in LEVEL.items() if named or role != "platform"}
    assert read(tmp_path, table(columns=columns), grid=GRID).account.used == 4


def test_one_level_but_for_rounding_is_one(tmp_path):
    profiles(tmp_path, depths=(5.0, 5.00001))
    assert read(tmp_path, table(columns=LEVEL), grid=GRID).account.used == 12


def test_levels_of_a_profile_next_to_the_surface(tmp_path):
    profiles(tmp_path)
    records = read(tmp_path, table(columns=LEVEL)).records
    assert span_of_levels(records) == (4, 5.0, 200.0)
    assert near_surface(records) == (5.0, 5.0)
    profiles(tmp_path, depths=(-200.0, -10.0, -2.0))
    records = read(tmp_path, table(columns=LEVEL)).records
    assert near_surface(records) == (-2.0, -2.0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"levels": [0, 5]}, "columns.level is needed"),
        ({"levels": [5, 0], "columns": LEVEL}, "write the least first"),
        ({"levels": [float("nan"), 0], "columns": LEVEL}, "finite"),
        ({"levels": [5], "columns": LEVEL}, "levels"),
    ],
)
def test_wrong_levels_are_told(changes, said):
    with pytest.raises(ValidationError, match=said):
        table(**changes)
