"""A small field in a file, its recipe, and everything from these to scored cycles."""

from pathlib import Path

import jax
import numpy as np
import xarray as xr

from tests.experiments import small
from vardax_core.calibration.scores import Scores, compute_scores
from vardax_core.data import Recipe, ingest
from vardax_core.data.recipe import validate_recipe
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import ExperimentSettings, TrainingSettings
from vardax_core.experiments.stored_statistics import stored_statistics
from vardax_core.store import ExperimentStore

DAYS = 24
LATITUDE = np.linspace(58, 50, 5)
LONGITUDE = np.linspace(-10, 1, 6)
SD = 3.0


def field(*, cadence: int = 60, mean: float = 10.0, seed: int = 0) -> xr.Dataset:
    """A smooth field that forgets itself in a day, with a daily cycle, in degrees Celsius.

    Arguments:
        cadence: minutes between two states.
    """
    rng = np.random.default_rng(seed)
    time = np.arange(0, DAYS * 1440, cadence)
    place = np.stack(np.meshgrid(LATITUDE, 0.6 * LONGITUDE, indexing="ij"), -1).reshape(-1, 2)
    apart = np.linalg.norm(place[:, None] - place[None], axis=-1)
    root = np.linalg.cholesky(np.exp(-apart / 4) + 1e-6 * np.eye(len(place)))
    keep = np.exp(-cadence / 1080)
    states = np.empty((len(time), len(place)))
    states[0] = root @ rng.standard_normal(len(place))
    for k in range(1, len(time)):
        noise = root @ rng.standard_normal(len(place))
        states[k] = keep * states[k - 1] + np.sqrt(1 - keep**2) * noise
    daily = 2 * np.cos(2 * np.pi * time / 1440)
    values = mean + SD * states + daily[:, None]
    instants = np.datetime64("2019-03-01T00:00", "ns") + time * np.timedelta64(1, "m")
    return xr.Dataset(
        {
            "t2m": (
                ("time", "latitude", "longitude"),
                values.reshape(-1, LATITUDE.size, LONGITUDE.size).astype(np.float32),
                {"units": "degC"},
            )
        },
        {"time": instants, "latitude": LATITUDE, "longitude": LONGITUDE},
    )


def recipe(**sections: object) -> Recipe:
    """The recipe of that field; sections are changed key by key, or whole if they have a kind."""
    values: dict = {
        "name": "smooth",
        "title": "A smooth field",
        "attribution": "Made by a test.",
        "variable": {
            "name": "t2m",
            "long_name": "temperature",
            "units": "degC",
            "valid_min": -100.0,
            "valid_max": 100.0,
        },
        "state_dims": ["latitude", "longitude"],
        "training": {"start": "2019-03-01T00:00:00Z", "end": "2019-03-20T23:00:00Z"},
        "period": {"start": "2019-03-21T00:00:00Z", "end": "2019-03-22T00:00:00Z"},
        "burn_in": 0,
        "cycle_interval": "6h",
        "window": {"times": 1, "spacing": "6h"},
        "latency": "0h",
        "source": {
            "kind": "file",
            "variable": "t2m",
            "files": [{"name": "none.nc", "sha256": "0" * 64}],
        },
        "network": {"kind": "random_points", "count": 8, "seed": 1},
        "observation": {"error_sd": 0.5, "interval": "6h", "arrival_delay": "0h", "seed": 1},
    }
    for name, changes in sections.items():
        added = isinstance(changes, dict) and "kind" not in changes
        values[name] = {**values.get(name, {}), **changes} if added else changes
    return validate_recipe(values, "smooth")


def experiment(made: Recipe, root: Path, method: str = "oi", steps: int = 10) -> Experiment:
    chosen = ExperimentSettings(method=method, members=6, training=TrainingSettings(steps=steps))
    return Experiment(made, chosen, root)


def cycled(made: Experiment, data: xr.Dataset, folder: Path) -> tuple[ExperimentStore, Scores]:
    """Write the data to a file, learn from it, cycle it and score it."""
    path = folder / f"{made.recipe.variable.units}.nc"
    data.to_netcdf(path)
    made.train(made.training_run(path), lambda *_: None)
    store = small.ingested_store(made, ingest(made.recipe, path=path))
    small.catch_up(made, store)
    diagnostics = store.dataset("diagnostics").load()
    statistics = stored_statistics(made.recipe, diagnostics)
    return store, compute_scores(statistics, key=jax.random.key(0), resamples=0)


def notes(made: Experiment, data: xr.Dataset, folder: Path) -> list[str]:
    """What was said of a training on that data."""
    path = folder / "noted.nc"
    data.to_netcdf(path)
    version = made.train(made.training_run(path), lambda *_: None)
    return version.manifest["metadata"]["notes"]
