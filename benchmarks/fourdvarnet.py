"""FourDVarNet1D against weak-constraint 4D-Var on Lorenz-96 windows that neither was tuned on.

Windows of 20 observation times with half of the variables observed, a new half each time, and
unit errors. 4D-Var knows the model and starts from the climatology; the network knows neither and
learns both with `fit`. There are three nature runs: one for the climatology and the training, one
on whose windows 4D-Var's model error Q is chosen, and one whose windows are scored. The network's
settings are defaults; nothing is chosen on the scored windows.

    python benchmarks/fourdvarnet.py --quick
    python benchmarks/fourdvarnet.py --minutes 15
"""

import argparse
import json
import time
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from vardax_core.analysis.variational.covariance import DenseCovariance
from vardax_core.analysis.variational.four_dvar_net import FourDVarNet1D, window_posterior
from vardax_core.analysis.variational.minimisers import MinimiserEnd, QuasiNewton
from vardax_core.analysis.variational.weak_four_dvar import WeakFourDVar
from vardax_core.models.lorenz96 import Lorenz96
from vardax_core.observations.operators import Identity
from vardax_core.training.dynamics import learn_dynamics
from vardax_core.training.fit import FitSettings, fit
from vardax_core.training.preparation import standardised
from vardax_core.training.sources import SimulatorSource
from vardax_core.types import Batch1D, Observations

ROWS, POINTS, SPIN_UP = 20, 40, 400
MODEL = Lorenz96()
MODEL_ERRORS = (1e-3, 1e-2, 3e-2, 1e-1)
"""Variances of the model error between two rows from which weak 4D-Var's Q is chosen."""
CHUNK = 8
"""Windows of one compiled call; weak 4D-Var takes them one after another, which is its fastest."""
LOOKS = 10
"""Looks at the validation loss in a training."""


@partial(jax.jit, static_argnums=0)
def nature_run(n_steps, key):
    """A trajectory on the attractor."""
    start_key, run_key = jax.random.split(key)
    start = 8.0 + jax.random.normal(start_key, (POINTS,))
    time = jnp.asarray(0, jnp.int32)
    return MODEL.trajectory(start, time, SPIN_UP + n_steps, key=run_key)[SPIN_UP:]


