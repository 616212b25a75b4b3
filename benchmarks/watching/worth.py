"""What streams are worth: real stations, and stations that report noise, over many seeds.

Of a Lorenz-96 ring of 40 an LETKF sees 30 stations with the error that they state, and 10 whose
values are noise of the climate's size with the error that such noise has. Ten of the first and
these ten are withheld from the same cycles in turn, and the ensemble says what they do without
running anything again.
"""

import dataclasses
import pathlib
import tempfile
import time

import numpy as np

from vardax_core.data import ingest, load_recipe
from vardax_core.data.recipe import Recipe, validate_recipe
from vardax_core.experiments.assimilate import Assimilation, pending_cycles
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import ExperimentSettings
from vardax_core.experiments.worth import Verdict, entries_of, rerun_without, worth
from vardax_core.store import ExperimentStore

SETTLED = 100
"""Cycles before those that are made again."""
CLIMATE = (2.3, 3.6)
"""Mean and standard deviation of a variable."""
NOISE, STATED = slice(3, 40, 4), 4.0
STREAMS = {"real": range(1, 40, 4), "noise": range(3, 40, 4)}
"""Every fourth station: no part of the ring is seen by noise alone."""
COST = 1.2


def recipe(seed: int, cycles: int) -> Recipe:
    """The ring with a nature run and errors of a seed."""
    values = load_recipe("lorenz96").model_dump(mode="json")
    start = np.datetime64(values["period"]["start"].rstrip("Z"), "m")
    end = start + (cycles - 1) * np.timedelta64(6, "h")
    values |= {"burn_in": SETTLED}
    values["period"]["end"] = f"{end}:00Z"
    values["source"]["seed"] = values["observation"]["seed"] = seed
    return validate_recipe(values, "worth")


def observed(made: Experiment, seed: int) -> ExperimentStore:
    """The store with observations of which ten stations report noise."""
    given = ingest(made.recipe)
    values = given.observations.copy(deep=True)
    name = made.recipe.observed.name
    noise = np.random.default_rng(seed).normal(*CLIMATE, values[name][:, NOISE].shape)
    values[name][:, NOISE] = noise.astype(np.float32)
    values[f"{name}_error"][:, NOISE] = STATED
    given = dataclasses.replace(given, observations=values)
    store = made.create_store(given)
    made.append_observations(store, given)
    return store


def one(seed: int, cycles: int) -> dict:
    """What comes of a seed: verdicts and impacts by stream, cost, and bytes of observations."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"radius": 4.0, "inflation": 1.06}
        chosen = ExperimentSettings(method="letkf", members=12, options=options)
        made = Experiment(recipe(seed, cycles), chosen, pathlib.Path(folder))
        store = observed(made, seed)
        prepared = made.prepare(store)
        begun = time.perf_counter()
        for _ in Assimilation(made, store, prepared).run(pending_cycles(made, store)):
            pass
        usual = (time.perf_counter() - begun) / cycles
        times = store.dataset("analysis")["time"].values
        kept = store.observations.location.size()
        found = {"usual": usual}
        for name, stations in STREAMS.items():
            entries = entries_of(made.recipe, (), map(str, stations), times[SETTLED])
            rerun = rerun_without(made, store, prepared, entries, times[SETTLED], times[-1])
            begun = time.perf_counter()
            rerun.finish()
            again = (time.perf_counter() - begun) / rerun.times.size
            said = worth(made, store, prepared, entries, rerun, times[SETTLED], times[-1])
            found[name] = {
                "verdict": said.verdict,
                "loss": said.telling.found.mean,
                "impact": said.impacts[0].mean,
                "cost": again / usual,
            }
            rerun.drop()
        found["copied"] = store.observations.location.size() - kept
    return found


def streams(figures: dict, seeds: int, cycles: int) -> list:
    """Bars: seeds judged wrongly, seeds that the ensemble ranks otherwise, cost, bytes copied."""
    found = [one(seed, cycles) for seed in range(1, seeds + 1)]
    for kept in found:
        print(
            "  ".join(f"{name} {kept[name]['verdict']}, loses {kept[name]['loss']:.3f} without, "
                      f"impact {kept[name]['impact']:.4f}" for name in STREAMS)
        )  # fmt: skip
    wrong = sum(
        kept["real"]["verdict"] is not Verdict.USEFUL or kept["noise"]["verdict"] is Verdict.USEFUL
        for kept in found
    )
    ranked = sum(kept["real"]["impact"] >= kept["noise"]["impact"] for kept in found)
    cost = float(np.median([kept[name]["cost"] for kept in found for name in STREAMS]))
    copied = float(max(kept["copied"] for kept in found))
    figures["streams"] = {"seeds": seeds, "cycles": cycles, "cost": cost, "losses": [
        {name: [kept[name]["loss"], kept[name]["impact"]] for name in STREAMS} for kept in found
    ]}  # fmt: skip
    return [
        (f"{seeds} seeds: streams that are judged wrongly", float(wrong), 0.0),
        (f"{seeds} seeds: ranked otherwise by the ensemble", float(ranked), 0.0),
        ("cycles without a stream over cycles with it, median time", cost, COST),
        ("bytes of observations that are copied", copied, 0.0),
    ]
