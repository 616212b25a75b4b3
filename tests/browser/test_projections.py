"""Maps of the round earth: laws of projections, and the same field on every map."""

import numpy as np
import pytest

from tests.browser import made
from vardax_core.browser.catalogue import catalogue_of
from vardax_core.browser.earth import coast, net
from vardax_core.browser.look import Look
from vardax_core.browser.opened import NothingToShowError, Opened
from vardax_core.browser.page import Links, Page
from vardax_core.browser.projections import FLAT, PROJECTIONS, Azimuthal, Mollweide
from vardax_core.browser.stage import Stage
from vardax_core.browser.view import View, view_of
from vardax_core.store import location_of

EVERY = ("used", "withheld", "refused")
ALL = {
    "globe": Azimuthal(10.0, 40.0, 89.5, False),
    "region": Azimuthal(10.0, 40.0, 170.0, True),
    "north": Azimuthal(-30.0, 90.0, 60.0, True),
    "south": Azimuthal(120.0, -90.0, 60.0, True),
    "whole": Mollweide(20.0),
}


def places(count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.uniform(-180, 180, count), np.rad2deg(np.arcsin(rng.uniform(-1, 1, count)))


@pytest.mark.parametrize("name", ALL)
def test_a_place_on_a_page_is_found_again(name):
    longitude, latitude = places()
    x, y = ALL[name].forward(longitude, latitude)
    shown = np.isfinite(x)
    assert shown.mean() > 0.2
    again = ALL[name].inverse(x[shown], y[shown])
    turned = np.mod(again[0] - longitude[shown] + 180, 360) - 180
    np.testing.assert_allclose(turned * np.cos(np.deg2rad(latitude[shown])), 0, atol=1e-7)
    np.testing.assert_allclose(again[1], latitude[shown], atol=1e-7)


@pytest.mark.parametrize("name", ["region", "north", "south", "whole"])
def test_areas_are_kept(name):
    """Little squares have the area on the page that they have on the earth."""
    longitude, latitude = places()
    side = 1e-4
    scale = np.deg2rad(side) ** 2 * np.cos(np.deg2rad(latitude))
    kept = np.abs(latitude) < 85
    corners = [
        np.stack(ALL[name].forward(longitude + a * side, latitude + b * side))
        for a, b in ((0, 0), (1, 0), (0, 1))
    ]
    (ax, ay), (bx, by) = corners[1] - corners[0], corners[2] - corners[0]
    ratio = (ax * by - ay * bx) / scale
    ratio = ratio[kept & np.isfinite(ratio)]
    np.testing.assert_allclose(np.median(ratio), 1.0, rtol=1e-4)
    np.testing.assert_allclose(np.percentile(ratio, [1, 99]), 1.0, rtol=1e-3)


def test_values_of_snyder():
    """Numerical examples of the manual: Lambert's (p. 332) and Mollweide's axes (p. 249)."""
    x, y = Azimuthal(-100.0, 40.0, 179.0, True).forward(np.array(100.0), np.array(-20.0))
    np.testing.assert_allclose([x, y], [-4.2339303 / 3, 4.0257775 / 3], rtol=1e-6)
    x, y = Mollweide(0.0).forward(np.array([180.0, 0.0]), np.array([0.0, 90.0]))
    np.testing.assert_allclose(x, [-2 * np.sqrt(2), 0], atol=1e-9)
    np.testing.assert_allclose(y, [0, np.sqrt(2)], atol=1e-6)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    made.make(root)
    return root


@pytest.mark.parametrize("name", ["globe", "equal-area", "north"])
def test_every_point_of_a_region_is_on_its_map(root, name):
    opened = Opened(location_of(root / "experiments" / "made" / "one"))
    raster = opened.raster_in(name, "")
    field = np.arange(99.0).reshape(9, 11)
    boxes = raster.boxes(field)
    assert set(np.unique(boxes[np.isfinite(boxes)])) == set(field.ravel())
    for flat in range(99):
        row, column = map(int, np.unravel_index(flat, (9, 11)))
        place = opened.along("longitude")[[column]], opened.along("latitude")[[row]]
        (x,), (y,) = raster.drawn(*place)
        assert raster.point(float(x), float(y)) == (row, column)
        assert raster.point(*raster.place((row, column))) == (row, column)
    assert np.isnan(net(raster)[0]).sum() > 2
    assert np.isfinite(coast(raster)[0]).sum() > 100


def test_the_map_stands_in_the_address_and_a_click_is_understood(root):
    catalogue = catalogue_of(None, root)[0]
    stage = Stage(catalogue, Look(dark=True), lambda view: stage.show(view, EVERY))
    stage.show(View(map="globe", middle="0"), EVERY)
    assert view_of(stage.view.query()) == (stage.view, ())
    first = stage.figures["first"]
    seen = [r.data_source.data for r in first.renderers if "platform" in r.data_source.data]
    assert sum(len(data["x"]) for data in seen) == 5
    opened = stage.opened("made", "one")
    raster = opened.raster_in("globe", "0")
    x, y = raster.drawn(np.array(2.0), np.array(50.0))
    stage._choose_place(float(x), float(y))
    assert stage.view.point == "8,10"
    assert view_of("map=mercator&middle=east")[1] == (
        f"The address says map='mercator': expected one of {', '.join(PROJECTIONS)}.",
        "The address says middle='east': expected a longitude in degrees.",
    )


def test_a_map_without_a_point_is_refused_and_the_one_before_stays(root):
    catalogue = catalogue_of(None, root)[0]
    stage = Stage(catalogue, Look(), lambda view: None)
    with pytest.raises(NothingToShowError, match="No point of made is on a map of the south pole"):
        stage.show(View(map="south"), EVERY)
    page = Page(catalogue, View(), "", False, Links())
    page.go(page._stage.view.changed(map="south"))
    assert page.said.object.startswith("No point of made")
    assert page.map.value == FLAT
    page.go(page._stage.view.changed(map="equal-area"))
    assert not page.said.visible
    assert page.middle.value == -3
