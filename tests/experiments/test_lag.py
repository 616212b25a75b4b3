"""Smoothed analyses beside the cycle: what is stored, what it is worth, and that it resumes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.experiments import small
from vardax_core.calibration.detail import by_lead
from vardax_core.calibration.scores import compute_scores
from vardax_core.cycling.smoother import FixedLagSmoother
from vardax_core.experiments.assimilate import pending_cycles
from vardax_core.experiments.backfill import Backfill
from vardax_core.experiments.experiment import LagError
from vardax_core.experiments.stored_statistics import stored_statistics
from vardax_core.store import content_digest

pytestmark = pytest.mark.slow

LAG = 3


@pytest.fixture(autouse=True)
def short_segments(monkeypatch):
    small.shorten_segments(monkeypatch.setattr)


@pytest.fixture
def made(tmp_path):
    return small.experiment_of(tmp_path, "etkf", lag=LAG)


def filled(made, until=None):
    store = small.ingested_store(made)
    small.catch_up(made, store, until)
    return store


@pytest.fixture(scope="module")
def through(tmp_path_factory):
    """A chain that ran through, and its store."""
    with pytest.MonkeyPatch.context() as patch:
        small.shorten_segments(patch.setattr)
        made = small.experiment_of(tmp_path_factory.mktemp("through"), "etkf", lag=LAG)
        return made, filled(made)


def test_the_store_holds_what_the_smoother_makes_of_the_stored_ensembles(through):
    _, store = through
    background, analysis = (
        jnp.asarray(store.dataset(group)["x"].to_numpy()) for group in ("background", "analysis")
    )
    smoothed = store.dataset("smoothed")
    assert smoothed.attrs["lag"] == LAG
    assert smoothed.sizes["time"] == small.CYCLES
    smoother = FixedLagSmoother(LAG)
    history = smoother.init(analysis[0])
    update = jax.jit(smoother.update)
    for cycle in range(small.CYCLES):
        history = update(history, background[cycle], analysis[cycle])
        row = smoothed.isel(time=cycle)
        if cycle < LAG:
            assert row["x_mean"].isnull().all()
            assert row["x_spread"].isnull().all()
            continue
        # Single precision, and least squares whose condition is 1/ridge at most.
        expected = history[-1].mean(axis=0), history[-1].std(axis=0, ddof=1)
        np.testing.assert_allclose(row["x_mean"], expected[0], atol=1e-3)
        np.testing.assert_allclose(row["x_spread"], expected[1], atol=1e-3)


def test_the_filter_is_not_touched(through, tmp_path):
    """To rounding, which 30 cycles of another program amplify a thousand times and more."""
    made, store = through
    plain = small.experiment_of(tmp_path, "etkf")
    assert plain.name.endswith("/etkf")
    assert made.name.endswith(f"/etkf-lag-{LAG}")
    stores = store, filled(plain)
    analyses = [store.dataset("analysis")["x"].to_numpy() for store in stores]
    np.testing.assert_allclose(*analyses, atol=1e-2)
    assert "smoothed" not in {name for name, _ in stores[1].root().groups()}


def test_sums_are_those_of_the_stored_fields_and_reach_the_report(through):
    made, store = through
    truth = store.dataset("nature_run")["x"].to_numpy()
    smoothed = store.dataset("smoothed")["x_mean"].to_numpy()
    cycles = small.CYCLES
    errors = smoothed[LAG:] - truth[-cycles:][: cycles - LAG]
    rmse = np.sqrt(np.mean(errors**2, axis=1)).mean()
    statistics = stored_statistics(made.recipe, store.dataset("diagnostics").load())
    scores = compute_scores(statistics, key=jax.random.key(0), resamples=0)
    np.testing.assert_allclose(scores["smoothed_rmse"], rmse, rtol=1e-5)
    assert scores.values["smoothed_bias"].reason is None
    _, rows = by_lead(scores, "1")
    assert next(row[0] for row in rows) == "smoothed by later cycles"
    assert len(rows) == 3


@pytest.mark.slow
def test_an_interrupted_chain_ends_like_one_that_ran_through(made, through):
    cut = filled(made, "2000-01-03T12:00")
    small.catch_up(made, cut)
    assert content_digest(cut) == content_digest(through[1])


@pytest.mark.slow
def test_streams_are_smoothed_too(made):
    store = small.ingested_store(made)
    work = Backfill(
        made,
        store,
        made.prepare(store),
        pending_cycles(made, store),
        streams=2,
        overlap=LAG + 3,
    )
    branch = work.open_branch()
    for _ in work.run(branch, work.pending(branch), metadata={}):
        pass
    work.join(branch)
    smoothed = store.dataset("smoothed")["x_mean"].to_numpy()
    assert smoothed.shape[0] == small.CYCLES
    assert np.isfinite(smoothed[LAG:]).all()


@pytest.mark.parametrize("method", ["climatology", "oi"])
def test_members_drawn_anew_in_each_cycle_have_no_lag(tmp_path, method):
    with pytest.raises(LagError, match="choose one of them, or a lag of 0"):
        small.experiment_of(tmp_path, method, lag=LAG)
