"""The floating-point types of a cycle: of all of it, or of its network alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import ValidationError

from tests.experiments import small
from vardax_core.analysis.amortized.field_network import FieldNetwork
from vardax_core.analysis.amortized.ring_network import BLOCK, RingNetwork
from vardax_core.experiments import validation
from vardax_core.experiments.assimilate import Assimilation, pending_cycles
from vardax_core.experiments.prepared import PrecisionError
from vardax_core.experiments.settings import ExperimentSettings


@pytest.mark.slow
def test_a_cycle_in_double_precision_is_one_from_end_to_end(tmp_path, observed):
    made = small.experiment_of(tmp_path, "etkf", precision="float64")
    store = small.ingested_store(made, observed)
    prepared = made.prepare(store)
    assert prepared.climatology.mean.dtype == jnp.float64
    times = pending_cycles(made, store)[:4]
    for _ in Assimilation(made, store, prepared).run(times):
        pass
    assert store.path.name == "etkf-float64"
    fields = store.dataset("analysis")["x"].values
    np.testing.assert_array_equal(store.state()["ensemble"], fields[-1])
    for values in (fields, store.dataset("innovations")["background_departure"].values):
        assert values.dtype == np.float64
        assert np.isfinite(values).all()
        # Nothing on the way was rounded to single precision.
        assert (values != values.astype(np.float32)).mean() > 0.99


def test_a_precision_that_jax_has_not_switched_on_is_refused(tmp_path, observed):
    made = small.experiment_of(tmp_path, "etkf", precision="float64")
    store = made.create_store(observed)
    with jax.enable_x64(False), pytest.raises(PrecisionError, match="jax_enable_x64"):
        made.prepare(store)


def with_weights(network, key):
    """The network with a last layer that says something."""
    leaves, structure = jax.tree.flatten(network)
    keys = jax.random.split(key, len(leaves))
    drawn = [
        jax.random.normal(k, w.shape, jnp.float32) * max(w.shape[0], 1) ** -0.5
        for k, w in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, drawn)


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (RingNetwork.create(5, 3, width=16, key=jax.random.key(0)), (12, 5)),
        (RingNetwork.create(5, 3, width=16, key=jax.random.key(0)), (BLOCK + 7, 5)),
        (FieldNetwork(5, 3, hidden=16, key=jax.random.key(0)), (5, 9, 11)),
    ],
    ids=["ring", "long ring", "field"],
)
def test_a_network_computes_in_the_type_of_its_weights(network, shape, key):
    network = with_weights(network, key)
    halved = jax.tree.map(lambda w: w.astype(jnp.bfloat16), network)
    x = jax.random.normal(jax.random.key(1), shape, jnp.float32)
    exact, found = network(x), halved(x)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, found.astype(jnp.bfloat16).astype(jnp.float32))
    error = float(jnp.linalg.norm(found - exact) / jnp.linalg.norm(exact))
    # Weights, inputs and each of some five layers are rounded by 2^-9 of themselves; sums keep
    # that share of their size, unless their terms cancel.
    assert 2**-11 < error < 10 * 2**-8


@pytest.mark.ladder
@pytest.mark.slow
def test_a_network_in_half_precision_cycles_and_is_proved_as_such(tmp_path, observed):
    made = small.experiment_of(tmp_path, "amortized", precision="bfloat16")
    usual = small.experiment_of(tmp_path, "amortized")
    made.train(None, lambda *_: None)
    assert usual.trained_version(None) is None
    store = small.ingested_store(made, observed)
    prepared = made.prepare(store)
    arrays = jax.tree.leaves(eqx.filter(prepared.program.step.network, eqx.is_array))
    assert {leaf.dtype for leaf in arrays} == {jnp.dtype(jnp.bfloat16)}
    assert prepared.climatology.mean.dtype == jnp.float32
    times = pending_cycles(made, store)[:4]
    for _ in Assimilation(made, store, prepared).run(times):
        pass
    assert store.path.name == "amortized-bfloat16"
    fields = store.dataset("analysis")["x"].values
    assert fields.dtype == np.float32
    assert np.isfinite(fields).all()
    report = validation.validate(made, twins=small.FEW_TWINS)
    assert report.path.parent.parent == validation.trained(made).path


def test_half_precision_without_a_network_is_refused(tmp_path, observed):
    with pytest.raises(ValidationError, match="bfloat16 is for the network"):
        ExperimentSettings(method="etkf", precision="bfloat16")
    made = small.experiment_of(tmp_path, "etkf")
    prepared = made.prepare(small.ingested_store(made, observed))
    with pytest.raises(PrecisionError, match="ETKF has none"):
        prepared.in_precision("bfloat16")
