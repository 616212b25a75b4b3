"""Short runs of one method on a small recipe, without Prefect."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from tests.experiments import small
from vardax_core.data import Recipe, ingest, load_recipe
from vardax_core.data.recipe import validate_recipe
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import ExperimentSettings, TrainingSettings
from vardax_core.experiments.validation import validate
from vardax_core.types import ResultCode

SETTLED = 12
"""Cycles of a run that are not scored."""


def recipe(cycles: int = 60, times: int = 1, **source: object) -> Recipe:
    """A Lorenz-96 ring of 12 points, all of them observed, analysed every 6 hours.

    Arguments:
        times: observation times of each cycle's window, 90 minutes apart.
        source: changes of the twin.
    """
    values = load_recipe("lorenz96").model_dump(mode="json")
    values |= {"name": "ring", "title": "Small twin", "burn_in": SETTLED}
    end = np.datetime64("2000-01-01T00:00") + np.timedelta64(6, "h") * (cycles - 1)
    values["period"] = {"start": "2000-01-01T00:00:00Z", "end": f"{end}:00Z"}
    values["source"] |= {"size": 12, "spin_up_steps": 400, **source}
    if times > 1:
        values["source"] |= {"step_interval": "PT1H30M", "step_size": 0.0125}
        values["observation"] |= {"interval": "PT1H30M"}
        values["window"] = {"times": times, "spacing": "PT1H30M"}
    return validate_recipe(values, "ring")


def experiment(
    root: Path, made: Recipe, method: str, *, members: int = 12, steps: int = 20, **options: object
) -> Experiment:
    """An experiment with settings of its method."""
    training = TrainingSettings(steps=steps)
    settings = ExperimentSettings(
        method=method, options=options, members=members, training=training
    )
    return Experiment(made, settings, root)


def run(made: Experiment) -> xr.Dataset:
    """Train if need be, cycle to the end, and give the diagnostics of every cycle."""
    if made.needs_training:
        made.train(made.training_run(), lambda *_: None)
    store = small.ingested_store(made, ingest(made.recipe))
    small.catch_up(made, store)
    assert np.isfinite(store.dataset("analysis")["x"]).all()
    return store.dataset("diagnostics").load()


def judged_scores(made: Experiment) -> dict[str, float]:
    """Run the gates on weights that were trained, over few twins: they run, and need not pass."""
    report = validate(made, twins=small.FEW_TWINS)
    return json.loads(report.path.read_text())["scores"]


def rmse(diagnostics: xr.Dataset) -> float:
    """Root mean square error of the analysis mean after the first cycles."""
    settled = diagnostics.isel(time=slice(SETTLED, None))
    return float(np.sqrt(settled["squared_error"].sum() / settled["weight"].sum()))


def share_of(diagnostics: xr.Dataset, code: ResultCode) -> float:
    """Share of the cycles that ended with a result code."""
    return float(np.mean(diagnostics["result"].values == int(code)))


def cycle(root: Path, made: Recipe, method: str, **options: Any) -> xr.Dataset:
    """Run an experiment of one method."""
    return run(experiment(root, made, method, **options))
