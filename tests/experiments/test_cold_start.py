"""The twin's ensemble filter finds the truth from a climatological start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.methods.filters import finite_size_filter
from vardax_core.methods.priors import free_run_climatology
from vardax_core.models.lorenz96 import Lorenz96, Lorenz96Settings
from vardax_core.observations.operators import Identity
from vardax_core.types import Observations

CYCLES, MEMBERS, RUNS = 300, 24, 8


@pytest.mark.slow
def test_every_cold_start_settles():
    """Settled runs stay near 0.18, lost ones near the climatological 3.6: 1 tells them apart."""
    model, operator = Lorenz96(), Identity((40,))
    step, climatology = (
        finite_size_filter(operator),
        free_run_climatology(Lorenz96Settings(), 360),
    )

    def drawn(key, n):
        draws = jax.random.normal(key, (n, 40), jnp.float32)
        return climatology.mean + draws @ climatology.square_root.T

    def cycle(state, key):
        truth, ensemble = state
        noise_key, step_key, model_key = jax.random.split(key, 3)
        start = jnp.zeros((), jnp.int32)
        truth = model.step(truth, start, key=model_key)
        ensemble = model.forecast(ensemble, start, key=model_key)
        window = Observations(
            values=(truth + jax.random.normal(noise_key, (40,), truth.dtype))[None],
            mask=jnp.ones((1, 40), bool),
            error_sd=jnp.ones((1, 40), truth.dtype),
            times=jnp.zeros(1, jnp.int32),
        )
        analysis = step(ensemble, window, key=step_key)
        error = jnp.sqrt(jnp.mean((analysis.mean - truth) ** 2))
        return (truth, analysis.ensemble), error

    @jax.jit
    def run(key):
        start_key, member_key, cycle_key = jax.random.split(key, 3)
        state = (drawn(start_key, 1)[0], drawn(member_key, MEMBERS))
        return jax.lax.scan(cycle, state, jax.random.split(cycle_key, CYCLES))[1]

    errors = np.stack([run(key) for key in jax.random.split(jax.random.key(3), RUNS)])
    assert errors[:, -50:].mean(axis=1).max() < 1.0
