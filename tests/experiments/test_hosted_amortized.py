"""The amortized analysis learns from the equations and is cycled with a model outside of vardax."""

import numpy as np
import pytest

from tests.experiments import hosted, small
from vardax_core.experiments.assimilate import Assimilation, pending_cycles


@pytest.mark.slow
def test_it_goes_on_where_a_member_fails_once_and_another_always(tmp_path, monkeypatch):
    small.shorten_training(monkeypatch.setattr)
    folder = hosted.write_model(tmp_path / "model", {"3": "once", "5": "always"})
    made = hosted.experiment_of(tmp_path / "root", hosted.recipe(folder), "amortized")
    made.train(made.training_run(), lambda *_: None)
    assert not (folder / "runs.txt").exists(), "it is trained within vardax"
    store = small.ingested_store(made)
    prepared = made.prepare(store)
    assert prepared.hosted
    assert prepared.versions.keys() == {"amortized"}
    reports = list(Assimilation(made, store, prepared).run(pending_cycles(made, store)))
    assert [report.cycles for report in reports] == [1, 1, 1]
    warnings = [warning for report in reports for warning in report.warnings]
    assert warnings
    assert all("member 5: it ended with exit status 1" in warning for warning in warnings)
    starts = [run.split() for run in hosted.runs(folder)]
    first = [member for start, member in starts if start == starts[0][0]]
    assert first.count("3") == 2
    assert set(first) == {str(member) for member in range(hosted.MEMBERS)}
    found = store.dataset("diagnostics").load()
    assert found["replaced_members"].values.tolist() == [1, 1, 1]
    analysis, background = (store.dataset(group).load() for group in ("analysis", "background"))
    assert np.isfinite(analysis["x"]).all()
    truth = store.dataset("nature_run")["x"].sel(time=analysis["time"])
    errors = [
        float(np.sqrt(np.mean((of["x"].mean("member") - truth) ** 2)))
        for of in (analysis, background)
    ]
    # From draws of the climate, with a standard deviation of 3.6, to three analyses.
    assert errors[0] < 0.8 * errors[1]
