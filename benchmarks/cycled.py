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
import time
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from twins.settings import SETTINGS, Setting

from vardax_core.analysis.amortized.local_transform import LocalTransformStep
from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
from vardax_core.analysis.ensemble.iterative import IterativeETKF
from vardax_core.analysis.ensemble.letkf import LETKF
from vardax_core.analysis.ensemble.localization import ring_network
from vardax_core.analysis.history import DepartureHistory
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
from vardax_core.calibration.ranks import matched_rank_histogram
from vardax_core.calibration.statistics import COVERAGE_LEVELS
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.local_smoother import LocalSmoother
from vardax_core.cycling.smoother import FixedLagSmoother
from vardax_core.observations.operators import Identity
from vardax_core.training.on_policy import OnPolicySettings, train_on_policy
from vardax_core.training.smoothing import SmoothingSettings, train_smoother
from vardax_core.training.spread_calibration import calibrate_spread
from vardax_core.training.twin_cycles import (
    TwinPlan,
    climate_range,
    cycle_twin,
    twin_program,
    twin_start,
)
from vardax_core.types import ensemble_mean

BURN_IN = 400
ON_ATTRACTOR = 1000
"""Model steps from a random state to a nature run."""
RANKS_BAR = 0.1
"""Largest departure of a rank's frequency from that of members with the exact mean and spread, on
a scale on which a flat histogram is 1."""
SHOWN = 120
"""Cycles in a picture."""


def untrained(setting: Setting, *, key) -> LocalTransformStep:
    """The step of a setting with fresh weights."""
    operator = Identity(setting.model.state_shape)
    guess = first_guess(setting)
    n = setting.model.state_shape[0]
    # The three variables of Lorenz-63 are no ring of equals: the network is told which is which.
    static = jnp.eye(n) if n == 3 else None
    return LocalTransformStep.create(
        operator,
        guess,
        centre=setting.centre,
        scale=setting.scale,
        reach=setting.reach,
        width=setting.width,
        depth=setting.depth,
        history=DepartureHistory(setting.memories) if setting.memories else None,
        static=static,
        key=key,
    )


def first_guess(setting: Setting) -> AbstractAnalysisStep | None:
    """The filter that the network of a setting corrects."""
    operator = Identity(setting.model.state_shape)
    if setting.certainty is None:
        return None
    if setting.iterations:
        return IterativeETKF(operator, iterations=setting.iterations, certainty=setting.certainty)
    return FiniteSizeETKF(operator, certainty=setting.certainty)


def restored(setting: Setting, path: Path) -> LocalTransformStep:
    """The step of a setting with weights that were kept."""
    step = untrained(setting, key=jax.random.key(0))
    network = eqx.tree_deserialise_leaves(path, step.network)
    return eqx.tree_at(lambda s: s.network, step, network)


def trained(setting: Setting, minutes: float, steps: int, *, key, say: Callable):
    """The step trained for some minutes, or for a number of steps, and what that took."""
    step = untrained(setting, key=jax.random.fold_in(key, 0))
    settings = OnPolicySettings(
        steps=steps,
        streams=setting.streams,
        members=setting.sizes or (setting.members,),
        nearness=setting.nearness,
        chunk=100,
    )
    run_key = jax.random.fold_in(key, 1)
    if minutes:
        moments = []
        train_on_policy(
            step,
            setting.model,
            setting.observing,
            settings._replace(steps=3 * settings.chunk),
            natures=setting.natures,
            key=run_key,
            progress=lambda *_: moments.append(time.perf_counter()),
        )
        seconds = (moments[2] - moments[0]) / 2
        settings = settings._replace(steps=settings.chunk * max(3, int(60 * minutes / seconds)))
    start = time.perf_counter()
    step, _ = train_on_policy(
        step,
        setting.model,
        setting.observing,
        settings,
        natures=setting.natures,
        key=run_key,
        progress=say(settings.steps),
    )
    step = calibrated(setting, step, bool(minutes), key=key)
    return step, settings.steps, time.perf_counter() - start


