"""A report over ten thousand cycles: its time, its memory, and whether its numbers are right.

A Lorenz-96 store is cycled with an ETKF. The report on it is then made in a process of its own,
whose time and largest resident memory count; it reads the sums that the cycles left and opens no
ensemble. Its scores are compared with those computed from all stored members and the nature run,
which takes as much memory as they do.

    python benchmarks/report.py --quick
    python benchmarks/report.py
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np
from soak import MEMBERS, memory_mb, soak_recipe

SECONDS, MEGABYTES, RELATIVE = 10.0, 500.0, 1e-6
LEVEL = 1.6448536269514722
"""Half width of the central 90 % interval of a standard normal distribution."""


def experiment_in(folder, cycles):
    from vardax_core.experiments.experiment import Experiment
    from vardax_core.experiments.settings import ExperimentSettings

    settings = ExperimentSettings(method="etkf", members=MEMBERS)
    return Experiment(soak_recipe(cycles), settings, folder)


def cycle(folder, cycles):
    """Fill the store; the seconds that it took."""
    from vardax_core.data import ingest
    from vardax_core.experiments.assimilate import Assimilation, pending_cycles

    begin = time.perf_counter()
    made = experiment_in(folder, cycles)
    ingested = ingest(made.recipe)
    store = made.create_store(ingested)
    made.append_observations(store, ingested)
    for _ in Assimilation(made, store, made.prepare(store)).run(pending_cycles(made, store)):
        pass
    return time.perf_counter() - begin


def make_report(folder, cycles, results):
    """In a process of its own: the report, what it took, and its scores."""
    begin = time.perf_counter()
    from vardax_core.experiments.comparison import compare

    made = experiment_in(folder, cycles)
    imported = time.perf_counter()
    found = compare([made], made)
    done = time.perf_counter()
    scores = found.scores[made.settings.method]
    results.put(
        {
            "import_s": imported - begin,
            "report_s": done - imported,
            "total_s": done - begin,
            "peak_mb": memory_mb("VmHWM"),
            "pictures": len(list(found.markdown.parent.rglob("*.png"))),
            "scores": {name: float(scores[name]) for name in DIRECT},
        }
    )


DIRECT = ("rmse", "bias", "mae", "spread", "crps_fair", "coverage_90", "innovation_rms")


def direct_scores(folder, cycles):
    """The same scores from all stored members, in double precision."""
    made = experiment_in(folder, cycles)
    store = made.open_store()
    late = slice(made.recipe.burn_in, None)
    analysis = store.dataset("analysis").isel(time=late)
    name = made.recipe.variable.name
    truth = store.dataset("nature_run")[name].sel(time=analysis["time"]).values.astype(float)
    members = analysis[name].transpose("time", "member", ...).values.astype(float)
    mean, spread = members.mean(axis=1), members.std(axis=1, ddof=1)
    error, count = mean - truth, members.shape[1]
    ordered = np.sort(members, axis=1)
    ranks = 2 * np.arange(count) - count + 1.0
    pairs = np.einsum("m,tmn->tn", ranks, ordered) / (count * (count - 1))
    departure = store.dataset("innovations")["background_departure"].isel(time=late).values
    return {
        "rmse": np.sqrt((error**2).mean(axis=1)).mean(),
        "bias": error.mean(),
        "mae": np.abs(error).mean(),
        "spread": np.sqrt((spread**2).mean(axis=1)).mean(),
        "crps_fair": (np.abs(members - truth[:, None]).mean(axis=1) - pairs).mean(),
        "coverage_90": (np.abs(error) <= LEVEL * spread).mean(),
        "innovation_rms": np.sqrt(np.nanmean(departure.astype(float) ** 2)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="600 cycles")
    parser.add_argument("--cycles", type=int, default=10000)
    options = parser.parse_args()
    if options.quick:
        options.cycles = 600
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Every part in a process of its own: the memory of one is not that of another.
        fresh = multiprocessing.get_context("spawn")
        with fresh.Pool(1) as pool:
            cycling = pool.apply(cycle, (folder, options.cycles))
        results = fresh.Queue()
        maker = fresh.Process(target=make_report, args=(folder, options.cycles, results))
        maker.start()
        found = results.get(timeout=600)
        maker.join()
        direct = direct_scores(folder, options.cycles)
    scores = found.pop("scores")
    print(f"{options.cycles} cycles were made in {cycling:.1f} s")
    for what, value in found.items():
        print(f"  {what:12} {value:10.2f}")
    print(f"{'score':18}{'report':>14}{'all members':>14}{'difference':>12}")
    differences = {}
    for what, value in direct.items():
        scale = direct["rmse"] if what == "bias" else abs(value)
        differences[what] = float(abs(scores[what] - value) / scale)
        print(f"{what:18}{scores[what]:>14.8f}{value:>14.8f}{differences[what]:>12.1e}")
    wanted = [
        ("seconds for the report", found["report_s"], SECONDS),
        ("largest resident memory in MB", found["peak_mb"], MEGABYTES),
        ("largest relative difference of a score", max(differences.values()), RELATIVE),
    ]
    bars = []
    for what, value, limit in wanted:
        passed = bool(value <= limit)
        print(f"{'ok  ' if passed else 'MISS'} {what}: {value:.3g} ({limit:g})")
        bars.append({"name": what, "value": value, "bar": limit, "pass": passed})
    figures = {"cycles": options.cycles, "cycling_s": cycling, **found, "differences": differences}
    print(json.dumps({"name": "report", "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
