"""Ten thousand cycles of Lorenz-96 with observations that fail at random.

Every station fails for spells of some days, and now and then all of them do for up to a day; some
values are wild. The cycle is stopped and taken up again from the store several times. At the end
no cycle may be missing, memory must not have grown, the filter must have come back after every
outage, and what `vardax open` says must be what was done.

    python benchmarks/soak.py --quick
    python benchmarks/soak.py
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

FLAT = 1.1
MEMBERS = 24
OUT_SHARE = 0.15
"""Share of the time that a station is out."""
SPELL = 12
"""Mean length of a spell in cycles."""
BLACKOUT_EVERY, LONGEST_BLACKOUT = 200, 4
WILD_SHARE = 0.002
SETTLED = 4 * LONGEST_BLACKOUT
"""Cycles after a blackout from which the analysis is judged again."""
BACK = 0.5
"""Analysis error, in standard deviations of the observations, of a filter that is not lost: about
twice what it has with all stations."""


def memory_mb(which):
    """Memory of this process: `VmRSS` for what is resident, `VmHWM` for the most there was."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1]) / 1024
    return float("nan")


def soak_recipe(cycles):
    from vardax_core.data import load_recipe
    from vardax_core.data.recipe import validate_recipe

    values = load_recipe("lorenz96").model_dump(mode="json")
    end = np.datetime64("2000-01-01T00") + (cycles - 1) * np.timedelta64(6, "h")
    values["name"] = "soak"
    values["period"] = {"start": "2000-01-01T00:00:00Z", "end": f"{end}:00:00Z"}
    return validate_recipe(values, "soak")


def outages(cycles, stations, rng):
    """Where a station is out (cycle, station), and where all are."""
    fails, returns = OUT_SHARE / (1 - OUT_SHARE) / SPELL, 1 / SPELL
    out = np.zeros((cycles, stations), bool)
    now = rng.random(stations) < OUT_SHARE
    for row in out:
        now = np.where(now, rng.random(stations) >= returns, rng.random(stations) < fails)
        row[:] = now
    dark = np.zeros(cycles, bool)
    for start in np.flatnonzero(rng.random(cycles) < 1 / BLACKOUT_EVERY):
        dark[start : start + rng.integers(1, LONGEST_BLACKOUT + 1)] = True
    return out | dark[:, None], dark


def with_outages(ingested, rng):
    """The observations with their outages and wild values as a source would report them."""
    import dataclasses

    from vardax_core.observations.quality import QualityCode, check_bounds

    recipe = ingested.recipe
    name = recipe.variable.name
    observations = ingested.observations
    out, dark = outages(observations.sizes["time"], observations.sizes["station"], rng)
    values = observations[name].values.copy()
    wild = rng.random(values.shape) < WILD_SHARE
    values[wild] *= rng.choice([-100.0, 5.0], wild.sum())
    values[out] = np.nan
    changed = observations.assign({name: (("time", "station"), values, observations[name].attrs)})
    checked = check_bounds(changed, name, recipe.variable.valid_min, recipe.variable.valid_max)
    missing = checked["quality_control"].values == int(QualityCode.MISSING)
    return dataclasses.replace(ingested, observations=checked), dark, float(missing.mean())