def calibrated(setting: Setting, step: LocalTransformStep, whole: bool, *, key):
    """The step with a spread that is its error, over many cycles or, for a quick look, over few."""
    plan = plan_of(setting, streams=32, cycles=600)
    if not whole:
        plan = plan._replace(streams=4, cycles=50, spin_up=50)
    near = jnp.full(setting.model.state_shape, setting.centre)
    step, ratios = calibrate_spread(
        step, setting.model, setting.observing, near, plan, key=jax.random.fold_in(key, 5)
    )
    print(f"spread / RMSE before each correction: {ratios.round(3)}", file=sys.stderr, flush=True)
    return step


def plan_of(setting: Setting, **size) -> TwinPlan:
    return TwinPlan(members=setting.members, start_sd=2 * setting.nearness, **size)


def program_of(setting: Setting, analysis_step: AbstractAnalysisStep) -> CycleProgram:
    return twin_program(
        setting.model,
        analysis_step,
        valid_range=climate_range(setting.centre, setting.scale),
        spread_scale=setting.nearness,
    )


def trained_smoother(setting: Setting, analysis_step, minutes: float, *, key, tell: Callable):
    """A smoother behind a trained step, trained for some minutes or, without, for one round."""
    key = jax.random.fold_in(key, 4)
    smoother = LocalSmoother.create(
        setting.lag,
        centre=setting.centre,
        scale=setting.scale,
        reach=setting.smoother_reach,
        key=jax.random.fold_in(key, 0),
    )
    settings = SmoothingSettings(rounds=2 if minutes else 1)
    plan = plan_of(setting, streams=24, cycles=300, spin_up=50)
    if not minutes:
        plan = plan._replace(streams=2, cycles=20)
    near = jnp.full(setting.model.state_shape, setting.centre)
    program = program_of(setting, analysis_step)
    moments = []

    def train(settings, progress):
        return train_smoother(
            smoother,
            program,
            setting.observing,
            near,
            settings,
            plan,
            key=jax.random.fold_in(key, 1),
            progress=progress,
        )[0]

    if minutes:
        train(settings, lambda *_: moments.append(time.perf_counter()))
        rounds = max(2, int(60 * minutes / (moments[1] - moments[0])))
        settings = settings._replace(rounds=rounds)

    def progress(done, loss, rmse):
        tell(f"smoother, round {done} of {settings.rounds}, loss {loss:.4f}, rmse {rmse:.4f}")

    start = time.perf_counter()
    return train(settings, progress), time.perf_counter() - start


def cycled(
    setting: Setting, analysis_step: AbstractAnalysisStep, smoother, streams, cycles, *, key
):
    """Cycle every stream: sums of statistics, scores of each age, and one point, of each cycle."""
    n = setting.model.state_shape[0]
    program = program_of(setting, analysis_step)
    nature = setting.nature or setting.model

    def look(memory, truth, given, output):
        ensemble = output.analysis.ensemble
        smooth = jnp.zeros((0, 3))
        if smoother is not None:
            history, past_truth = memory
            history = smoother.update(history, output.background, ensemble)
            past_truth = jnp.concatenate([truth[None], past_truth[:-1]])
            memory = (history, past_truth)
            error = jnp.mean(history, axis=1) - past_truth
            variance = jnp.var(history, axis=1, ddof=1)
            smooth = jnp.stack(
                [
                    jnp.sqrt(jnp.mean(error**2, axis=1)),
                    jnp.mean(variance, axis=1),
                    jnp.mean(jnp.abs(error) <= 1.645 * jnp.sqrt(variance), axis=1),
                ],
                axis=1,
            )
        kept = {
            name: output.statistics[name]
            for name in (
                "rmse",
                "variance",
                "weight",
                "non_finite_weight",
                "coverage",
                "rank_histogram",
            )
        }
        point = {
            "truth": truth[1],
            "background": ensemble_mean(output.background)[1],
            "members": ensemble[:, 1],
            "value": given.observations.values[-1, 1],
            "seen": given.observations.mask[-1, 1],
        }
        return memory, (kept, smooth, point)

    def one(k):
        k_away, k_start, k_cycles = jax.random.split(k, 3)
        near = setting.centre + setting.scale * jax.random.normal(k_away, (n,))
        truth, ensemble = twin_start(
            nature, near, setting.members, 2 * setting.nearness, ON_ATTRACTOR, key=k_start
        )
        memory = ()
        if smoother is not None:
            memory = (
                smoother.init(ensemble),
                jnp.broadcast_to(truth, (setting.lag + 1, n)),
            )
        return cycle_twin(
            program,
            setting.observing,
            truth,
            ensemble,
            cycles,
            look,
            memory,
            nature=nature,
            key=k_cycles,
        )

    return jax.jit(jax.vmap(one))(jax.random.split(key, streams))


