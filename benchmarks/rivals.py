"""Learned rivals on their own ground: low errors and an honest spread at once, with one network.

A family is a model with several ensemble sizes and observing networks. It is trained once, from
scratch, on some of the sizes; then every case is cycled beside an LETKF that was tuned for it on
other streams. The published figures are those of MNMEF (arXiv 2504.17836): its tuned LETKF, which
has to be reproduced before anything is compared, and the rival itself as far as it can be read off
its figures; where all of the Kuramoto-Sivashinsky equation is observed, of DAPPER's setting of
Bocquet and Farchi (2019). Intervals are of the mean over streams, 95 %.

    python benchmarks/rivals.py --families lorenz96 kuramoto-sivashinsky --minutes 20
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
from scipy.stats import t as student
from twins.families import NAMES, Case, family_of
from twins.forecasts import LEADS, SPARSE, forecast_scores
from twins.learning import restored, trained
from twins.scoring import BURN_IN, cycled, scored
from twins.settings import Setting
from twins.tuning import tuned_letkf

from vardax_core.calibration.plots.style import ANALYSIS, BACKGROUND, INK, dress, new_figure

REPRODUCED = 1.05
"""Largest error of our tuned LETKF over the published one's."""
RANKS_BAR = 0.1
LARGEST_SPREAD_ERROR = 0.05


def interval(values: np.ndarray) -> tuple[float, float]:
    """The mean over streams and half of its 95 % interval."""
    count = len(values)
    half = student.ppf(0.975, count - 1) * values.std(ddof=1) / count**0.5 if count > 1 else np.nan
    return float(values.mean()), float(half)


def stream_errors(out) -> np.ndarray:
    """rmse.a of each stream after the burn-in."""
    return np.asarray(out[0]["rmse"], float)[:, BURN_IN:].mean(axis=1)


