"""What one amortized analysis costs, beside DAPPER's square-root EnKF, and as the state grows.

DAPPER's side is the time of one cycle of its EnKF with 24 members on Lorenz-96, forecast included,
on one thread of the same machine in the same run; ours is one analysis of 24 members, with the
finite-size ETKF as its first guess and without one, and for comparison a whole cycle. The weights
are not trained: a cost does not depend on their values. One set of them then analyses rings of 40
to 40960 variables.

    python benchmarks/analysis_cost.py --dapper-python /path/to/python
"""

import argparse
import json
import os
import sys

from dapper_tables import ONE_THREAD, run_dapper, timed

MEMBERS = 24
SIZES = (40, 160, 640, 2560, 10240, 40960)
SHARE_BAR, EXPONENT_BAR = 1 / 8, 1.1
DAPPER_NAME = "ETKF N=24"


def steps_of(size, network=None):
    """The amortized analysis with and without a first guess, the former with a given network."""
    import equinox as eqx
    import jax

    from vardax_core.analysis.amortized.local_transform import LocalTransformStep
    from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
    from vardax_core.observations.operators import Identity

    operator = Identity((size,))
    found = {}
    for name, guess in (("hybrid", FiniteSizeETKF(operator, certainty=2.0)), ("alone", None)):
        step = LocalTransformStep.create(
            operator, guess, centre=2.4, scale=3.6, key=jax.random.key(0)
        )
        found[name] = step
    if network is not None:
        found["hybrid"] = eqx.tree_at(lambda s: s.network, found["hybrid"], network)
    return found


def seconds_of(step, size, repeats, *, forecast=False):
    """Processor seconds of one analysis, of many in one compiled loop, as in a segment."""
    import jax
    import jax.numpy as jnp

    from vardax_core.models.lorenz96 import Lorenz96
    from vardax_core.types import Observations

    model = Lorenz96(state_shape=(size,))
    now = jnp.zeros((1,), jnp.int32)
    k_truth, k_members, k_values = jax.random.split(jax.random.key(1), 3)
    truth = 2.4 + 3.6 * jax.random.normal(k_truth, (size,))
    ensemble = truth + 0.4 * jax.random.normal(k_members, (MEMBERS, size))
    values = truth + jax.random.normal(k_values, (repeats, size))

    @jax.jit
    def run(ensemble, values):
        def body(background, row):
            value, number = row
            key = jax.random.fold_in(jax.random.key(2), number)
            if forecast:
                background = model.forecast(background, now[0], key=key)
            one = jnp.ones((1, size), background.dtype)
            given = Observations(value[None], one > 0, one, now)
            analysis = step(background, given, key=key)
            # The next analysis has other members to work on, of about the same spread.
            members = analysis.ensemble if forecast else jnp.roll(background, 1, axis=1)
            return members, jnp.mean(analysis.ensemble)

        return jax.lax.scan(body, ensemble, (values, jnp.arange(repeats)))[1]

    _, seconds, _ = timed(run, ensemble, values)
    return seconds / repeats


def exponent(sizes, seconds):
    """Slope of log time over log size."""
    import numpy as np

    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few repeats, small states")
    parser.add_argument("--dapper-python", default=sys.executable, help="python with DAPPER")
    parser.add_argument("--cycles", type=int, default=4000)
    options = parser.parse_args()
    if any(os.environ.get(n) != v for n, v in ONE_THREAD.items() if n != "JAX_ENABLE_X64"):
        single = {**os.environ, **ONE_THREAD, "JAX_ENABLE_X64": "0"}
        os.execve(sys.executable, [sys.executable, *sys.argv], single)
    cycles = 200 if options.quick else options.cycles
    sizes = SIZES[:4] if options.quick else SIZES
    dapper = run_dapper(
        options.dapper_python, "lorenz96", cycles, cycles // 4, (DAPPER_NAME,), quick=options.quick
    )
    reference = float(dapper[DAPPER_NAME][2]) if DAPPER_NAME in dapper else None
    steps = steps_of(sizes[0])
    network = steps["hybrid"].network
    once = {name: seconds_of(step, sizes[0], cycles) for name, step in steps.items()}
    once["hybrid, with the forecast"] = seconds_of(steps["hybrid"], sizes[0], cycles, forecast=True)
    print(f"one thread, float32, {MEMBERS} members, {sizes[0]} variables")
    if reference is not None:
        print(f"{'DAPPER ' + DAPPER_NAME + ', cycle':34}{1e6 * reference:>10.1f} us")
    for name, seconds in once.items():
        part = "" if reference is None else f"  1/{reference / seconds:.1f} of it"
        print(f"{'amortized, ' + name:34}{1e6 * seconds:>10.1f} us{part}")
    print(f"\n{'variables':>10}{'us an analysis':>16}{'ns a variable':>15}")
    growth = []
    for size in sizes:
        repeats = max(4, min(cycles, 2_000_000 // size))
        seconds = seconds_of(steps_of(size, network)["hybrid"], size, repeats)
        growth.append(seconds)
        print(f"{size:>10}{1e6 * seconds:>16.1f}{1e9 * seconds / size:>15.1f}")
    slope = exponent(sizes, growth)
    print(f"time grows with the size to the power of {slope:.3f}")
    bars = [
        {
            "name": "exponent of time over size",
            "value": round(slope, 4),
            "bar": EXPONENT_BAR,
            "pass": slope <= EXPONENT_BAR,
        }
    ]
    if reference is not None:
        share = once["hybrid"] / reference
        bars.append(
            {
                "name": "analysis over DAPPER's cycle",
                "value": round(share, 4),
                "bar": SHARE_BAR,
                "pass": share <= SHARE_BAR,
            }
        )
    figures = {
        "dapper_seconds": reference,
        "seconds": once,
        "sizes": dict(zip(sizes, growth, strict=True)),
    }
    print(json.dumps({"name": "analysis_cost", "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
