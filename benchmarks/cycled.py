"""Amortized analyses in long twin cycles, trained from scratch, beside filters on the same run.

Every setting is trained on policy for some minutes, then eight streams are cycled beside an
ensemble filter without a network on the same nature run and the same observations. Streams start
near the truth, as DAPPER's do; training and scoring have keys of their own. A row with a lag is a
fixed-lag smoother behind the same analysis: it uses so many later observation times, and is trained
for a while of its own once the analysis is. Where forecasts are far from linear the network
corrects an iterative filter, which forecasts the ensemble again for each of its iterations; the
settings "at once" are the same without.

Published column: DAPPER 1.7.1 with the same number of members where one is known.

    python benchmarks/cycled.py --settings lorenz96 half --minutes 15
"""

import argparse
import json
import sys
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
from twins.learning import calibrated, first_guess, restored, trained, trained_smoother
from twins.scoring import BURN_IN, cycled, line, scored
from twins.settings import SETTINGS, Setting
from twins.tuning import tuned_letkf

from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
from vardax_core.calibration.plots.style import (
    ANALYSIS,
    BACKGROUND,
    INK,
    OBSERVATION,
    TRUTH,
    dress,
    new_figure,
)
from vardax_core.calibration.plots.verification import matched_ranks
from vardax_core.cycling.smoother import FixedLagSmoother
from vardax_core.observations.operators import Identity

RANKS_BAR = 0.1
"""Largest departure of a rank's frequency from that of members with the exact mean and spread, on
a scale on which a flat histogram is 1."""
SHOWN = 120
"""Cycles in a picture."""


def picture(path: Path, name: str, out, row) -> None:
    """One point of one stream through the last cycles, and the rank histogram."""
    point = {what: np.asarray(series[0]) for what, series in out[2].items()}
    times = np.arange(len(point["truth"]))[-SHOWN:]
    point = {what: series[-SHOWN:] for what, series in point.items()}
    figure = new_figure(12.0, 3.6)
    left, right = figure.subplots(1, 2, width_ratios=(3, 1))
    ensemble = point["members"]
    left.plot(times, ensemble, color=ANALYSIS, alpha=0.18, linewidth=0.6)
    left.plot([], [], color=ANALYSIS, alpha=0.5, linewidth=0.8, label="members")
    left.plot(times, point["background"], color=BACKGROUND, linewidth=1, label="background mean")
    left.plot(times, ensemble.mean(axis=1), color=ANALYSIS, linewidth=1.4, label="analysis mean")
    left.plot(times, point["truth"], color=TRUTH, linewidth=1.2, linestyle="--", label="truth")
    seen = point["seen"]
    if seen.any():
        shown = point["value"][seen]
        left.plot(times[seen], shown, "o", color=OBSERVATION, markersize=3, label="observations")
    what = "observed" if seen.all() else "not observed" if not seen.any() else "at times observed"
    title = f"{name}: variable 1 ({what}) of one stream"
    dress(left, title=title, x="cycle", y="state (model unit)")
    left.legend(fontsize=7, ncols=5, loc="upper left", frameon=False)
    low, high = left.get_ylim()
    left.set_ylim(low, high + 0.15 * (high - low))
    histogram = np.asarray(row["rank_histogram"])
    right.bar(range(len(histogram)), histogram, 0.92, color="#56B4E9")
    right.axhline(1.0, color=INK, linewidth=1)
    matched_ranks(right, len(histogram))
    dress(right, title="Rank histogram", x="rank of the truth", y="frequency / flat", grid="y")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def bars_of(name: str, setting: Setting, row: dict, reference: dict) -> list[dict]:
    """What the issue asks of a setting."""
    wanted = []
    if setting.bar is not None:
        wanted.append((f"{name} rmse.a", row["rmse_a"], setting.bar))
    if setting.letkf:
        ratio = row["rmse_a"] / reference["rmse_a"]
        wanted.append((f"{name} rmse.a / tuned LETKF's", ratio, 1.05))
    wanted.append((f"{name} |spread/RMSE - 1|", abs(row["spread_over_rmse"] - 1), 0.05))
    wanted.append((f"{name} |90 % coverage - .9|", abs(row["coverage_90"] - 0.9), 0.02))
    wanted.append((f"{name} lost streams", row["lost_streams"], 0))
    wanted.append((f"{name} ranks, departure from exact", row["rank_departure"], RANKS_BAR))
    if setting.lag_bar is not None:
        last = row["lags"][-1]
        where = f"{name} lag {last['lag']}"
        wanted.append((f"{where} rmse.a", last["rmse_a"], setting.lag_bar))
        wanted.append((f"{where} |spread/RMSE - 1|", abs(last["spread_over_rmse"] - 1), 0.05))
        wanted.append((f"{where} |90 % coverage - .9|", abs(last["coverage_90"] - 0.9), 0.02))
    return [
        {"name": what, "value": round(value, 4), "bar": bar, "pass": bool(value <= bar)}
        for what, value, bar in wanted
    ]


