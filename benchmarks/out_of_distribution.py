"""Does an amortized analysis notice when it is out of its depth, and does falling back help?

A Lorenz-96 analysis is trained for some minutes and its monitor calibrated on cycles of the twin it
was trained on. Then faults are planted at a random moment of other twins: the nature run's forcing
goes from 8 to 10, all observations are biased by one standard deviation, their error variance is
twice or half of what is said, the network is stuck at its last report, two variables are swapped.
Counted are the trials in which the monitor speaks within 20 cycles, the false alarms of twins
without a fault, and the RMSE over the shifted period of the guarded analysis, of the analysis
alone, and of the classical filter that is its fallback.

    python benchmarks/out_of_distribution.py --minutes 5
    python benchmarks/cycled.py --settings lorenz96 --minutes 15 --weights build/weights
    python benchmarks/out_of_distribution.py --weights build/weights
"""

import argparse
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from twins.learning import restored, trained
from twins.settings import SETTINGS

from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
from vardax_core.analysis.variational.covariance import DenseCovariance
from vardax_core.analysis.variational.optimal_interpolation import OptimalInterpolation
from vardax_core.cycling.guard import Guard
from vardax_core.cycling.keys import cycle_keys
from vardax_core.cycling.passed import CycleInput
from vardax_core.cycling.trust import CHECKS
from vardax_core.methods.priors import free_run_climatology
from vardax_core.models.lorenz96 import Lorenz96, Lorenz96Settings
from vardax_core.observations.operators import Identity
from vardax_core.training.trusted_cycles import calibrated_monitor
from vardax_core.training.twin_cycles import TwinPlan, climate_range, twin_program
from vardax_core.types import Observations

SETTING = SETTINGS["lorenz96"]
N = SETTING.model.state_shape[0]
SPIN_UP, WITHIN, SHIFTED = 200, 20, 100
FAULTS = ("forcing 8 to 10", "bias 1 sd", "R x 2", "R / 2", "stuck network", "swapped variables")
NO_FAULT = -1
DETECTED, FALSE_ALARMS, RMSE_RATIO = 0.95, 0.01, 1.10
"""Least share of trials, probability of an alarm in 1000 cycles, and largest ratio of RMSEs."""


def twin(key, cycles, fault):
    """Truths, observations and starts; the fault begins after `SPIN_UP` to `SPIN_UP + 50` cycles.

    Arguments:
        key: of this trial.
        cycles: length.
        fault: number of one of `FAULTS`, or `NO_FAULT`.

    Returns:
        Truths and values of every cycle, the start, and the first cycle of the fault.
    """
    k_start, k_when, k_noise, k_pair = jax.random.split(key, 4)
    now = jnp.zeros((), jnp.int32)
    start = 8.0 + jax.random.normal(k_start, (N,))
    start = jax.lax.fori_loop(0, 1000, lambda i, x: SETTING.model.step(x, now, key=k_start), start)
    when = SPIN_UP + jax.random.randint(k_when, (), 0, 50)
    other = Lorenz96(forcing=10.0)

    def step(x, t):
        shifted = (fault == FAULTS.index("forcing 8 to 10")) & (t >= when)
        usual = SETTING.model.step(x, now, key=k_start)
        x = jnp.where(shifted, other.step(x, now, key=k_start), usual)
        return x, x

    times = jnp.arange(cycles)
    truth = jax.lax.scan(step, start, times)[1]
    noise = jax.random.normal(k_noise, truth.shape)
    values = truth + noise
    first, second = jax.random.choice(k_pair, N, (2,), replace=False)
    order = jnp.arange(N).at[first].set(second).at[second].set(first)
    reports = {
        "forcing 8 to 10": values,
        "bias 1 sd": values + 1.0,
        "R x 2": truth + 2**0.5 * noise,
        "R / 2": truth + 0.5**0.5 * noise,
        "stuck network": jnp.broadcast_to(values[when - 1], values.shape),
        "swapped variables": values[:, order],
    }
    faulty = jnp.stack([reports[name] for name in FAULTS])[fault]
    spoiled = (times >= when) & (fault != NO_FAULT)
    return truth, jnp.where(spoiled[:, None], faulty, values), start, when


def cycles_of(program, truth, values, start, key):
    """RMSE, score and method of every cycle of one stream."""
    k_start, k_cycle = jax.random.split(key)
    ensemble = start + jax.random.normal(k_start, (SETTING.members, N))
    state = program.initial_state(ensemble, jnp.zeros((), jnp.int32))

    def body(state, row):
        true, value = row
        one = jnp.ones((1, N))
        window = Observations(value[None], one > 0, one, state.time[None] + program.interval)
        given = CycleInput(window, jnp.zeros(N, jnp.int32), true, jnp.asarray(True))
        state, output = program.run(state, given, keys=cycle_keys(k_cycle, state.cycle))
        return state, (output.statistics["rmse"], output.trust_score, output.method)

    return jax.lax.scan(body, state, (truth, values))[1]


@partial(jax.jit, static_argnames="cycles")
def trials(program, keys, cycles, fault=NO_FAULT):
    """All trials side by side."""

    def one(key):
        truth, values, start, when = twin(jax.random.fold_in(key, 0), cycles, fault)
        return cycles_of(program, truth, values, start, jax.random.fold_in(key, 1)), when

    return jax.vmap(one)(keys)


