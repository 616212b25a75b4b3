"""Real observations whose forecasts a function makes, on a grid with land."""

import numpy as np
import pytest

from tests.experiments import reported
from vardax_core.data import ingest
from vardax_core.experiments.assimilate import Assimilation, pending_cycles
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import default_settings

CYCLE = {
    "start": "2019-03-03T12:00Z",
    "end": "2019-03-16T12:00Z",
    "interval": "1d",
    "window": {"times": 1, "spacing": "1d"},
}
LAND = []
"""Points of each state that the model was given without a value."""


def advance(state, start, end):
    """The field moves as the truth does."""
    place = (state["latitude"].values[:, None], state["longitude"].values[None])
    before, after = (reported.truth(t.replace(tzinfo=None), *place) for t in (start, end))
    LAND.append(int(np.isnan(state["sst"]).sum()))
    made = state.assign(sst=state["sst"] + (after - before).astype(np.float32))
    return made.assign_coords(time=np.datetime64(end.replace(tzinfo=None)))


def cycled(root, **changes):
    recipe = reported.recipe(cycle=CYCLE, **changes)
    made = Experiment(recipe, default_settings(recipe, "letkf"), root)
    learnable = made.training_run()
    if made.trained_version(learnable) is None:
        made.train(learnable, lambda *_: None)
    ingested = ingest(recipe, start=recipe.period.start, partly=True)
    store = made.create_store(ingested)
    made.append_observations(store, ingested)
    reports = list(Assimilation(made, store, made.prepare(store)).run(pending_cycles(made, store)))
    assert not any(report.warnings for report in reports)
    return store


def moved(times):
    """How the field moves from each time to the next, at every point of the grid."""
    place = (reported.LATITUDE[:, None], reported.LONGITUDE[None])
    return np.diff(np.stack([reported.truth(time, *place) for time in times]), axis=0)


@pytest.mark.slow
def test_a_function_makes_the_background_of_the_members_of_the_analysis_before(
    tmp_path, monkeypatch
):
    for name, value in reported.write_all(tmp_path).items():
        monkeypatch.setenv(name, value)
    store = cycled(tmp_path, forecast={"kind": "callable", "entry": f"{__name__}:advance"})
    assert LAND == [4] * 8 * 14
    dims = ("time", "member", "latitude", "longitude")
    background, analysis = (
        store.dataset(group)["sst"].load().transpose(*dims) for group in ("background", "analysis")
    )
    assert np.isnan(analysis[..., :2, :2]).all()
    assert np.isfinite(analysis[..., 2:, 2:]).all()
    expected = analysis[:-1].to_numpy() + moved(analysis["time"].values)[:, None]
    np.testing.assert_allclose(background[1:], expected, rtol=0, atol=2e-4)
    assert np.abs(analysis - background).max() > 0.1
