"""The watch over a running experiment: false alarms in a whole life, and how soon a fault is told.

Clean Lorenz-96 cycles of a finite-size ETKF are looked at in every cycle by the tests of
`vardax_core/monitoring/whole_life.py`. Then from a cycle on the spread that is stated is 20 % too
small, or one of two streams of observations has a bias of a quarter of its error's standard
deviation, which the filter assimilates. Then faults are put into single cycles of three
systems, see `benchmarks/watching/faults.py`: the guard of increments must stop all of them, and
next to nothing else; and half of the members are lost at random in each cycle. At last streams of
observations are withheld, see `benchmarks/watching/worth.py`.

    python benchmarks/watch.py
"""

import argparse
import json
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from twins.learning import program_of
from twins.settings import SETTINGS
from watching.faults import SYSTEMS, clean, cost, half_lost, stopped
from watching.worth import streams

from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
from vardax_core.calibration.anytime import Biased, shares, watch
from vardax_core.cycling.keys import cycle_keys
from vardax_core.cycling.marks import NAMES
from vardax_core.cycling.passed import CycleInput
from vardax_core.monitoring.whole_life import SPREAD, SPREAD_OF_ERRORS
from vardax_core.observations.operators import Identity
from vardax_core.observations.quality import QualityCode
from vardax_core.training.nature import Nature
from vardax_core.training.twin_cycles import twin_start
from vardax_core.types import Observations

SETTING = SETTINGS["lorenz96"]
STREAMS = 2
FALSE_ALARMS = 0.01
BURN_IN = 200
BIAS, TIGHT = 0.25, 0.8
SHARE_OF_RUNS, DELAY, DATE = 0.01, 50.0, 20.0
CLEAN = {"Lorenz-96": (8, 12500), "ERA5-like": (4, 500), "QG": (1, 2000)}
QUICK = {"Lorenz-96": (2, 300), "ERA5-like": (2, 150), "QG": (1, 60)}
"""Clean runs side by side, and cycles of each."""
DRAWS = 3
"""Cycles into which each fault is put."""
STOPS, COST = 1.0, 0.05
RATIO = (0.95, 1.05)
SIZES = (40, 80)
"""Members of which half are lost."""


@dataclass(frozen=True)
class Life:
    """What is tested of every run: series on (run, cycle), by streams where there is a third axis.

    Attributes:
        error, variance: squared error of the analysis mean, and its variance, over all points.
        mean, squared, expected: of the innovations of each stream: sum, sum of squares, and sum of
            predicted variances.
        count: observations of a stream.
    """

    error: np.ndarray
    variance: np.ndarray
    mean: np.ndarray
    squared: np.ndarray
    expected: np.ndarray
    count: int


