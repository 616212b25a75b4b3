"""A small Lorenz-96 twin, and everything from its recipe to its cycles without Prefect.

It is also a program: `python small.py ROOT MOMENT` catches up the amortized experiment under
ROOT and dies by SIGKILL at the moment that MOMENT names, or not at all.
"""

import dataclasses
import functools
import itertools
import os
import signal
import sys
import time
from pathlib import Path

import jax
import numpy as np
import yaml

from vardax_core.data import Ingested, Recipe, ingest, load_recipe
from vardax_core.data.recipe import validate_recipe
from vardax_core.experiments import experiment
from vardax_core.experiments.assimilate import Assimilation, pending_cycles
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.held_out import HeldOutPlan
from vardax_core.experiments.settings import ExperimentSettings, TrainingSettings
from vardax_core.methods.amortized import first_guess, transform
from vardax_core.store import ExperimentStore, StoreNotFoundError
from vardax_core.training.twin_cycles import TwinPlan

SEGMENT = 12
CYCLES = 30
MEMBERS = 6
FEW_TWINS = HeldOutPlan(streams=8, per_stream=2, settle=20, gap=20)
"""Of gates that run, and need not pass."""
KILLED_STEPS = 200
"""Two chunks of the training loop, so that there is a moment between them."""


def recipe(**source: object) -> Recipe:
    """The recipe of the twin, as short and as narrow as its tests allow."""
    values = load_recipe("lorenz96").model_dump(mode="json")
    values |= {"name": "small", "title": "Small twin", "burn_in": 5}
    values["period"] = {"start": "2000-01-01T00:00:00Z", "end": "2000-01-08T06:00:00Z"}
    values["source"] |= {"size": 12, "spin_up_steps": 100, **source}
    return validate_recipe(values, "small")


def write_recipe(folder: Path, made: Recipe | None = None) -> None:
    """Put the recipe where `VARDAX_DATASETS_DIR=folder` finds it."""
    path = folder / "small" / "recipe.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump((made or recipe()).model_dump(mode="json")))


def experiment_of(
    root: Path,
    method: str,
    *,
    steps: int = 20,
    stores: str | None = None,
    **settings: object,
) -> Experiment:
    chosen = {"members": MEMBERS, "training": TrainingSettings(steps=steps), **settings}
    return Experiment(recipe(), ExperimentSettings(method=method, **chosen), root, stores)


def shorten_segments(setattr_=setattr, length: int = SEGMENT) -> None:
    """Segments that are shorter than the period, so that there is more than one."""
    setattr_(experiment, "segment_cycles", lambda ensemble_bytes: length)


def shorten_training(setattr_=setattr) -> None:
    """What is measured on a trained transform is measured on fewer twins: cycles take most of the
    time of a training of so few steps."""
    # Alike in both rounds, so that one program serves them.
    setattr_(first_guess, "ROUNDS", (TwinPlan(streams=2, cycles=20, spin_up=10),) * 2)
    setattr_(transform, "TRIAL_PLAN", TwinPlan(streams=8, cycles=30, spin_up=30))
    setattr_(transform, "SPREAD_TRIALS", 2)
    setattr_(transform, "SPREAD_REPEATS", 1)
    monitored = functools.partial(TwinPlan, cycles=260, spin_up=40, attractor=200)
    setattr_(transform, "TwinPlan", monitored)


def ingested_store(made: Experiment, ingested: Ingested | None = None) -> ExperimentStore:
    """The experiment's store with all observations."""
    ingested = ingest(made.recipe) if ingested is None else ingested
    try:
        store = made.open_store()
    except StoreNotFoundError:
        store = made.create_store(ingested)
    made.append_observations(store, ingested)
    return store


def with_noise(root: Path, *, seed: int) -> tuple[Experiment, ExperimentStore]:
    """500 cycles of a ring of 40 of which every fourth station, from 3 on, reports noise of the
    climate's size, with the error that this would have."""
    values = recipe(size=40, seed=seed).model_dump(mode="json")
    values["period"]["end"], values["burn_in"] = "2000-05-04T18:00:00Z", 40
    values["observation"]["seed"] = seed
    options = {"radius": 4.0, "inflation": 1.06}
    chosen = ExperimentSettings(method="letkf", members=12, options=options)
    made = Experiment(validate_recipe(values, "small"), chosen, root)
    observed = ingest(made.recipe)
    told = observed.observations.copy(deep=True)
    noise = np.random.default_rng(seed).normal(2.3, 3.6, told["x"][:, 3::4].shape)
    told["x"][:, 3::4], told["x_error"][:, 3::4] = noise.astype(np.float32), 4.0
    store = ingested_store(made, dataclasses.replace(observed, observations=told))
    catch_up(made, store)
    return made, store


def catch_up(made: Experiment, store: ExperimentStore, until: str | None = None) -> list:
    """Run what is pending; the reports of the segments."""
    target = None if until is None else np.datetime64(until)
    times = pending_cycles(made, store, target)
    if not len(times):
        return []
    return list(Assimilation(made, store, made.prepare(store)).run(times))


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def main(root: str, moment: str) -> None:
    shorten_segments()
    shorten_training()
    made = experiment_of(Path(root), "amortized", steps=KILLED_STEPS)
    store = ingested_store(made)
    if made.trained_version(None) is None:
        made.train(None, die if moment == "training" else lambda *_: None)
    countdown = itertools.count(1)

    def block_until_ready(dispatched, wait=jax.block_until_ready):
        if next(countdown) == 2:  # the first segment is being committed
            while store.tip().cycles < SEGMENT:
                time.sleep(0.05)
            die()
        return wait(dispatched)

    if moment == "segment":
        jax.block_until_ready = block_until_ready
    if moment == "publish":
        store.writer = functools.partial(store.writer, before_publish=die)
    catch_up(made, store)


if __name__ == "__main__":
    main(*sys.argv[1:])
