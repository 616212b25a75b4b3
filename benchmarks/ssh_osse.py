"""Daily maps of sea surface height from altimeters, by every method, with their uncertainty.

An observing-system simulation experiment: two-layer eddies are the ocean, four nadir altimeters
and a swath with a gap fly over it, a fifth altimeter is withheld. Methods are tuned and trained on
runs that are not scored. In the world "wrong" filters and 4D-Var forecast with another shear and
friction than the ocean has. Scores are those of the mapping challenges, see `ocean/scores.py`, and
beside them CRPS, spread over RMSE and the coverage of 90 % intervals along the withheld altimeter;
intervals are of the mean over runs, 95 %.

    python benchmarks/ssh_osse.py --out build/ssh_osse
    python benchmarks/ssh_osse.py --quick
"""

import argparse
import functools
import json
import sys
from pathlib import Path

import jax
import numpy as np
from ocean.cycles import BANDS, bands
from ocean.eddies import HEIGHT, SPACING
from ocean.experiment import FULL, QUICK, Experiment, kept, rms
from ocean.interpolated import BEHIND
from ocean.scores import Maps, scored
from scipy.stats import t as student

from vardax_core.calibration.plots.style import dress, new_figure

CLASSICAL = ("OI, past", "OI", "LETKF", "LETKF smoother", "4D-Var")
AMORTIZED = ("amortized", "amortized smoother")
SHOWN = ("mu", "sigma", "lambda_x", "lambda_t", "rmse", "crps", "spread_over_rmse", "coverage")
HEADS = ("mu", "sigma", "l_x km", "l_t d", "rmse cm", "crps cm", "spread", "cov 90")


def maps_of(world: Experiment, out: Path | None, chosen: list[str] | None) -> dict[str, list[Maps]]:
    """Maps of every scored run by every method."""
    found: dict[str, list[Maps]] = {}

    def wanted(*names: str) -> bool:
        return chosen is None or any(name in chosen for name in names)

    def add(name: str, make) -> None:
        found[name] = kept(None if out is None else out / f"{name}.npz", make)
        world.say(f"{name}: done")

    for name, ahead in (("OI, past", 0), ("OI", BEHIND)):
        if wanted(name):
            add(name, lambda a=ahead: [world.interpolated(run, a) for run in world.scored])
    if wanted("4D-Var"):

        def four_dvar():
            maps = world.variational()
            return [maps(run) for run in world.scored]

        add("4D-Var", four_dvar)
    if wanted("4DVarNet"):

        def net():
            maps = world.net()
            return [maps(run) for run in world.scored]

        add("4DVarNet", net)
    # What is kept in files is not tuned or trained for again.
    tuned = functools.cache(world.tuned)
    step = functools.cache(lambda: world.learned_filter(tuned()[0]))

    @functools.cache
    def cycled(learned: bool) -> list:
        given = step() if learned else None
        return [world.cycled(run, given, tuned()[0]) for run in world.scored]

    def smoothed() -> list[Maps]:
        smoother = world.learned_smoother(step(), tuned()[0])
        return [world.learned_maps(smoother, found) for found in cycled(True)]

    if wanted("LETKF", "LETKF smoother"):
        add("LETKF", lambda: [world.filter_maps(c) for c in cycled(False)])
        add("LETKF smoother", lambda: [world.smoother_maps(c, tuned()[1]) for c in cycled(False)])
    if wanted(*AMORTIZED):
        add("amortized", lambda: [world.filter_maps(c) for c in cycled(True)])
    if wanted("amortized smoother"):
        add("amortized smoother", smoothed)
    return found


def table(world: Experiment, maps: dict[str, list[Maps]]) -> dict[str, dict]:
    """Scores of every method: of each run, their mean and half of its interval."""
    sizes, unit = world.sizes, HEIGHT * world.ocean.scale[0]
    rows = slice(sizes.burn_in, sizes.burn_in + sizes.days)
    waves = bands(sizes.size, SPACING)
    found = {}
    for name, runs in maps.items():
        each = []
        for one, run in zip(runs, world.scored, strict=True):
            truth, days = run.truth[rows], run.withheld.days(rows.start, rows.stop)
            score = scored(one, truth, days, sizes.size * SPACING / 1e3)
            if one.lower is not None:
                state = np.stack([one.mean, one.lower], axis=1)
                curl = jax.lax.map(world.ocean.vorticity, np.concatenate([state, truth]))
                said, true = np.asarray(curl)[:, 0].reshape(2, -1)
                score["pv_explained"] = 1 - float(np.mean((said - true) ** 2) / np.var(true))
            if one.band_spread is not None:
                power = np.abs(np.fft.rfft2(one.mean - truth[:, 0])) ** 2
                error = np.einsum("dyk,byk->b", power, waves) / len(truth)
                ratio = np.sqrt(one.band_spread.mean(axis=0) / error)
                score |= {f"spread_over_rmse_band_{b}": float(r) for b, r in enumerate(ratio)}
            score |= {"rmse": score["rmse"] * unit, "crps": score["crps"] * unit}
            each.append(score)
        found[name] = {
            key: summary(np.array([score.get(key, np.nan) for score in each]))
            for key in dict.fromkeys(k for score in each for k in score)
        }
    return found


