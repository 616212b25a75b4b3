"""The pictures of the browser hold what the store holds, and follow a visitor's clicks."""

import numpy as np
import pytest

from tests.browser import made
from vardax_core.browser.catalogue import NothingToBrowseError, catalogue_of
from vardax_core.browser.look import Look
from vardax_core.browser.page import Links
from vardax_core.browser.server import document_of, visitor
from vardax_core.browser.stage import Stage
from vardax_core.browser.view import View
from vardax_core.store import thin

EVERY = ("used", "withheld", "refused")


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    made.make(root)
    made.make(root, "two", off=-0.5)
    made.make(root, shape=(12,), dataset="ring")
    made.make(root, dataset="ships", known=False)
    return catalogue_of(None, root)[0]


@pytest.fixture
def stage(catalogue):
    found = Stage(catalogue, Look(), lambda view: found.show(view, EVERY))
    return found


def image_of(drawn):
    """What a figure shows in its boxes."""
    (found,) = (
        r.data_source.data["image"][0] for r in drawn.renderers if "image" in r.data_source.data
    )
    return np.asarray(found)


def symbols_of(drawn):
    """Values of the observations that a figure shows."""
    sources = [r.data_source.data for r in drawn.renderers if "platform" in r.data_source.data]
    return [value for data in sources for value in data["value"]]


def test_a_page_with_its_coastlines_is_sent_in_few_pieces(catalogue):
    """A piece for each of some 1500 lines, which took longer than all else of a first view."""
    page = visitor(catalogue, View(dataset="made"), Links())
    assert len(document_of(page).to_json().buffers) < 50


def test_both_maps_show_the_store_on_shared_axes(stage):
    stage.show(View(dataset="made", method="one"), EVERY)
    first, second = stage.figures["first"], stage.figures["second"]
    expected = made.truth(4, (9, 11))[::-1] + 1 - 273.15
    np.testing.assert_allclose(image_of(first), expected, atol=1e-4)
    np.testing.assert_allclose(image_of(second), -1.0, atol=1e-4)
    assert first.x_range is second.x_range
    assert first.y_range is second.y_range
    assert len(symbols_of(first)) == 5
    assert not stage.figures["series"].visible
    stage.show(stage.view, ("used",))
    assert len(symbols_of(first)) == 3


def test_another_date_is_drawn_into_the_same_figure(stage):
    stage.show(View(dataset="made", method="one"), EVERY)
    before = stage.figures["first"]
    stage.show(stage.view.changed(time="2019-03-01T06:00"), EVERY)
    assert stage.figures["first"] is before
    expected = made.truth(1, (9, 11))[::-1] + 1 - 273.15
    np.testing.assert_allclose(image_of(before), expected, atol=1e-4)
    assert "2019-03-01 06:00" in before.title.text


def test_two_methods_are_set_beside_each_other_and_subtracted(stage):
    view = View(dataset="made", method="one", other="analysis", other_method="two")
    stage.show(view.changed(difference=True, point="8,0"), EVERY)
    np.testing.assert_allclose(image_of(stage.figures["second"]), 1.5, atol=1e-4)
    names = [item.label.value for item in stage.figures["series"].above[-1].items]
    assert {"one, 90 % band", "two, 90 % band", "truth", "background"} <= set(names)


def test_a_click_on_a_map_chooses_the_point_below_it(stage):
    stage.show(View(dataset="made", method="one"), EVERY)
    stage._choose_place(-8.1, 57.9)
    assert stage.view.point == "0,0"
    assert stage.figures["series"].visible
    assert stage.figures["series"].title.text == "temperature at latitude 58°, longitude -8°"
    stage._choose_place(200.0, 57.9)
    assert stage.view.point == "0,0"


def test_a_ring_has_a_profile_and_two_diagrams(stage):
    stage.show(View(dataset="ring"), EVERY)
    assert set(stage.figures) == {"profile", "first", "second", "series", "calendar"}
    assert image_of(stage.figures["first"]).shape == (5, 12)
    np.testing.assert_allclose(image_of(stage.figures["second"]), -1.0, atol=1e-4)
    stage._choose_time(3.2, np.datetime64("2019-03-01T13:00"))
    assert (stage.view.point, stage.view.time) == ("3", "2019-03-01T12:00")


def test_what_is_not_there_is_said(stage, tmp_path):
    stage.show(View(dataset="ships", other="truth"), EVERY)
    assert "whose truth nobody knows" in stage.messages[0]
    assert "second" not in stage.figures
    with pytest.raises(NothingToBrowseError, match="was not run with 'three'"):
        stage.show(View(dataset="made", method="three"), EVERY)
    nothing = Stage(catalogue_of(None, tmp_path)[0], Look(), lambda view: None)
    with pytest.raises(NothingToBrowseError, match="make some with `vardax run`"):
        nothing.show(View(), EVERY)


def test_of_thinned_members_there_is_no_mean(tmp_path):
    store = made.make(tmp_path)
    assert thin(store, np.datetime64("2019-03-01T12:00"), members=1) == 2
    stage = Stage(catalogue_of(None, tmp_path)[0], Look(), lambda view: None)
    stage.show(View(time="2019-03-01T06:00"), EVERY)
    assert "only 1 of 3 members are kept" in stage.messages[0]
    assert "first" in stage.figures


def test_new_cycles_are_found(tmp_path):
    store = made.make(tmp_path, shape=(12,), dataset="ring")
    stage = Stage(catalogue_of(None, tmp_path)[0], Look(dark=True), lambda view: None)
    stage.show(View(), EVERY)
    assert not stage.refresh()
    with store.writer() as writer:
        writer.append({}, np.empty(0, np.int64), state={"step": np.zeros(1)}, metadata={})
    assert stage.refresh()
