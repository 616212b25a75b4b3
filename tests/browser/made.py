"""Stores of analyses whose every number is known, made without a cycle."""

from pathlib import Path

import numpy as np

from vardax_core.observations.quality import QualityCode
from vardax_core.store import (
    ChunkPlan,
    Coordinate,
    Diagnostic,
    ExperimentStore,
    ObservedDescription,
    StateDescription,
    experiment_layout,
    observation_layout,
)

STEP = 360
MEMBERS = 3
STATIONS = 6
CODES = (0, 0, 0, 10, 7, 8)
"""Of the stations: used, withheld, too far from the background, missing."""
PLATFORMS = ("ships: alpha", "ships: beta")
TEMPERATURE = {"standard_name": "air_temperature", "long_name": "temperature", "units": "K"}


def degrees(name: str, values: np.ndarray) -> Coordinate:
    units = {"latitude": "degrees_north", "longitude": "degrees_east"}[name]
    return Coordinate(name, (name,), values, {"standard_name": name, "units": units})


def axes(shape: tuple[int, ...]) -> tuple[Coordinate, ...]:
    """A ring, or latitudes from north to south and longitudes."""
    if len(shape) == 1:
        return (Coordinate("location", ("location",), np.arange(shape[0]), {"units": "1"}),)
    rows, columns = shape
    return (
        degrees("latitude", np.linspace(58.0, 50.0, rows)),
        degrees("longitude", np.linspace(-8.0, 2.0, columns)),
    )


def truth(number: int, shape: tuple[int, ...]) -> np.ndarray:
    """The truth of a cycle, in kelvin."""
    index = np.arange(int(np.prod(shape))).reshape(shape)
    return (280.0 + 10.0 * np.sin(index / 7.0 + number)).astype(np.float32)


def make(
    root: Path,
    label: str = "one",
    *,
    shape: tuple[int, ...] = (9, 11),
    cycles: int = 5,
    known: bool = True,
    off: float = 1.0,
    dataset: str = "made",
    start: str = "2019-03-01T00:00",
) -> ExperimentStore:
    """Write a store and that of its observations.

    Arguments:
        known: whether there is a truth, and stations; else observations have platforms.
        off: how far the analysis is from the truth.
    """
    coords = axes(shape)
    state = StateDescription("t2m", coords, TEMPERATURE)
    points = np.linspace(0, np.prod(shape) - 1, STATIONS).astype(np.int32)
    where = np.unravel_index(points, shape)
    station = Coordinate("station", ("station",), np.arange(STATIONS, dtype=np.int32))
    own = (Coordinate("grid_index", ("station",), points),) if known else ()
    placed = tuple(
        Coordinate(one.name, ("station",), one.values[at].astype(float))
        for one, at in zip(coords, where, strict=True)
    )
    flags = {code.name.lower(): int(code) for code in QualityCode}
    observed = ObservedDescription(state, (station, *own, *placed), flags)
    folder = root / "experiments" / dataset
    times = np.arange(cycles) * STEP + int(
        (np.datetime64(start, "m") - np.datetime64("2000-01-01T00:00", "m")).astype(int)
    )
    if not (folder / "observations").exists():
        layout = observation_layout(
            observed=observed, states=(state,), chunks=ChunkPlan(), nature_run=known
        )
        held = ExperimentStore.create(
            folder / "observations", layout, {"name": f"{dataset}/observations", "digest": "o"}
        )
        groups = {
            "observations": {
                "t2m": np.stack([observations(n, shape, points) for n in range(cycles)]),
                "t2m_error": np.full((cycles, STATIONS), 0.5, np.float32),
                "quality_control": np.tile(np.int8(CODES), (cycles, 1)),
                "arrival_time": np.repeat(times[:, None], STATIONS, 1).astype(np.int64),
            }
        }
        if known:
            groups["nature_run"] = {"t2m": np.stack([truth(n, shape) for n in range(cycles)])}
        with held.writer() as writer:
            writer.append(groups, times, metadata={})
    layout = experiment_layout(
        states=(state,),
        observed=observed,
        n_members=MEMBERS,
        diagnostics={"chi2": Diagnostic(attrs={"units": "1"})},
        chunks=ChunkPlan(),
    )
    record = {"name": f"{dataset}/{label}", "dataset": dataset, "method": label, "digest": label}
    store = ExperimentStore.create(
        folder / label, layout, {**record, "observation_store": "observations"}
    )
    with store.writer() as writer:
        writer.append(_cycles(cycles, shape, points, off), times, metadata={})
    return store


def observations(number: int, shape: tuple[int, ...], points: np.ndarray) -> np.ndarray:
    """What is observed: the truth and a quarter of a degree; the last station is silent."""
    values = truth(number, shape).ravel()[points] + np.float32(0.25)
    return np.where(np.array(CODES) == QualityCode.MISSING, np.float32(np.nan), values)


def _cycles(cycles: int, shape: tuple[int, ...], points: np.ndarray, off: float) -> dict:
    spread = np.arange(MEMBERS, dtype=np.float32) - (MEMBERS - 1) / 2
    spread = spread.reshape(-1, *(1 for _ in shape))
    rows = []
    for n in range(cycles):
        true, seen = truth(n, shape), observations(n, shape, points)
        mean, before = true + np.float32(off), true + np.float32(2 * off)
        rows.append(
            {
                "background": {"t2m": before + 2 * spread},
                "analysis": {
                    "t2m": mean + spread,
                    "t2m_mean": mean,
                    "t2m_spread": np.full(shape, 1.0, np.float32),
                },
                "innovations": {
                    "background_departure": seen - before.ravel()[points],
                    "analysis_departure": seen - mean.ravel()[points],
                    "background_equivalent_variance": np.full(STATIONS, 4.0, np.float32),
                    "quality_control": np.int8(CODES),
                },
                "diagnostics": {"chi2": 1.0},
            }
        )
    return {
        group: {name: np.stack([row[group][name] for row in rows]) for name in rows[0][group]}
        for group in rows[0]
    }
