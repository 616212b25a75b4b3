"""FourDVarNet1D against weak-constraint 4D-Var on held-out Lorenz-96 windows.

Windows of 20 observation times with half of the variables observed, a new half each time, and
unit errors. 4D-Var knows the model and starts from the climatology; the network knows neither and
learns from windows of another part of the run.

    python benchmarks/fourdvarnet.py --quick
"""

import argparse
import json
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from vardax_core.analysis.variational.covariance import DenseCovariance
from vardax_core.analysis.variational.four_dvar_net import FourDVarNet1D
from vardax_core.analysis.variational.minimisers import QuasiNewton
from vardax_core.analysis.variational.weak_four_dvar import WeakFourDVar
from vardax_core.models.lorenz96 import Lorenz96
from vardax_core.observations.operators import Identity
from vardax_core.types import Observations

ROWS, POINTS, GAP = 20, 40, 400
MODEL = Lorenz96()


def nature_run(n_steps, key):
    start_key, run_key = jax.random.split(key)
    start = 8.0 + jax.random.normal(start_key, (POINTS,))
    run = jax.jit(lambda x: MODEL.trajectory(x, jnp.asarray(0, jnp.int32), n_steps, key=run_key))
    return run(start)[GAP:]


def observed(states, key):
    """Noisy values of a random half of the variables at every row."""
    noise_key, mask_key = jax.random.split(key)
    values = states + jax.random.normal(noise_key, states.shape, states.dtype)
    order = jnp.argsort(jax.random.uniform(mask_key, states.shape), axis=-1)
    mask = (jnp.argsort(order, axis=-1) < POINTS // 2).astype(states.dtype)
    return values * mask, mask


def train(network, run, n_steps, batch_size, key):
    """Adam on the mean square error over random windows of the run."""
    schedule = optax.cosine_onecycle_schedule(n_steps, 3e-3)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
    chunk = 50

    def loss(model, key):
        place_key, observe_key = jax.random.split(key)
        places = jax.random.randint(place_key, (batch_size,), 0, run.shape[0] - ROWS)
        windows = jax.vmap(lambda i: jax.lax.dynamic_slice_in_dim(run, i, ROWS))(places)
        values, mask = observed(windows, observe_key)
        return jnp.mean((jax.vmap(model)(values, mask) - windows) ** 2)

    @eqx.filter_jit
    def steps(model, state, keys):
        arrays, static = eqx.partition(model, eqx.is_inexact_array)

        def body(carry, key):
            arrays, state = carry
            value, gradient = jax.value_and_grad(lambda a: loss(eqx.combine(a, static), key))(
                arrays
            )
            updates, state = optimizer.update(gradient, state, arrays)
            return (optax.apply_updates(arrays, updates), state), value

        (arrays, state), values = jax.lax.scan(body, (arrays, state), keys)
        return eqx.combine(arrays, static), state, jnp.mean(values)

    state = optimizer.init(eqx.filter(network, eqx.is_inexact_array))
    for i, keys in enumerate(jax.random.split(key, (n_steps // chunk, chunk))):
        network, state, value = steps(network, state, keys)
        if (i + 1) % max(1, n_steps // chunk // 10) == 0:
            print(f"step {chunk * (i + 1):6}  training RMSE {float(value) ** 0.5:.3f}", flush=True)
    return network


def weak_four_dvar(run):
    """4D-Var from the climatology with the true model and a small error of it."""
    mean = jnp.mean(run, axis=0)
    covariance = DenseCovariance.from_matrix(jnp.cov(run.T), (POINTS,))
    step = WeakFourDVar(
        Identity((POINTS,)),
        MODEL,
        covariance,
        DenseCovariance.from_matrix(1e-3 * jnp.eye(POINTS), (POINTS,)),
        minimiser=QuasiNewton(tolerance=1e-4, max_iterations=200),
        n_modes=1,
    )

    def analyse(values, mask):
        observations = Observations(
            values, mask > 0, jnp.ones_like(values), MODEL.interval * jnp.arange(ROWS)
        )
        return step(mean[None], observations, key=jax.random.key(0)).mean

    return analyse


def timed(function, values, mask):
    """The results and the seconds of one window, one after another, compilation apart."""
    mapped = eqx.filter_jit(lambda v, m: jax.lax.map(lambda vm: function(*vm), (v, m)))
    jax.block_until_ready(mapped(values, mask))
    begin = time.perf_counter()
    result = jax.block_until_ready(mapped(values, mask))
    return result, (time.perf_counter() - begin) / len(values)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short training, few windows")
    parser.add_argument("--steps", type=int, default=6000, help="training steps")
    parser.add_argument("--hidden", type=int, default=48)
    parser.add_argument("--iterations", type=int, default=10)
    options = parser.parse_args()
    n_steps, n_windows = (100, 8) if options.quick else (options.steps, 200)

    keys = jax.random.split(jax.random.key(1), 5)
    run = nature_run(5000 if options.quick else 60000, keys[0])
    held_out = nature_run(GAP + n_windows * 2 * ROWS, keys[1])
    windows = held_out.reshape(n_windows, 2 * ROWS, POINTS)[:, :ROWS]
    values, mask = observed(windows, keys[2])

    network = FourDVarNet1D(
        ROWS,
        hidden=options.hidden,
        iterations=options.iterations,
        centre=float(jnp.mean(run)),
        scale=float(jnp.std(run)),
        key=keys[3],
    )
    begin = time.perf_counter()
    network = train(network, run, n_steps, 64, keys[4])
    training = time.perf_counter() - begin
    states, network_seconds = timed(network, values, mask)
    last, variational_seconds = timed(weak_four_dvar(run), values, mask)

    def rmse(estimate):
        return float(jnp.mean(jnp.sqrt(jnp.mean((estimate - windows[:, -1]) ** 2, axis=-1))))

    figures = {
        "device": jax.devices()[0].device_kind,
        "held_out_windows": n_windows,
        "training_s": training,
        "network_rmse": rmse(states[:, -1]),
        "network_rmse_window": float(jnp.sqrt(jnp.mean((states - windows) ** 2))),
        "network_ms": 1e3 * network_seconds,
        "weak_4dvar_rmse": rmse(last),
        "weak_4dvar_ms": 1e3 * variational_seconds,
    }
    print("\nRMSE at the last row of held-out windows")
    for name, value in figures.items():
        print(f"{name:22} {value if isinstance(value, str | int) else round(value, 4)}")
    ratio = figures["network_rmse"] / figures["weak_4dvar_rmse"]
    share = network_seconds / variational_seconds
    bars = [
        {"name": "RMSE over weak 4D-Var's", "value": ratio, "bar": 1.0, "pass": ratio < 1.0},
        {"name": "time over weak 4D-Var's", "value": share, "bar": 0.05, "pass": share < 0.05},
    ]
    print(json.dumps({"name": "fourdvarnet", "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
