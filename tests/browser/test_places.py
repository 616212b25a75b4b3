"""The browser on what is not a local store of a rectangular grid."""

import numpy as np
import pytest

from tests.browser import made
from tests.object_store import empty_bucket
from vardax_core.browser.catalogue import catalogue_of
from vardax_core.browser.look import Look
from vardax_core.browser.observed import observed
from vardax_core.browser.opened import Opened
from vardax_core.browser.stage import Stage
from vardax_core.browser.view import View
from vardax_core.store import location_of

EVERY = ("used", "withheld", "refused")


@pytest.fixture
def bucket(monkeypatch):
    """An S3-compatible server in this process; the address of an empty bucket."""
    for url in empty_bucket(monkeypatch):
        yield f"{url}/stores"


@pytest.mark.slow
def test_stores_of_an_object_store_are_shown(bucket, monkeypatch, tmp_path):
    made.make(bucket)
    monkeypatch.setenv("VARDAX_STORES", bucket)
    catalogue, _, _ = catalogue_of(None, tmp_path)
    assert catalogue.experiments() == {"made": ("one",)}
    stage = Stage(catalogue, Look(), lambda view: None)
    stage.show(View(point="3,7", time="2019-03-01T06:00"), EVERY)
    assert stage.figures["series"].visible
    assert stage.figures["first"].title.text == "analysis mean, one, 2019-03-01 06:00 UTC"


def test_observations_of_a_curvilinear_grid_lie_where_its_points_are(tmp_path):
    made.make(tmp_path, turned=True)
    opened = Opened(location_of(tmp_path / "experiments" / "made" / "one"))
    assert opened.raster.on_earth
    latitude, longitude = opened.places
    table = observed(opened, 0)
    points = np.linspace(0, 98, made.STATIONS).astype(int)[: len(table)]
    np.testing.assert_allclose(table["y"], latitude.ravel()[points])
    np.testing.assert_allclose(table["x"], longitude.ravel()[points])
    for flat in points:
        row, column = np.unravel_index(flat, opened.shape)
        place = longitude[row, column], latitude[row, column]
        assert opened.raster.point(*place) == (row, column)