def observed(states, key):
    """Windows with noisy values of a random half of the variables at every row."""
    noise_key, mask_key = jax.random.split(key)
    values = states + jax.random.normal(noise_key, states.shape, states.dtype)
    order = jnp.argsort(jax.random.uniform(mask_key, states.shape), axis=-1)
    mask = (jnp.argsort(order, axis=-1) < POINTS // 2).astype(states.dtype)
    return Batch1D(values * mask, mask, states)


def windows_of(n, key):
    """`n` observed windows of a nature run of their own, a window's length apart."""
    run_key, observe_key = jax.random.split(key)
    run = nature_run(n * 2 * ROWS, run_key)
    return observed(run.reshape(n, 2 * ROWS, POINTS)[:, :ROWS], observe_key)


def draw(key, run, n):
    """`n` observed windows from anywhere in a run."""
    place_key, observe_key = jax.random.split(key)
    places = jax.random.randint(place_key, (n,), 0, run.shape[0] - ROWS)
    states = jax.vmap(lambda i: jax.lax.dynamic_slice_in_dim(run, i, ROWS))(places)
    return observed(states, observe_key)


def settings_for(n_steps, check_every, options):
    return FitSettings(
        n_steps=n_steps,
        check_every=check_every,
        learning_rate=options.learning_rate,
        warm_up=0.1,
        clip=1e3,
        ema=0.995,
        patience=None,
    )


def train(run, options, key):
    """The posterior of whole windows, trained for a number of steps or of minutes."""
    keys = jax.random.split(key, 7)
    split = run.shape[0] * 9 // 10
    network = FourDVarNet1D(
        ROWS,
        hidden=options.hidden,
        iterations=options.iterations,
        products=options.products,
        key=keys[0],
    )
    posterior = window_posterior(network, (POINTS,), key=keys[1])
    sample = draw(keys[2], run[:split], 512)
    posterior = standardised(posterior, sample, per="all")
    posterior, error = learn_dynamics(posterior, sample.target, key=keys[6])
    print(f"dynamics learned: error of one row {float(error):.4f} of the climatological sd")
    source = SimulatorSource(partial(draw, run=run[:split], n=options.batch), keys[3])
    validation = draw(keys[4], run[split:], 64)
    n_steps = options.steps
    if options.minutes:
        moments = []
        settings = settings_for(60, 20, options)
        note = lambda *_: moments.append(time.perf_counter())  # noqa: E731
        fit(posterior, source, validation, settings=settings, key=keys[5], on_check=note)
        n_steps = int(60 * options.minutes / ((moments[2] - moments[0]) / 40))
    look = max(1, n_steps // LOOKS)

    def report(step, training, validation):
        print(f"step {step:7}  loss {training:9.2f}  validation {validation:9.2f}", flush=True)

    begin = time.perf_counter()
    result = fit(
        posterior,
        source,
        validation,
        settings=settings_for(look * LOOKS, look, options),
        key=keys[5],
        on_check=report,
    )
    return result, time.perf_counter() - begin


def weak_four_dvar(run):
    """From Q's variance and one window to its states and whether the minimisation converged."""
    climate = jnp.mean(run, axis=0)
    covariance = DenseCovariance.from_matrix(jnp.cov(run.T), (POINTS,))
    identity = jnp.eye(POINTS)

    def analyse(variance, values, mask):
        step = WeakFourDVar(
            Identity((POINTS,)),
            MODEL,
            covariance,
            DenseCovariance(variance * identity, jnp.sqrt(variance) * identity, (POINTS,)),
            minimiser=QuasiNewton(tolerance=1e-3, max_iterations=400),
        )
        times = MODEL.interval * jnp.arange(ROWS, dtype=jnp.int32)
        window = Observations(values, mask > 0, jnp.ones_like(values), times)
        states, minimum = step.window(climate[None], window, key=jax.random.key(0))
        return states, minimum.end == int(MinimiserEnd.CONVERGED)

    return eqx.filter_jit(
        lambda variance, values, mask: jax.lax.map(
            lambda row: analyse(variance, *row), (values, mask)
        )
    )


def in_chunks(function, batch):
    """The results of all windows, one after another, and the seconds of one."""
    n = batch.input.shape[0]
    begin = time.perf_counter()
    parts = [
        jax.block_until_ready(function(batch.input[i : i + CHUNK], batch.mask[i : i + CHUNK]))
        for i in range(0, n, CHUNK)
    ]
    seconds = time.perf_counter() - begin
    return jax.tree.map(lambda *a: np.concatenate(a), *parts), seconds / n


def last_rmse(states, batch):
    """Mean over windows of the RMSE at the last row."""
    error = np.asarray(states)[:, -1] - np.asarray(batch.target)[:, -1]
    return float(np.mean(np.sqrt(np.mean(error**2, axis=-1))))


def window_rmse(states, batch):
    """Mean over windows of the RMSE over all rows."""
    error = np.asarray(states) - np.asarray(batch.target)
    return float(np.mean(np.sqrt(np.mean(error**2, axis=(1, 2)))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short training, few windows")
    parser.add_argument("--minutes", type=float, default=0.0, help="training time")
    parser.add_argument("--steps", type=int, default=8000, help="used if no minutes are given")
    parser.add_argument("--windows", type=int, default=200, help="scored, and as many to select")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-3)
    parser.add_argument("--hidden", type=int, default=48)
    parser.add_argument("--products", type=int, default=1, help="bilinear terms of the dynamics")
    parser.add_argument("--iterations", type=int, default=20)
    options = parser.parse_args()
    run_steps = 60000
    if options.quick:
        options.minutes, options.steps, options.windows, run_steps = 0.0, 30, CHUNK, 5000
        options.batch = 16
    n_windows = max(1, options.windows // CHUNK) * CHUNK

    run_key, train_key, select_key, score_key = jax.random.split(jax.random.key(1), 4)
    run = nature_run(run_steps, run_key)
    select, score = windows_of(n_windows, select_key), windows_of(n_windows, score_key)

    result, training = train(run, options, train_key)
    weights, static = eqx.partition(result.posterior, eqx.is_array)

    @jax.jit
    def reconstruct(values, mask):
        return eqx.combine(weights, static)(Batch1D(values, mask))

    variational = weak_four_dvar(run)
    chosen = {
        q: last_rmse(in_chunks(partial(variational, jnp.asarray(q)), select)[0][0], select)
        for q in MODEL_ERRORS
    }
    best = min(chosen, key=chosen.get)
    (states, converged), variational_seconds = in_chunks(
        partial(variational, jnp.asarray(best)), score
    )
    in_chunks(reconstruct, score)
    found, network_seconds = in_chunks(reconstruct, score)

    figures = {
        "device": jax.devices()[0].device_kind,
        "scored_windows": n_windows,
        "training_s": training,
        "training_steps": result.steps[-1],
        "network_rmse": last_rmse(found, score),
        "network_rmse_window": window_rmse(found, score),
        "network_ms": 1e3 * network_seconds,
        "weak_4dvar_rmse": last_rmse(states, score),
        "weak_4dvar_rmse_window": window_rmse(states, score),
        "weak_4dvar_ms": 1e3 * variational_seconds,
        "weak_4dvar_q": best,
        "weak_4dvar_not_converged": float(np.mean(~converged)),
        "selection_rmse_of_q": {str(q): rmse for q, rmse in chosen.items()},
    }
    print("\nRMSE of held-out windows, at the last row and over the window")
    for name, value in figures.items():
        print(f"{name:26} {round(value, 4) if isinstance(value, float) else value}")
    ratios = {
        "RMSE of the window over weak 4D-Var's": (
            figures["network_rmse_window"] / figures["weak_4dvar_rmse_window"],
            1.0,
        ),
        "RMSE of the last row over weak 4D-Var's": (
            figures["network_rmse"] / figures["weak_4dvar_rmse"],
            1.0,
        ),
        "time over weak 4D-Var's": (network_seconds / variational_seconds, 0.05),
    }
    bars = [
        {"name": name, "value": value, "bar": bar, "pass": value < bar}
        for name, (value, bar) in ratios.items()
    ]
    print(json.dumps({"name": "fourdvarnet", "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
