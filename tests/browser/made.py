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
    location_of,
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


def curved(shape: tuple[int, int]) -> tuple[Coordinate, ...]:
    """Rows and columns of a grid that is turned by a third of a right angle."""
    rows, columns = shape
    index = [
        Coordinate(n, (n,), np.arange(k), {"units": "1"}) for n, k in zip("yx", shape, strict=True)
    ]
    up, right = np.meshgrid(np.linspace(-4, 4, rows), np.linspace(-4, 4, columns), indexing="ij")
    turned = {
        "latitude": 54.0 + np.cos(np.pi / 6) * up - np.sin(np.pi / 6) * right,
        "longitude": -3.0 + 1.7 * (np.sin(np.pi / 6) * up + np.cos(np.pi / 6) * right),
    }
    places = [
        Coordinate(name, ("y", "x"), values, degrees(name, values.ravel()).attrs)
        for name, values in turned.items()
    ]
    return (*index, *places)


def truth(number: int, shape: tuple[int, ...]) -> np.ndarray:
    """The truth of a cycle, in kelvin."""
    index = np.arange(int(np.prod(shape))).reshape(shape)
    return (280.0 + 10.0 * np.sin(index / 7.0 + number)).astype(np.float32)


def make(
    root: Path | str,
    label: str = "one",
    *,
    shape: tuple[int, ...] = (9, 11),
    cycles: int = 5,
    known: bool = True,
    off: float = 1.0,
    dataset: str = "made",
    start: str = "2019-03-01T00:00",
    turned: bool = False,
) -> ExperimentStore:
    """Write a store and that of its observations.

    Arguments:
        known: whether there is a truth, and stations; else observations have platforms.
        root: folder of all runs, or where stores are kept in an object store.
        off: how far the analysis is from the truth.
        turned: whether the grid is curvilinear.
    """
    coords = curved(shape) if turned else axes(shape)
    state = StateDescription("t2m", coords, TEMPERATURE)
    points = np.linspace(0, np.prod(shape) - 1, STATIONS).astype(np.int32)
    where = np.unravel_index(points, shape)
    station = Coordinate("station", ("station",), np.arange(STATIONS, dtype=np.int32))
    own = (Coordinate("grid_index", ("station",), points),) if known else ()
    placed = tuple(
        Coordinate(one.name, ("station",), one.values[at].astype(float))
        for one, at in zip(coords[: 0 if turned else None], where, strict=not turned)
    )
    flags = {code.name.lower(): int(code) for code in QualityCode}
    observed = ObservedDescription(state, (station, *own, *placed), flags)
    folder = location_of(root if isinstance(root, str) else root / "experiments").below(dataset)
    times = np.arange(cycles) * STEP + int(
        (np.datetime64(start, "m") - np.datetime64("2000-01-01T00:00", "m")).astype(int)
    )
    if not (folder.below("observations")).exists():
        layout = observation_layout(
            observed=observed, states=(state,), chunks=ChunkPlan(), nature_run=known
        )
        held = ExperimentStore.create(
            folder.below("observations"), layout, {"name": f"{dataset}/observations", "digest": "o"}
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
        folder.below(label), layout, {**record, "observation_store": "observations"}
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