def run(folder, cycles, segment, restarts):
    """The soak; figures and what the store is asked at the end."""
    from vardax_core.data import ingest
    from vardax_core.experiments import experiment
    from vardax_core.experiments.assimilate import Assimilation, pending_cycles
    from vardax_core.experiments.experiment import Experiment
    from vardax_core.experiments.settings import ExperimentSettings
    from vardax_core.store import render, summarize

    recipe = soak_recipe(cycles)
    experiment.segment_cycles = lambda ensemble_bytes: segment
    made = Experiment(recipe, ExperimentSettings(method="etkf", members=MEMBERS), folder)
    ingested, dark, missing = with_outages(ingest(recipe), np.random.default_rng(7))
    store = made.create_store(ingested)
    made.append_observations(store, ingested)
    memory, seconds = [], []
    targets = pending_cycles(made, store)[:: max(1, cycles // (restarts + 1))][1:]
    for target in (*targets, None):
        store = made.open_store()
        work = Assimilation(made, store, made.prepare(store))
        for report in work.run(pending_cycles(made, store, target)):
            memory.append(memory_mb("VmRSS"))
            seconds.append((time.perf_counter(), report.cycles))
    diagnostics = store.dataset("diagnostics").load()
    rmse = diagnostics["rmse"].values
    since = np.full(cycles, cycles)
    count = cycles
    for number, is_dark in enumerate(dark):
        count = 0 if is_dark else count + 1
        since[number] = count
    judged = (since > SETTLED) & (np.arange(cycles) > recipe.burn_in)
    summary = summarize(store)
    text = render(summary)
    period = [str(t.astype("datetime64[m]")) for t in diagnostics["time"].values[[0, -1]]]
    said = (
        (summary.cycles, summary.method) == (cycles, "etkf")
        and f"{cycles}, {period[0]} to {period[1]}" in text
        and sum(r.metadata.get("cycles", 0) for r in store.history()) == cycles
        and sum(r.metadata.get("flagged", 0) for r in store.history())
        == int((diagnostics["result"].values != 0).sum())
    )
    steps = np.unique(np.diff(diagnostics["time"].values))
    lost = cycles - diagnostics.sizes["time"] + int(len(steps) != 1)
    lost += int((~np.isfinite(store.dataset("analysis")["x_mean"].values)).any(axis=1).sum())
    tenth = max(1, len(memory) // 10)
    rates = np.diff([at for at, _ in seconds])
    return {
        "cycles": cycles,
        "segments": len(memory),
        "restarts": len(targets),
        "share_missing": missing,
        "blackout_cycles": int(dark.sum()),
        "cycles_with_another_code": int((diagnostics["result"].values != 0).sum()),
        "observations_rejected": int(
            (store.dataset("innovations")["quality_control"].values == 7).sum()
        ),
        "rmse_median": float(np.median(rmse[judged])),
        "rmse_99_percent": float(np.quantile(rmse[judged], 0.99)),
        "memory_at_tenth_mb": memory[tenth],
        "memory_at_end_mb": memory[-1],
        "seconds_a_segment": float(np.median(rates)),
        "lost": lost,
        "said": said,
    }


def bar(name, value, limit, *, at_most):
    passed = value <= limit if at_most else value >= limit
    return {"name": name, "value": value, "bar": limit, "pass": bool(passed)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="600 cycles")
    parser.add_argument("--cycles", type=int, default=10000)
    parser.add_argument("--restarts", type=int, default=4)
    parser.add_argument("--folder", default=None, help="where to write [temporary]")
    options = parser.parse_args()
    segment = 100
    if options.quick:
        options.cycles, options.restarts, segment = 600, 2, 20
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = run(Path(folder), options.cycles, segment, options.restarts)
    for name, value in figures.items():
        print(f"  {name:26} {value if isinstance(value, int) else round(value, 4)}")
    growth = figures["memory_at_end_mb"] / figures["memory_at_tenth_mb"]
    bars = [
        bar("cycles that are lost", figures["lost"], 0, at_most=True),
        bar("memory at the end over that at a tenth", growth, FLAT, at_most=True),
        bar(
            "median analysis error away from blackouts", figures["rmse_median"], BACK, at_most=True
        ),
        bar("vardax open says what was done", int(figures["said"]), 1, at_most=False),
    ]
    for each in bars:
        mark = "pass" if each["pass"] else "FALLS SHORT"
        print(f"{each['name']:50} {each['value']:10.3f}  bar {each['bar']:g}  {mark}")
    print(json.dumps({"name": "soak", "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