def cycled(runs: int, cycles: int, *, bias_from: int | None, key) -> Life:
    """Cycle runs side by side; from a cycle on the observations of the last stream are biased."""
    n = SETTING.model.state_shape[0]
    operator = Identity((n,))
    program = program_of(SETTING, FiniteSizeETKF(operator, certainty=SETTING.certainty))
    sd = jnp.full((n,), SETTING.observing.typical_error)
    last = jnp.arange(n) % STREAMS == STREAMS - 1
    starts = cycles if bias_from is None else bias_from

    def one(k):
        k_start, k_cycle, k_error = jax.random.split(k, 3)
        near = SETTING.centre + jnp.zeros(n)
        truth, ensemble = twin_start(
            Nature(SETTING.model), near, SETTING.members, 2 * SETTING.nearness, 1000, key=k_start
        )

        def body(carry, number):
            truth, state = carry
            truth = SETTING.model.step(truth, state.time, key=k_start)
            error = sd * jax.random.normal(jax.random.fold_in(k_error, number), (n,))
            shift = jnp.where(last & (number >= starts), BIAS * sd, 0.0)
            window = Observations(
                (truth + error + shift)[None],
                jnp.ones((1, n), bool),
                sd[None],
                state.time[None] + program.interval,
            )
            quality = jnp.full((n,), int(QualityCode.KEPT))
            given = CycleInput(window, quality, truth, jnp.asarray(True))
            state, output = program.run(state, given, keys=cycle_keys(k_cycle, state.cycle))
            analysis, departures = output.analysis, output.departures
            expected = departures.variance + departures.error_sd**2

            def by_stream(x):
                return jnp.stack([jnp.sum(x[part::STREAMS]) for part in range(STREAMS)])

            kept = (
                jnp.sum((analysis.mean - truth) ** 2),
                jnp.sum(analysis.spread**2),
                by_stream(departures.innovation),
                by_stream(departures.innovation**2),
                by_stream(expected),
            )
            return (truth, state), kept

        start = program.initial_state(ensemble, jnp.zeros((), jnp.int32))
        return jax.lax.scan(body, (truth, start), jnp.arange(cycles))[1]

    kept = eqx.filter_jit(jax.vmap(one))(jax.random.split(key, runs))
    return Life(*(np.asarray(part, float)[:, BURN_IN:] for part in kept), count=n // STREAMS)


def evidence(life: Life, run: int) -> list:
    """What each test finds in a run, all together with the rate `FALSE_ALARMS`."""
    wanted = [(wager, life.error[run] / life.variance[run]) for wager in SPREAD_OF_ERRORS]
    for stream in range(STREAMS):
        expected = life.expected[run, :, stream]
        ratio = life.squared[run, :, stream] / expected
        wanted += [(wager, ratio) for wager in SPREAD]
        wanted.append((Biased(), life.mean[run, :, stream] / np.sqrt(life.count * expected)))
    rates = shares([wager for wager, _ in wanted], FALSE_ALARMS)
    return [
        watch(wager, series, false_alarms=rate)
        for (wager, series), rate in zip(wanted, rates, strict=True)
    ]


def first_alarm(found: list, since: int) -> tuple[float, float]:
    """Cycles from a fault to the first alarm after it, and by how much its beginning is missed; all
    that there were where nothing alarms."""
    alarms = [alarm for one in found for alarm in one.alarms if alarm.at >= since]
    if not alarms:
        never = float(len(found[0].log10) - since)
        return never, never
    first = min(alarms, key=lambda alarm: alarm.at)
    return first.at - since, abs(first.since - since)


def increments(figures: dict, plan: dict, key) -> list:
    """Bars of the guard of increments: faults that pass, clean cycles that are stopped, cost."""
    bars, missed, put = [], [], 0
    for name, (runs, cycles) in plan.items():
        system = SYSTEMS[name]()
        carry, (stops, _, _) = clean(system, system.program, runs, cycles, key)
        number = int(np.sum(np.asarray(stops)))
        bars.append((f"{name}: stops in {runs * cycles} clean cycles", float(number), STOPS))
        for draw in range(DRAWS):
            first = jax.tree.map(lambda x, n=draw % runs: x[n], carry)
            found = stopped(system, first, jax.random.fold_in(key, draw))
            for kind, (good, cause) in found.items():
                right = good != (kind == "none")
                put += kind != "none"
                if not right:
                    missed.append(f"{name}: {kind} ({NAMES[cause]})")
        share, interval = cost(system, max(50, cycles // 20), key)
        figures[f"{name}: cost of the guard, half of its 90 % interval"] = interval
        bars.append((f"{name}: share of a cycle's time that the guard takes", share, COST))
    figures["faults"], figures["missed"] = put, missed
    print(f"{put} faults put in, wrong in {missed or 'none'}")
    return [("faults that were not stopped", float(len(missed)), 0.0), *bars]


def members(figures: dict, runs: int, cycles: int, key) -> list:
    """Bars of the calibration where half of the members are lost in each cycle."""
    low, high = RATIO
    bars = []
    for size in SIZES:
        ratio, rmse = half_lost(runs, cycles, size, key)
        figures[f"half_lost_of_{size}"] = {"spread_over_rmse": ratio, "rmse": rmse}
        print(
            f"half of {size} members lost in each cycle: spread / RMSE {ratio:.3f}, RMSE {rmse:.3f}"
        )
        off = abs(ratio - (low + high) / 2)
        name = f"half of {size} members lost: spread / RMSE, distance from 1"
        bars.append((name, off, (high - low) / 2))
    return bars


def monitor(figures: dict, options: argparse.Namespace, key) -> list:
    """Bars of the tests of a whole life: false alarms, delays, and dates."""
    fault_at, length = (200, 400) if options.quick else (1000, 1500)
    alarmed, ratios = 0, []
    for part in range(0, options.runs, options.at_once):
        runs = min(options.at_once, options.runs - part)
        lives = cycled(
            runs, BURN_IN + options.cycles, bias_from=None, key=jax.random.fold_in(key, part)
        )
        ratios.append(np.sqrt(lives.variance.sum() / lives.error.sum()))
        alarmed += sum(any(e.alarms for e in evidence(lives, run)) for run in range(runs))
    share = alarmed / options.runs
    figures |= {
        "runs": options.runs,
        "cycles": options.cycles,
        "share_of_runs_with_an_alarm": share,
        "spread_over_rmse": float(np.mean(ratios)),
    }
    print(f"{options.runs} clean runs of {options.cycles} cycles: {100 * share:.1f} % ever alarm")
    found: dict[str, list] = {"spread": [], "bias": []}
    for part in range(0, options.faulty, options.at_once):
        runs = min(options.at_once, options.faulty - part)
        fault_key = jax.random.fold_in(key, 10**6 + part)
        tight = cycled(runs, BURN_IN + length, bias_from=None, key=fault_key)
        tight.variance[:, fault_at:] *= TIGHT**2
        biased = cycled(runs, BURN_IN + length, bias_from=BURN_IN + fault_at, key=fault_key)
        for name, life in (("spread", tight), ("bias", biased)):
            found[name] += [first_alarm(evidence(life, run), fault_at) for run in range(runs)]
    bars = [("share of clean runs that ever alarm", share, SHARE_OF_RUNS)]
    print(f"{'':34}{'median delay':>14}{'90 %':>8}{'date missed by':>16}   [cycles]")
    for name, label in (("spread", "spread 20 % too small"), ("bias", "bias of .25 in one stream")):
        delays, dates = (np.array(column) for column in zip(*found[name], strict=True))
        row = [float(np.median(delays)), float(np.quantile(delays, 0.9)), float(np.median(dates))]
        figures[name] = {"delay": row[0], "delay_90": row[1], "date": row[2]}
        print(f"{label:34}{row[0]:>14.0f}{row[1]:>8.0f}{row[2]:>16.0f}")
        bars.append((f"{label}: median cycles until it is told", row[0], DELAY))
        bars.append((f"{label}: median error of when it began, cycles", row[2], DATE))
    return bars


def guard(figures: dict, options: argparse.Namespace, key) -> list:
    return increments(figures, QUICK if options.quick else CLEAN, jax.random.fold_in(key, 7))


def lost(figures: dict, options: argparse.Namespace, key) -> list:
    return members(figures, *((2, 300) if options.quick else (8, 2000)), key)


def worth(figures: dict, options: argparse.Namespace, key) -> list:
    return streams(figures, *((2, 300) if options.quick else (20, 1000)))


PARTS = {"monitor": monitor, "guard": guard, "lost": lost, "worth": worth}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few short runs, under a minute")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some parts")
    parser.add_argument("--runs", type=int, default=200, help="clean runs")
    parser.add_argument("--cycles", type=int, default=5000, help="of a clean run")
    parser.add_argument("--faulty", type=int, default=40, help="runs of each fault")
    parser.add_argument("--at-once", type=int, default=20, help="runs side by side")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.quick:
        options.runs, options.cycles, options.faulty, options.at_once = 4, 300, 4, 4
    figures: dict = {}
    rows = []
    for name in options.only:
        for what, value, bar in PARTS[name](figures, options, jax.random.key(options.seed)):
            passed = bool(value <= bar)
            rows.append({"name": what, "value": value, "bar": bar, "pass": passed})
            print(f"{'ok  ' if passed else 'MISS'} {what}: {value:.3g} ({bar:g})", flush=True)
    print(json.dumps({"name": "watch", "figures": figures, "bars": rows}))


if __name__ == "__main__":
    main()
