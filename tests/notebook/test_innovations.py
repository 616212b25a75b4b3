"""Observations with their departures, as a table."""

import pytest

import vardax_core as vardax
from tests.experiments import reported
from vardax_core.data import ingest
from vardax_core.experiments.assimilate import Assimilation, pending_cycles
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import default_settings


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A few cycles on reports of buoys, in windows of several observation times."""
    folder = tmp_path_factory.mktemp("reported")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in reported.write_all(folder).items():
            patch.setenv(name, value)
        recipe = reported.recipe()
        made = Experiment(recipe, default_settings(recipe, "climatology"), folder / "root")
        made.train(made.training_run(), lambda *_: None)
        start = recipe.period.start - 2 * recipe.window.spacing
        ingested = ingest(recipe, start=start, partly=True)
        kept = made.create_store(ingested)
        made.append_observations(kept, ingested)
        for _ in Assimilation(made, kept, made.prepare(kept)).run(pending_cycles(made, kept)[:3]):
            pass
        yield kept


def test_platforms_have_their_names_and_all_rows_are_of_analysis_times(store):
    tree = vardax.open(store.path)
    table = tree.vardax.innovations()
    assert len(table)
    assert set(table["platform"]) <= {str(name) for name in store.arrays("platforms")["name"]}
    assert table["platform"].str.startswith("drifters/").all()
    assert set(table["time"]) <= set(tree["analysis/time"].to_numpy())
    observed = tree["observations"].to_dataset().sel(time=table["time"].to_numpy()[0])
    numbers = observed["platform"].to_numpy()[table["station"].to_numpy()[:3]]
    names = store.arrays("platforms")["name"][numbers]
    assert list(table["platform"][:3]) == [str(name) for name in names]
