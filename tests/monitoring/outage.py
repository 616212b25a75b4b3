"""A small twin whose stations are silent for some cycles, with a shared way to run and look."""

import dataclasses
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from tests.experiments import small
from vardax_core.data import Ingested, ingest
from vardax_core.data.recipe import Recipe, validate_recipe
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import ExperimentSettings
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.store import ExperimentStore

START, END = np.datetime64("2000-01-20T00:00"), np.datetime64("2000-01-20T06:00")
"""First and last cycle without observations."""
BEFORE, DURING, RECOVERED = "2000-01-19T18:00", "2000-01-20T06:00", "2000-01-21T06:00"


def recipe() -> Recipe:
    """The small twin over five weeks, with enough variables for its statistics to be steady."""
    values = small.recipe().model_dump(mode="json")
    values["period"]["end"] = "2000-02-05T00:00:00Z"
    values["source"]["size"] = 24
    values["burn_in"] = 40
    return validate_recipe(values, "small")


def experiment(root: Path, method: str = "etkf", stores: str | None = None) -> Experiment:
    settings = ExperimentSettings(method=method, members=16)
    return Experiment(recipe(), settings, root, stores)


def ingested(silent: Iterable[np.datetime64] | None = None) -> Ingested:
    """The twin's observations, none of them at `silent` (the outage)."""
    made = ingest(recipe())
    times = made.observations["time"].to_numpy().astype("datetime64[m]")
    gone = (times >= START) & (times <= END) if silent is None else np.isin(times, list(silent))
    observations = made.observations.copy(deep=True)
    observations["x"].values[gone] = np.nan
    observations[QUALITY_CONTROL].values[gone] = QualityCode.MISSING
    return dataclasses.replace(made, observations=observations)


def run_to(made: Experiment, store: ExperimentStore, until: str) -> None:
    """Catch up the cycles to a time."""
    small.catch_up(made, store, until)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