def measure(name: str, options) -> tuple[dict, list[dict]]:
    """Train one setting, cycle it beside its reference, print and draw."""
    setting = SETTINGS[name]
    key = jax.random.fold_in(jax.random.key(options.seed), list(SETTINGS).index(name))

    def tell(text):
        print(f"{name}: {text}", file=sys.stderr, flush=True)

    def say(total):
        def each(done, loss, rmse):
            if done % (100 * max(1, total // 2000)) == 0:
                tell(f"step {done} of {total}, loss {loss:.4f}, rmse.a {rmse:.4f}")

        return each

    if options.reuse:
        step = restored(setting, options.reuse / f"{name}.eqx")
        step, spread = calibrated(setting, step, whole=True, key=key)
        training = {"spread_calibration": spread.numbers()}
    else:
        step, training = trained(setting, options.minutes, options.steps, key=key, say=say)
    if options.weights:
        options.weights.mkdir(parents=True, exist_ok=True)
        eqx.tree_serialise_leaves(options.weights / f"{name}.eqx", step.network)
    size = (options.streams, BURN_IN + options.cycles)
    run_key = jax.random.fold_in(key, 2)
    smoother, classical_smoother, smoothing_seconds = None, None, 0.0
    if setting.lag:
        minutes = options.minutes * options.smoother_share
        smoother, smoothing_seconds = trained_smoother(setting, step, minutes, key=key, tell=tell)
        classical_smoother = FixedLagSmoother(setting.lag)
    out = cycled(setting, step, smoother, *size, key=run_key)
    row = scored(out)
    row |= training | {"smoother_minutes": smoothing_seconds / 60}
    row["members"], row["streams"], row["cycles"] = setting.members, options.streams, options.cycles
    if setting.letkf:
        reference_step, label = tuned_letkf(
            setting, options.tuning_cycles, key=jax.random.fold_in(key, 3), say=tell
        )
    else:
        certainty = setting.certainty or 2.0
        operator = Identity(setting.model.state_shape)
        reference_step = FiniteSizeETKF(operator, certainty=certainty)
        label = f"finite-size ETKF, certainty {certainty:g}"
    reference = scored(cycled(setting, reference_step, classical_smoother, *size, key=run_key))
    row["reference"] = reference | {"method": label}
    print(line(f"{name}, N={setting.members}: amortized", row))
    print(line(f"  {label}", reference))
    if setting.iterations:
        guess = scored(cycled(setting, first_guess(setting), None, *size, key=run_key))
        row["first_guess"] = guess
        print(line(f"  iterative ETKF, {setting.iterations} iterations", guess))
    for age in row["lags"][1:]:
        print(line(f"  amortized, lag {age['lag']}", age))
    for age in reference["lags"][1:]:
        print(line(f"  {label}, lag {age['lag']}", age))
    for what, value in setting.published.items():
        print(f"  {'DAPPER ' + what:42}{value:>8.3f}")
    if "steps" in training:
        print(f"  trained {row['steps']} steps in {row['training_minutes']:.1f} min", flush=True)
    if setting.lag:
        print(f"  trained the smoother in {smoothing_seconds / 60:.1f} min", flush=True)
    picture(options.out / f"{name.replace(' ', '_')}.png", name, out, row)
    return row, bars_of(name, setting, row, reference)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short case, under a minute")
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--minutes", type=float, default=15.0, help="training time of each")
    parser.add_argument(
        "--smoother-share", type=float, default=0.3, help="of the training time, for a smoother"
    )
    parser.add_argument("--steps", type=int, default=3000, help="used if --minutes is 0")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--cycles", type=int, default=10000, help="scored, after the burn-in")
    parser.add_argument("--tuning-cycles", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/cycled"))
    parser.add_argument("--weights", type=Path, help="folder for the trained weights")
    parser.add_argument("--reuse", type=Path, help="folder of such weights; nothing is trained")
    options = parser.parse_args()
    if options.quick:
        options.settings, options.minutes, options.steps = ["lorenz96"], 0.0, 100
        options.streams, options.cycles, options.tuning_cycles = 2, 100, 100
    print(f"{'':44}{'rmse.a':>8}{'spread':>8}{'ratio':>8}{'cov 90':>8}{'worst':>8}")
    rows, bars = {}, []
    for name in options.settings:
        rows[name], found = measure(name, options)
        bars += found
    for bar in bars:
        print(f"{'ok  ' if bar['pass'] else 'MISS'} {bar['name']}: {bar['value']} ({bar['bar']})")
    figures = {"rows": rows, "device": jax.devices()[0].device_kind, "pictures": str(options.out)}
    print(json.dumps({"name": "cycled", "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
