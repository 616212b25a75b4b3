"""A network corrects the interpolation of real observations, from files to gates and cycles."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.experiments import reported
from vardax_core.analysis.amortized.record_network import RecordNetwork
from vardax_core.analysis.amortized.record_step import CorrectedInterpolation
from vardax_core.data import ingest
from vardax_core.data.withholding import chance
from vardax_core.experiments.assimilate import Assimilation, pending_cycles
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import default_settings, lack_of, usual_methods
from vardax_core.experiments.validation import prepare_proven, trained, validate
from vardax_core.methods.base import TrainingSettings
from vardax_core.training.promotion import UnprovenModelError, promote
from vardax_core.training.record_set import LeakError

pytestmark = pytest.mark.slow

STEPS = 40


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("amortized-reported")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in reported.write_all(folder).items():
            patch.setenv(name, value)
        yield folder


def experiment(root, method="amortized"):
    recipe = reported.recipe()
    settings = default_settings(recipe, method)
    if method == "amortized":
        settings = settings.model_copy(update={"training": TrainingSettings(steps=STEPS)})
    return Experiment(recipe, settings, root)


@pytest.fixture(scope="module")
def made(place):
    one = experiment(place / "root")
    one.train(one.training_run(), lambda *_: None)
    return one


def cycled_store(made, stores=None):
    """A store with observations, ready to be cycled."""
    ingested = ingest(made.recipe, partly=True)
    placed = dataclasses.replace(made, stores=None if stores is None else str(stores))
    store = placed.create_store(ingested)
    placed.append_observations(store, ingested)
    return store


def cycled(made, prepared=None, network=None, stores=None):
    """All analyses of an experiment, if need be with another network."""
    store = cycled_store(made, stores)
    prepared = prepared or made.prepare(store)
    if network is not None:
        program = eqx.tree_at(lambda p: p.step.network, prepared.program, network)
        prepared = dataclasses.replace(prepared, program=program)
    for _ in Assimilation(made, store, prepared).run(pending_cycles(made, store)):
        pass
    return store.dataset("analysis")["sst"].load().to_numpy()


def test_it_is_chosen_by_name_and_not_by_default():
    recipe = reported.recipe()
    assert lack_of(recipe, "amortized") is None
    assert "amortized" not in usual_methods(recipe)


def test_training_records_what_siblings_were_worth_on_days_that_they_did_not_see(made):
    version = trained(made)
    notes, found = (version.manifest["metadata"][name] for name in ("notes", "held_out"))
    assert 0.8 < found["gain"] < 1.3
    assert found["low"] <= found["gain"] <= found["high"]
    assert found["number"] > 500
    assert found["kept"] == (found["high"] <= 1 and 0.9 <= found["spread_over_rmse"] <= 1.1)
    assert ("the network corrects" if found["kept"] else "the interpolation is kept") in notes[-1]


def test_weights_are_gated_before_they_cycle(made):
    with pytest.raises(UnprovenModelError, match="has no gate report"):
        prepare_proven(made, made.create_store(ingest(made.recipe, partly=True)))
    report = validate(made)
    kept = json.loads(report.path.read_text())
    assert report.passed
    assert "withheld observations of held-out days" in kept["provenance"]["trial"]
    assert kept["gates"][0]["name"] == "skill"
    promote(made.registry, trained(made))
    prepare_proven(made, made.open_store())


def test_a_network_that_says_nothing_cycles_as_the_interpolation(made, place):
    """They are two programs, whose last bit the compiler may round another way."""
    other = experiment(place / "root", "interpolation")
    other.train(other.training_run(), lambda *_: None)
    plain = cycled(other)
    prepared = made.prepare(cycled_store(made, place / "first"))
    # After so short a training it may be the interpolation alone that is kept.
    first, shape = prepared.program.step, prepared.climatology.state_shape
    if isinstance(first, CorrectedInterpolation):
        first = first.first
    silent = jax.tree.map(jnp.zeros_like, RecordNetwork(key=jax.random.key(0)))
    step = CorrectedInterpolation(first=first, network=silent, place=jnp.zeros(shape, jnp.float32))
    program = dataclasses.replace(prepared.program, step=step)
    prepared = dataclasses.replace(prepared, program=program)
    same = cycled(made, prepared, silent, place / "silent")
    np.testing.assert_allclose(same, plain, rtol=2 * np.finfo(np.float32).eps)
    matrix, bias = silent.layers[-1]
    wider = eqx.tree_at(lambda n: n.layers[-1], silent, (matrix, bias.at[0].set(0.5)))
    wide = cycled(made, prepared, wider, place / "wide")
    np.testing.assert_allclose(wide.mean(axis=1), plain.mean(axis=1), atol=1e-3)
    assert np.nanmean(wide.std(axis=1)) > 1.1 * np.nanmean(plain.std(axis=1))


@pytest.mark.parametrize("copied", [True, False])
def test_a_copy_of_a_withheld_platform_under_another_name_is_found(tmp_path, copied):
    names = [f"b{number:02d}" for number in range(48)]
    hidden = next(name for name in names if chance(1, name) < 0.2)
    other = next(name for name in ("x", "y", "z", "u", "v") if chance(1, name) >= 0.2)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in reported.write_all(tmp_path).items():
            patch.setenv(name, value)
        path = tmp_path / "data" / "buoys-1.csv"
        rows = path.read_text().splitlines()
        if copied:
            rows += [row.replace(hidden, other) for row in rows if row.startswith(f"{hidden},")]
            path.write_text("\n".join(rows) + "\n")
        one = experiment(tmp_path / "root")
        period = one.training_run()
        if not copied:
            assert period.copies == ()
            return
        with pytest.raises(LeakError, match=f"of drifters/{hidden}, which .* as drifters/{other}"):
            one.train(period, lambda *_: None)
