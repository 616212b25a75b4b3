"""The amortized analysis of real temperature beside optimal interpolation, over station networks.

One set of weights is trained on the first twenty days of March 2019 and cycled through the last
eleven with several draws of the stations and several numbers of them; it is never retrained. The
optimal interpolation of the same run knows the climatology of the same twenty days. Scores are
taken at all points without a station. The ERA5 files lie in the folder that VARDAX_DATA_DIR names.

    python benchmarks/era5.py --draws 5 --stations 20 40 160 320
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from vardax_core.calibration.scores import compute_scores
from vardax_core.data import ingest, load_recipe
from vardax_core.data.recipe import validate_recipe
from vardax_core.experiments.assimilate import Assimilation, pending_cycles
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import TrainingSettings, default_settings
from vardax_core.experiments.stored_statistics import stored_statistics

DATASET = "era5-t2m-uk"
METHODS = ("oi", "amortized")
SCORES = ("rmse", "crps_gaussian", "spread_over_rmse", "coverage_90")
RMSE_GAIN, CRPS_GAIN, RATIO = 0.03, 0.06, 0.1
"""Least gains over optimal interpolation, and largest |spread/RMSE - 1|."""


def data_folder():
    """Where the ERA5 files are."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("VARDAX_DATA_DIR", beside))
    if not (folder / "era5_t2m_uk_2019-03.nc").is_file():
        sys.exit(f"The ERA5 files are not in {folder}; export VARDAX_DATA_DIR=/path/to/them.")
    return folder


def network_of(recipe, draw, count):
    """The recipe with another draw and another number of stations."""
    values = recipe.model_dump(mode="json")
    values["network"] |= {"seed": draw, "count": count}
    return validate_recipe(values, f"{count} stations, draw {draw}")


def cycled(recipe, method, root, ingested, steps, until):
    """Scores of one method on one network; it is trained for the data set's if nobody did before.

    `recipe` has that network.
    """
    settings = default_settings(recipe, method)
    if steps:
        settings = settings.model_copy(update={"training": TrainingSettings(steps=steps)})
    stores = str(root / "stores" / f"{recipe.network.count}-{recipe.network.seed}")
    made = Experiment(recipe, settings, root, stores)
    learner = Experiment(load_recipe(DATASET), settings, root, stores)
    training = recipe.training
    days = slice(training.start.replace(tzinfo=None), training.end.replace(tzinfo=None))
    learned = ingested.nature_run.sel(time=days)
    if learner.trained_version(learned) is None:
        begin = time.perf_counter()
        learner.train(learned, lambda *_: None)
        print(f"{method} trained in {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    store = made.create_store(ingested)
    made.append_observations(store, ingested)
    times = pending_cycles(made, store, until)
    for _ in Assimilation(made, store, learner.prepare(store)).run(times):
        pass
    diagnostics = store.dataset("diagnostics").load()
    statistics = stored_statistics(recipe, diagnostics)
    scores = compute_scores(statistics, key=jax.random.key(0), resamples=0)
    return {name: scores[name] for name in SCORES}


def compared(recipe, root, folder, steps, until):
    """Both methods on one network, and what the amortized analysis gains."""
    ingested = ingest(recipe, path=folder / "era5_t2m_uk_2019-03.nc")
    row = {m: cycled(recipe, m, root, ingested, steps, until) for m in METHODS}
    ours, reference = row["amortized"], row["oi"]
    row["rmse_gain"] = 1 - ours["rmse"] / reference["rmse"]
    row["crps_gain"] = 1 - ours["crps_gaussian"] / reference["crps_gaussian"]
    name = f"{recipe.network.count} stations, draw {recipe.network.seed}"
    print(
        f"{name:26}{reference['rmse']:>9.3f}{ours['rmse']:>9.3f}{100 * row['rmse_gain']:>8.1f} %"
        f"{reference['crps_gaussian']:>9.3f}{ours['crps_gaussian']:>9.3f}"
        f"{100 * row['crps_gain']:>8.1f} %{ours['spread_over_rmse']:>9.3f}"
        f"{100 * ours['coverage_90']:>8.1f} %",
        flush=True,
    )
    return row


def bars_of(name, rows):
    """The bars of the issue on the mean over some networks of one size."""
    rmse = float(np.mean([row["rmse_gain"] for row in rows]))
    crps = float(np.mean([row["crps_gain"] for row in rows]))
    ratios = [row["amortized"]["spread_over_rmse"] for row in rows]
    off = abs(float(np.mean(ratios)) - 1)
    print(f"{name}: spread/RMSE {min(ratios):.3f} to {max(ratios):.3f}")
    return [
        {
            "name": f"{name}: gain in RMSE",
            "value": rmse,
            "bar": RMSE_GAIN,
            "pass": rmse >= RMSE_GAIN,
        },
        {
            "name": f"{name}: gain in CRPS",
            "value": crps,
            "bar": CRPS_GAIN,
            "pass": crps >= CRPS_GAIN,
        },
        {"name": f"{name}: |spread/RMSE - 1|", "value": off, "bar": RATIO, "pass": off <= RATIO},
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few steps, two days, one network")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--stations", type=int, nargs="*", default=[20, 40, 160, 320])
    options = parser.parse_args()
    steps, until = 0, None
    if options.quick:
        options.draws, options.stations, steps = 1, [], 5
        until = np.datetime64("2019-03-21T21")
    folder, recipe = data_folder(), load_recipe(DATASET)
    print(f"{'':26}{'RMSE [K]':^27}{'CRPS [K]':^27}{'spread/':>9}{'90 %':>9}")
    columns = "".join(f"{c:>9}" for c in ("oi", "ours", "gain") * 2)
    print(f"{'':26}{columns}{'RMSE':>9}{'cover':>9}")
    rows, bars = {}, []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for count in (recipe.network.count, *options.stations):
            found = {}
            for draw in range(1, options.draws + 1):
                network = network_of(recipe, draw, count)
                found[f"{count} stations, draw {draw}"] = compared(
                    network, root, folder, steps, until
                )
            rows |= found
            bars += bars_of(f"{count} stations, {options.draws} draws", list(found.values()))
    for bar in bars:
        print(
            f"{'ok  ' if bar['pass'] else 'MISS'} {bar['name']}: {bar['value']:.3f} ({bar['bar']})"
        )
    print(json.dumps({"name": "era5", "figures": {"rows": rows}, "bars": bars}))


if __name__ == "__main__":
    main()