def summary(values: np.ndarray) -> dict:
    half = np.nan
    if len(values) > 1:
        half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return {"mean": float(values.mean()), "half": float(half), "runs": values.tolist()}


def plain(found):
    """The same for JSON, which has no NaN."""
    if isinstance(found, dict):
        return {name: plain(value) for name, value in found.items()}
    if isinstance(found, list):
        return [plain(value) for value in found]
    return None if isinstance(found, float) and not np.isfinite(found) else found


def bars_of(world: str, rows: dict[str, dict]) -> list[dict]:
    """The amortized smoother beside the classical method of the least error."""
    rivals = [name for name in CLASSICAL if name in rows]
    if "amortized smoother" not in rows or not rivals:
        return []
    best = min(rivals, key=lambda name: rows[name]["rmse"]["mean"])
    ours = rows["amortized smoother"]
    bars = []
    for what, score in (("RMSE", "rmse"), ("lambda_x", "lambda_x")):
        value = ours[score]["mean"] / rows[best][score]["mean"]
        bars.append((f"{world}: {what} over {best}'s", value, 0.9, value <= 0.9))
    coverage = ours["coverage"]["mean"]
    bars.append((f"{world}: coverage", coverage, [0.88, 0.92], 0.88 <= coverage <= 0.92))
    for score, least in (("psi_explained", 0.975), ("pv_explained", 0.70)):
        value = ours[score]["mean"]
        bars.append((f"{world}: {score}, upper layer", value, least, value >= least))
    return [
        {"name": name, "value": round(value, 4), "bar": bar, "pass": bool(met)}
        for name, value, bar, met in bars
    ]


def line(name: str, row: dict[str, dict]) -> str:
    scale = {"rmse": 100, "crps": 100}
    cells = [
        f"{scale.get(s, 1) * row[s]['mean']:>8.3f} +-{scale.get(s, 1) * row[s]['half']:<6.3f}"
        for s in SHOWN
    ]
    return f"{name:20}" + "".join(cells)


def picture(path: Path, world: Experiment, maps: dict[str, list[Maps]]) -> None:
    """The last day of the first run: truth, and mean, error and spread of every method, cm."""
    sizes, cm = world.sizes, 100 * HEIGHT * world.ocean.scale[0]
    last = sizes.days - 1
    truth = cm * world.scored[0].truth[sizes.burn_in + last, 0]
    side = sizes.size * SPACING / 1e3
    figure = new_figure(9.0, 2.5 * len(maps))
    axes = figure.subplots(len(maps), 3, squeeze=False, sharex=True, sharey=True)
    most = float(np.abs(truth).max())
    for row, (name, runs) in zip(axes, maps.items(), strict=True):
        mean, sd = cm * runs[0].mean[last], cm * runs[0].sd[last]
        panels = (
            (name, mean, "RdBu_r", (-most, most)),
            (f"error, rms {rms(mean - truth):.1f} cm", mean - truth, "PuOr_r", (-8, 8)),
            (f"spread, rms {rms(sd):.1f} cm", sd, "viridis", (0, 6)),
        )
        for axis, (title, field, colours, (low, high)) in zip(row, panels, strict=True):
            drawn = axis.imshow(
                field, origin="lower", cmap=colours, vmin=low, vmax=high, extent=(0, side, 0, side)
            )
            figure.colorbar(drawn, ax=axis, label="cm")
            dress(axis, title=title, x="km", y="km", grid="")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="a small domain, short runs, some of the methods"
    )
    parser.add_argument("--worlds", nargs="+", choices=("perfect", "wrong"))
    parser.add_argument("--methods", nargs="+", choices=(*CLASSICAL, "4DVarNet", *AMORTIZED))
    parser.add_argument("--out", type=Path, help="folder for maps, from which a run goes on")
    options = parser.parse_args()
    worlds = options.worlds or (["perfect"] if options.quick else ["perfect", "wrong"])
    sizes = QUICK if options.quick else FULL
    # A quick run is compiled for longer than it runs.
    jax.config.update("jax_disable_most_optimizations", options.quick)
    chosen = options.methods or (["LETKF", "amortized"] if options.quick else None)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    figures, bars = {}, []
    for name in worlds:
        world = Experiment(sizes, name == "wrong", say)
        out = options.out / name if options.out else None
        maps = maps_of(world, out, chosen)
        rows = table(world, maps)
        print(f"{name + ' model':20}" + "".join(f"{h:>17}" for h in HEADS))
        for method, row in rows.items():
            print(line(method, row), flush=True)
        picture((options.out or Path("build/ssh_osse")) / f"{name}.png", world, maps)
        figures[name] = rows
        bars += bars_of(name, rows)
    for bar in bars:
        print(f"{'ok  ' if bar['pass'] else 'MISS'} {bar['name']}: {bar['value']} ({bar['bar']})")
    figures |= {"bands_km": [b / 1e3 for b in BANDS], "device": jax.devices()[0].device_kind}
    print(json.dumps(plain({"name": "ssh_osse", "figures": figures, "bars": bars})))


if __name__ == "__main__":
    main()