def after(series, when):
    """The `SHIFTED` cycles of every trial from the fault on."""
    return np.stack([row[w : w + SHIFTED] for row, w in zip(series, when, strict=True)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="few trials of the filter itself, under a minute"
    )
    parser.add_argument("--minutes", type=float, default=5.0, help="training time")
    parser.add_argument("--steps", type=int, default=3000, help="used if --minutes is 0")
    parser.add_argument("--weights", type=Path, help="folder where cycled.py left trained weights")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--nominal-streams", type=int, default=64)
    parser.add_argument("--nominal-cycles", type=int, default=2000, help="for the threshold")
    parser.add_argument("--quiet-cycles", type=int, default=1000, help="for the false alarms")
    options = parser.parse_args()
    if options.quick:
        options.trials = 8
        options.nominal_streams, options.nominal_cycles, options.quiet_cycles = 8, 400, 100
    key = jax.random.key(5)

    def say(total):
        def each(done, loss, rmse):
            if done % 500 == 0:
                print(f"step {done} of {total}, rmse.a {rmse:.4f}", file=sys.stderr, flush=True)

        return each

    operator = Identity((N,))
    filter_step = FiniteSizeETKF(operator, certainty=2.0)
    if options.quick:
        step, training = filter_step, {}
    elif options.weights:
        step, training = restored(SETTING, options.weights / "lorenz96.eqx"), {}
    else:
        step, training = trained(SETTING, options.minutes, options.steps, key=key, say=say)
    possible = climate_range(SETTING.centre, SETTING.scale)
    alone = twin_program(SETTING.model, step, valid_range=possible)
    size = TwinPlan(
        streams=options.nominal_streams, cycles=options.nominal_cycles, members=SETTING.members
    )
    monitor = calibrated_monitor(
        step,
        SETTING.model,
        SETTING.observing,
        jnp.full((N,), 8.0),
        size,
        false_alarms=FALSE_ALARMS,
        valid_range=possible,
        key=jax.random.fold_in(key, 2),
    )
    climatology = free_run_climatology(Lorenz96Settings(), SETTING.model.interval)
    root = climatology.square_root
    interpolation = OptimalInterpolation(operator, DenseCovariance.from_matrix(root @ root.T, (N,)))
    guarded = replace(alone, guard=Guard(monitor, (filter_step, interpolation)))
    classical = replace(alone, step=filter_step)

    keys = jax.random.split(jax.random.fold_in(key, 3), options.trials)
    (_, score, _), _ = trials(guarded, keys, SPIN_UP + options.quiet_cycles)
    alarms = np.asarray(score)[:, SPIN_UP:] > float(monitor.threshold)
    quiet_cycles = alarms.shape[1]
    # The share of quiet runs, carried over to runs of 1000 cycles.
    false_alarms = 1 - (1 - alarms.any(axis=1).mean()) ** (1000 / quiet_cycles)
    threshold = float(monitor.threshold)
    steps, minutes = training.get("steps", 0), training.get("training_minutes", 0.0)
    print(f"trained {steps} steps in {minutes:.1f} min, threshold {threshold:.2f} sd")
    print(f"false alarms in 1000 cycles: {false_alarms:.3f} ({options.trials} quiet runs)")
    print(f"{'fault':20}{'seen':>7}{'median cycles':>15}{'guarded':>9}{'alone':>8}{'filter':>8}")
    rows, bars = {}, []
    for number, fault in enumerate(FAULTS):
        keys = jax.random.split(jax.random.fold_in(key, 10 + number), options.trials)
        length = SPIN_UP + 50 + SHIFTED
        (rmse, score, method), when = trials(guarded, keys, length, number)
        when = np.asarray(when)
        spoke = after(np.asarray(score), when) > threshold
        delay = np.where(spoke.any(axis=1), spoke.argmax(axis=1) + 1, np.inf)
        seen = float(np.mean(delay <= WITHIN))
        errors = {
            "guarded": rmse,
            "alone": trials(alone, keys, length, number)[0][0],
            "filter": trials(classical, keys, length, number)[0][0],
        }
        errors = {k: float(after(np.asarray(v), when).mean()) for k, v in errors.items()}
        fallen_back = float((after(np.asarray(method), when) > 0).mean())
        median = float(np.median(delay))
        rows[fault] = {"seen": seen, "median_delay": median, "fallen_back": fallen_back, **errors}
        print(
            f"{fault:20}{seen:>7.3f}{median:>15g}{errors['guarded']:>9.3f}"
            f"{errors['alone']:>8.3f}{errors['filter']:>8.3f}",
            flush=True,
        )
        ratio = errors["guarded"] / errors["filter"]
        bars.append((f"{fault}: seen within {WITHIN} cycles", seen, DETECTED, seen >= DETECTED))
        bars.append((f"{fault}: RMSE / the filter's", ratio, RMSE_RATIO, ratio <= RMSE_RATIO))
    bars.append(
        (
            "false alarms in 1000 cycles",
            float(false_alarms),
            FALSE_ALARMS,
            bool(false_alarms <= FALSE_ALARMS),
        )
    )
    figures = {
        "rows": rows,
        "threshold": threshold,
        "checks": CHECKS,
        "trials": options.trials,
        "quiet_cycles": quiet_cycles,
        "training_minutes": minutes,
        "device": jax.devices()[0].device_kind,
    }
    found = [
        {"name": name, "value": round(value, 4), "bar": bar, "pass": bool(passed)}
        for name, value, bar, passed in bars
    ]
    print(json.dumps({"name": "out_of_distribution", "figures": figures, "bars": found}))


if __name__ == "__main__":
    main()