def measure(name: str, options) -> tuple[dict, list[dict]]:
    """Train one family and cycle its cases."""
    family = family_of(name)
    if options.quick:
        setting = replace(family.setting, sizes=(), systems=(), measured=())
        family = replace(family, setting=setting)
    key = jax.random.fold_in(jax.random.key(options.seed), NAMES.index(name))

    def tell(text):
        print(f"{name}: {text}", file=sys.stderr, flush=True)

    def say(total):
        def each(done, loss, rmse):
            if done % (100 * max(1, total // 2000)) == 0:
                tell(f"step {done} of {total}, loss {loss:.4f}, rmse.a {rmse:.4f}")

        return each

    setting, filters = family.setting, {}
    if family.corrects:
        label, case = next(iter(family.cases.items()))
        letkf = tuned(setting, case, options, key=jax.random.fold_in(key, 50), tell=tell)
        setting, filters = replace(setting, guess=letkf[0]), {label: letkf}
    if options.reuse:
        step, training = restored(setting, options.reuse / f"{name}.eqx"), {}
    else:
        step, training = trained(setting, options.minutes, options.steps, key=key, say=say)
    if options.weights:
        options.weights.mkdir(parents=True, exist_ok=True)
        eqx.tree_serialise_leaves(options.weights / f"{name}.eqx", step.network)
    rows, bars = {}, []
    for number, (label, case) in enumerate(family.cases.items()):
        if options.cases and label not in options.cases:
            continue
        k = jax.random.fold_in(key, 100 + number)
        own = replace(setting, observing=case.observing, members=case.members)
        row = measure_case(own, case, step, filters.get(label), options, key=k, tell=tell)
        rows[label] = row
        bars += bars_of(f"{name}, {label}", case, row)
        print(line(f"{name}, {label}", case, row), flush=True)
    return {"training": training, "cases": rows}, bars


def tuned(setting: Setting, case: Case, options, *, key, tell):
    """The LETKF of a case and its name."""
    return tuned_letkf(
        setting,
        options.tuning_cycles,
        radii=case.radii[:1] if options.quick else case.radii,
        inflations=case.inflations[:1] if options.quick else case.inflations,
        streams=(2, 4),
        key=key,
        say=tell,
    )


def measure_case(setting: Setting, case: Case, step, letkf, options, *, key, tell) -> dict:
    """Cycle one case by the network and by the LETKF, on the same truths and observations.

    Arguments:
        letkf: and its name, if it is tuned already.
    """
    size = (options.streams, BURN_IN + options.cycles)
    run_key, tuning_key, forecast_key = jax.random.split(key, 3)
    out = cycled(setting, step, None, *size, key=run_key)
    row = scored(out)
    row["rmse_a"], row["half_interval"] = interval(stream_errors(out))
    if (case.letkf is None and case.beside is None) or options.alone:
        return row
    letkf, label = letkf or tuned(setting, case, options, key=tuning_key, tell=tell)
    reference = cycled(setting, letkf, None, *size, key=run_key)
    mean, half = interval(stream_errors(reference))
    row["letkf"] = scored(reference) | {"rmse_a": mean, "half_interval": half, "method": label}
    length = SPARSE * max(2, options.cycles // (2 * SPARSE))
    crps = [
        forecast_scores(setting, s, options.streams, length, key=forecast_key)
        for s in (step, letkf)
    ]
    ratios = np.log(crps[0] / crps[1])
    row["forecast_crps_ratio"] = {
        str(lead): [float(np.exp(v)) for v in interval(ratios[:, i])[:1]]
        + [float(interval(ratios[:, i])[1])]
        for i, lead in enumerate(LEADS)
    }
    return row


def bars_of(name: str, case: Case, row: dict) -> list[dict]:
    """What is asked of a case, each as a value that must not be above a bar."""
    wanted = [] if case.bar is None else [("rmse.a", row["rmse_a"], case.bar)]
    wanted += [
        ("|spread/RMSE - 1|", abs(row["spread_over_rmse"] - 1), LARGEST_SPREAD_ERROR),
        ("|90 % coverage - .9|", abs(row["coverage_90"] - 0.9), 0.02),
        ("ranks, departure from exact", row["rank_departure"], RANKS_BAR),
        ("lost streams", row["lost_streams"], 0),
    ]
    if "letkf" in row:
        if case.letkf is not None:
            wanted.append(("LETKF / published", row["letkf"]["rmse_a"] / case.letkf, REPRODUCED))
        if case.beside is not None:
            ratio = row["rmse_a"] / row["letkf"]["rmse_a"]
            wanted.append(("rmse.a / LETKF's", ratio, case.beside))
        for lead, (ratio, _) in row["forecast_crps_ratio"].items():
            wanted.append((f"CRPS at lead {lead} / LETKF's", ratio, 1.0))
    return [
        {"name": f"{name}: {what}", "value": round(value, 4), "bar": bar, "pass": value <= bar}
        for what, value, bar in wanted
    ]


def line(label: str, case: Case, row: dict) -> str:
    letkf = row.get("letkf", {}).get("rmse_a", np.nan)
    crps = [v[0] for v in row.get("forecast_crps_ratio", {}).values()] or [np.nan] * len(LEADS)
    return (
        f"{label:40}{row['rmse_a']:>8.3f}{row['half_interval']:>7.3f}{row['spread_over_rmse']:>8.3f}"
        f"{row['coverage_90']:>8.3f}{row['rank_departure']:>7.2f}{letkf:>8.3f}"
        f"{case.letkf or np.nan:>10.3f}{case.rival or np.nan:>7.2f}"
        + "".join(f"{v:>7.3f}" for v in crps)
    )


def picture(path: Path, name: str, rows: dict, cases: dict[str, Case]) -> None:
    """Errors of all cases, and their spread over RMSE."""
    figure = new_figure(12.0, 4.0)
    left, right = figure.subplots(1, 2)
    labels, places = list(rows), np.arange(len(rows))
    values = [rows[label]["rmse_a"] for label in labels]
    halves = [rows[label]["half_interval"] for label in labels]
    tuned = [rows[label].get("letkf", {}).get("rmse_a", np.nan) for label in labels]
    rivals = [cases[label].rival or np.nan for label in labels]
    published = [cases[label].letkf or np.nan for label in labels]
    left.errorbar(values, places, xerr=halves, fmt="o", color=ANALYSIS, label="vardax, one network")
    others = [
        (tuned, {"marker": "s", "color": BACKGROUND, "label": "LETKF, tuned for each"}),
        (
            published,
            {"marker": "s", "color": BACKGROUND, "mfc": "none", "label": "LETKF, as published"},
        ),
        (rivals, {"marker": "x", "color": INK, "label": "MNMEF, as published"}),
    ]
    for found, style in others:
        if np.isfinite(found).any():
            left.plot(found, places, linestyle="none", **style)
    left.set_yticks(places, labels)
    left.set_xlim(0, 1.1 * np.nanmax([*values, *tuned, *published, *rivals]))
    left.legend(frameon=False, fontsize=8)
    dress(left, title=f"{name}: error of the analysis", x="rmse.a (model unit)", y="", grid="x")
    right.axvspan(1 - LARGEST_SPREAD_ERROR, 1 + LARGEST_SPREAD_ERROR, color=ANALYSIS, alpha=0.15)
    right.plot([rows[label]["spread_over_rmse"] for label in labels], places, "o", color=ANALYSIS)
    known = [rows[label].get("letkf", {}).get("spread_over_rmse", np.nan) for label in labels]
    right.plot(known, places, "s", color=BACKGROUND)
    right.set_yticks(places, [""] * len(labels))
    dress(right, title="Spread over RMSE (1 is calibrated)", x="ratio", y="", grid="x")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short case, under a minute")
    parser.add_argument("--families", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--cases", nargs="+", help="of a family; all by default")
    parser.add_argument("--minutes", type=float, default=20.0, help="training time of each family")
    parser.add_argument("--steps", type=int, default=3000, help="used if --minutes is 0")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--cycles", type=int, default=1500, help="scored, after the burn-in")
    parser.add_argument("--tuning-cycles", type=int, default=600)
    parser.add_argument("--alone", action="store_true", help="no LETKF is tuned and cycled beside")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/rivals"))
    parser.add_argument("--weights", type=Path, help="folder for the trained weights")
    parser.add_argument("--reuse", type=Path, help="folder of such weights; nothing is trained")
    options = parser.parse_args()
    if options.quick:
        options.families, options.minutes, options.steps = ["lorenz96"], 0.0, 100
        options.streams, options.cycles, options.tuning_cycles = 2, 100, 100
        options.cases = ["sd 1, N = 10"]
    print(
        f"{'':40}{'rmse.a':>8}{'+-':>7}{'spread':>8}{'cov 90':>8}{'ranks':>7}{'LETKF':>8}"
        f"{'published':>10}{'MNMEF':>7}" + "".join(f"{f'lead {lead}':>7}" for lead in LEADS)
    )
    found, bars = {}, []
    for name in options.families:
        found[name], made = measure(name, options)
        bars += made
        picture(options.out / f"{name}.png", name, found[name]["cases"], family_of(name).cases)
    for bar in bars:
        print(f"{'ok  ' if bar['pass'] else 'MISS'} {bar['name']}: {bar['value']} ({bar['bar']})")
    figures = found | {"device": jax.devices()[0].device_kind, "pictures": str(options.out)}
    print(json.dumps({"name": "rivals", "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