def scored(out) -> dict:
    """Scores of the analysis over streams and cycles after the burn-in."""
    sums, smooth, _ = out
    sums = {name: np.asarray(v)[:, BURN_IN:] for name, v in sums.items()}
    lost = sums["non_finite_weight"] > 0
    rmse = np.where(lost, np.nan, sums["rmse"])
    weight = sums["weight"].sum()
    row = {
        "rmse_a": float(rmse.mean()),
        "spread": float(np.sqrt(sums["variance"].sum() / weight)),
        "rms_error": float(np.sqrt((rmse**2).mean())),
        "coverage_90": float(
            sums["coverage"].sum(axis=(0, 1))[COVERAGE_LEVELS.index(0.9)] / weight
        ),
        "worst_stream": float(rmse.mean(axis=1).max()),
        "lost_streams": int(lost.any(axis=1).sum()),
        "rank_histogram": (
            sums["rank_histogram"].sum(axis=(0, 1)) / weight * sums["rank_histogram"].shape[2]
        ).tolist(),
    }
    histogram = np.asarray(row["rank_histogram"])
    row["rank_departure"] = float(
        np.abs(histogram - matched_rank_histogram(len(histogram) - 1)).max()
    )
    # The rms over cycles, not the mean of their RMSEs, is what the mean variance is to match.
    row["spread_over_rmse"] = row["spread"] / row["rms_error"]
    smooth = np.asarray(smooth)[:, BURN_IN:]
    row["lags"] = [
        {
            "lag": age,
            "rmse_a": float(smooth[:, :, age, 0].mean()),
            "spread_over_rmse": float(
                np.sqrt(smooth[:, :, age, 1].mean() / (smooth[:, :, age, 0] ** 2).mean())
            ),
            "coverage_90": float(smooth[:, :, age, 2].mean()),
        }
        for age in range(smooth.shape[2])
    ]
    return row


def tuned_letkf(
    setting: Setting,
    cycles: int,
    *,
    radii: tuple[float, ...] = (3.0, 4.0, 6.0, 8.0, 11.0),
    inflations: tuple[float, ...] = (1.0, 1.01, 1.02, 1.05),
    key,
    say,
) -> tuple[LETKF, str]:
    """The LETKF of least rmse over radius and inflation, on a stream that is not scored."""
    operator = Identity(setting.model.state_shape)
    n = setting.model.state_shape[0]
    candidates = {
        f"LETKF radius {radius:g} inflation {inflation}": LETKF(
            operator, ring_network(n, np.arange(n), radius), inflation=inflation, rotate=True
        )
        for radius in radii
        for inflation in inflations
    }
    if len(candidates) == 1:
        ((label, step),) = candidates.items()
        return step, label
    best = (np.inf, "")
    for label, step in candidates.items():
        rmse = scored(cycled(setting, step, None, 1, cycles, key=key))["rmse_a"]
        say(f"{label}: {rmse:.3f}")
        if rmse < best[0]:
            best = (rmse, label)
    if not best[1]:
        raise RuntimeError("No LETKF of the sweep stayed finite; widen its radii and inflations.")
    return candidates[best[1]], best[1]


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


def line(label: str, row: dict) -> str:
    return (
        f"{label:44}{row['rmse_a']:>8.4f}{row.get('spread', np.nan):>8.4f}"
        f"{row['spread_over_rmse']:>8.3f}{row['coverage_90']:>8.3f}"
        f"{row.get('worst_stream', np.nan):>8.3f}"
    )


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
        step, steps, seconds = restored(setting, options.reuse / f"{name}.eqx"), 0, 0.0
        step = calibrated(setting, step, whole=True, key=key)
    else:
        step, steps, seconds = trained(setting, options.minutes, options.steps, key=key, say=say)
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
    row |= {
        "steps": steps,
        "training_minutes": seconds / 60,
        "smoother_minutes": smoothing_seconds / 60,
    }
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
    print(f"  trained {steps} steps in {seconds / 60:.1f} min", flush=True)
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
