"""A held experiment's runs end at once and say why; a run at work stops after its segment."""

import pytest

from flows import assimilate as assimilate_module
from flows.assimilate import assimilate
from flows.backfill import backfill
from flows.hold import hold, release
from flows.ingest import ingest
from flows.parameters import BackfillParameters, ExperimentParameters
from tests.experiments import small
from vardax_core.data.catalogue import datasets_dir
from vardax_core.store import StoreNotFoundError
from vardax_core.store.hold import hold as hold_store

pytestmark = [pytest.mark.flows, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def parameters(tmp_path, monkeypatch, prefect_api):
    folder = tmp_path / "datasets"
    small.write_recipe(folder)
    (folder / "lorenz96").symlink_to(datasets_dir() / "lorenz96")
    monkeypatch.setenv("VARDAX_DATASETS_DIR", str(folder))
    small.shorten_segments(monkeypatch.setattr)
    return ExperimentParameters.model_validate(
        {"dataset": "small", "method": "climatology", "root": tmp_path}
    )


def ends(flow, *arguments):
    state = flow(*arguments, return_state=True)
    assert state.is_completed()
    return state.name, state.message


def test_runs_end_at_once_until_the_release(parameters):
    name, message = ends(hold, parameters, "the disk is being replaced")
    assert name == "Completed"
    assert message.endswith("the disk is being replaced")
    for flow, arguments in (
        (assimilate, ()),
        (backfill, (BackfillParameters(streams=2, overlap=4),)),
    ):
        name, message = ends(flow, parameters, *arguments)
        assert name == "Held"
        assert message.startswith("held since")
        assert message.endswith("the disk is being replaced; `vardax release` lets it go on")
    with pytest.raises(StoreNotFoundError):  # not even the observations were fetched
        parameters.experiment().open_store()
    assert ends(release, parameters)[1].startswith("released; it was held since")
    assert ends(release, parameters)[1] == "was not held"
    assert ends(assimilate, parameters) == ("Completed", "30 cycles")


def test_a_run_at_work_stops_between_segments(parameters, monkeypatch):
    ingest(parameters)
    store = parameters.experiment().open_store()
    told = []

    def hold_at_the_first_commit(experiment, report):
        told.append(report.cycles)
        hold_store(experiment.store_location, "stop")

    monkeypatch.setattr(assimilate_module, "tell_commit", hold_at_the_first_commit)
    name, message = ends(assimilate, parameters)
    assert name == "Held"
    assert "stop" in message
    assert told == [small.SEGMENT]
    # The segment after it was being committed meanwhile, and no commit is left half done.
    assert store.tip().cycles in (small.SEGMENT, 2 * small.SEGMENT)
    release(parameters)
    ends(assimilate, parameters)
    assert store.tip().cycles == small.CYCLES


def test_a_backfill_goes_on_where_the_hold_stopped_it(parameters, monkeypatch):
    ingest(parameters)
    experiment = parameters.experiment()
    looks = iter([None, "held by a test"])
    monkeypatch.setattr("flows.backfill.hold_of", lambda _: next(looks, None))
    plan = BackfillParameters(streams=2, overlap=4)
    assert ends(backfill, parameters, plan) == ("Held", "held by a test")
    store = experiment.open_store()
    assert store.tip().cycles == 0
    assert len(store.branches.names()) == 1
    assert ends(backfill, parameters, plan) == ("Completed", "30 cycles in 2 streams")
    assert store.tip().cycles == small.CYCLES
