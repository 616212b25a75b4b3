"""Local analyses of a globe with land, from 1/16 of a quarter of a degree to all of it.

Every problem is the same to the eye of a point: fields, taper and distances between observations
grow with the steps of the grid, so that about 70 of the 50 000 observations of the full grid, and
of their share of a smaller one, are within reach. The fields have a correlation of .52 at the
half-width of the taper. Each analysis has a process of its own, with one thread. Costs are
processor seconds, as the machine may be shared; those of workers are wall seconds. Compilation is
apart.

python benchmarks/large_grid.py --quick
python benchmarks/large_grid.py                 # some minutes, 721 x 1440 included
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("PJRT_NPROC", "1")

import jax
import jax.numpy as jnp
import numpy as np

from vardax_core.analysis.ensemble.tiles import LocalInnovations, TileScheme, tiled_letkf
from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.analysis.local.interpolation import LocalRecords
from vardax_core.analysis.local.simulation import RandomFeatures
from vardax_core.analysis.local.tiles import tiled_interpolation
from vardax_core.analysis.local.tiling import Workers
from vardax_core.observations.placement import Search
from vardax_core.state.grids import LatLon

MEMBERS, OBSERVATIONS, LOCAL, ERROR_SD = 40, 50_000, 70, 0.3
ROWS, COLUMNS = 720, 1440
EARTH_KM = 6371.0
WAVES, NEAREST = 256, 60
TILINGS = ((2, 2), (4, 4))


def grid_of(step: int) -> LatLon:
    """Every `step`-th point of the full grid; land is where a few waves are high, on a third."""
    latitude = np.linspace(-90, 90, ROWS // step + 1)
    longitude = np.arange(COLUMNS // step) * 360 / (COLUMNS // step)
    y, x = np.deg2rad(latitude)[:, None], np.deg2rad(longitude)[None]
    height = np.cos(y) * (
        np.sin(2 * x + 1) + 0.7 * np.sin(3 * x - 2 * y) + 0.5 * np.cos(7 * x + 5 * y)
    )
    height = height + 0.4 * np.sin(9 * y + np.cos(5 * x)) - 1.2 * np.sin(y - 0.3) * (y < -1.2)
    return LatLon.from_degrees(latitude, longitude, mask=height < np.quantile(height, 0.67))


def problem(step: int, folder: Path) -> None:
    """Make the ensemble, the observations and their places, and keep them as files."""
    grid, rng = grid_of(step), np.random.default_rng(step)
    count = OBSERVATIONS // step**2
    places = np.zeros((0, 2))
    while len(places) < count:
        drawn = np.stack(
            [np.rad2deg(np.arcsin(rng.uniform(-1, 1, count))), rng.uniform(0, 360, count)], axis=1
        )
        places = np.concatenate([places, drawn[grid.contains(drawn)]])
    places = places[:count]
    sea = _sea(grid)
    half_width = EARTH_KM * np.arccos(1 - 2 * sea * LOCAL / count) / 2
    covariance = SpaceTimeCovariance.of((1.0, half_width, np.inf), space="matern52")
    wave_key, key = jax.random.split(jax.random.key(step))
    waves = RandomFeatures.of(covariance, 3, count=WAVES, dtype=jnp.float32, key=wave_key)
    coefficients = jax.random.normal(key, (MEMBERS + 1, 2, WAVES), jnp.float32)
    fields = jax.jit(lambda at: waves.fields(at, jnp.zeros(at.shape[0], at.dtype), coefficients))
    points = grid.embedded(grid.points()).astype(np.float32)
    ensemble = np.lib.format.open_memmap(
        folder / "ensemble.npy", "w+", np.float32, (MEMBERS, 1, *grid.shape)
    )
    flat = ensemble.reshape(MEMBERS, -1)
    for begin in range(0, len(points), 65536):
        ensemble_here = np.asarray(fields(jnp.asarray(points[begin : begin + 65536])))
        flat[:, begin : begin + 65536] = ensemble_here[:MEMBERS]
    ensemble.flush()
    indices, weights = grid.stencil(places)
    equivalents = np.einsum("mok,ok->om", flat[:, indices], weights)
    truth = np.asarray(fields(jnp.asarray(grid.embedded(places).astype(np.float32))))[MEMBERS]
    values = truth + ERROR_SD * rng.normal(size=count)
    np.savez(
        folder / "observations.npz",
        places=places,
        equivalents=equivalents,
        values=values,
        half_width=half_width,
    )


def _sea(grid: LatLon) -> float:
    areas = grid.areas()
    return float(areas[grid.mask].sum() / areas.sum())


def boxes_of(grid: LatLon) -> LatLon:
    """The grid with a mask that leaves boxes of 8 x 8 points, in one out of 16 places."""
    rows, columns = (np.arange(n) // 8 % 4 == 0 for n in grid.shape)
    mask = np.asarray(grid.mask) & rows[:, None] & columns[None]
    return LatLon(latitude=grid.latitude, longitude=grid.longitude, mask=mask)


def measured(folder: Path, step: int, method: str, tilings: int, workers: int) -> dict:
    """Run one analysis of a problem on file, in this process, and keep what it gives.

    With workers only their wall time is taken; so many tilings are compared with one tile.
    """
    grid, given = grid_of(step), np.load(folder / "observations.npz")
    background = np.load(folder / "ensemble.npy")
    equivalents, places = given["equivalents"], given["places"]
    mean, half_width = equivalents.mean(axis=1), float(given["half_width"])

    def analyse(
        parts: tuple[int, ...], pool: Workers | None = None, grid: LatLon = grid
    ) -> np.ndarray:
        if method == "interpolation":
            records = LocalRecords.of(
                jnp.asarray(given["values"] - mean, jnp.float32),
                jnp.full(len(mean), ERROR_SD, jnp.float32),
                jnp.asarray(grid.embedded(places), jnp.float32),
            )
            covariance = SpaceTimeCovariance.of((1.0, half_width, 1e6), space="matern52")
            search = Search(4 * half_width, NEAREST, 0.0)
            return tiled_interpolation(
                grid, records, covariance, search, parts=parts, workers=pool
            )[0]
        innovations = LocalInnovations(
            places,
            ((equivalents - mean[:, None]) / ERROR_SD).astype(np.float32),
            ((given["values"] - mean) / ERROR_SD).astype(np.float32),
            np.full(len(mean), half_width),
        )
        scheme = TileScheme(spacing=3 if method == "interpolated" else 1)
        return tiled_letkf(grid, background, innovations, scheme, parts=parts, workers=pool)[0]

    if workers:
        return _with_workers(analyse, workers, folder) | {"load": os.getloadavg()[0]}
    compiling = [0.0]
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration_secs, **_: compiling.append(
            duration_secs * (event.split("/")[-1] in COMPILING)
        )
    )
    # What is compiled for some boxes of points all over the globe is compiled for all.
    analyse((1, 1), grid=boxes_of(grid))
    begin = (time.process_time(), time.perf_counter(), len(compiling))
    analysis = analyse((1, 1))
    seconds = (time.process_time() - begin[0], time.perf_counter() - begin[1])
    # What is left is taken off: the share of the wall time that it took.
    left = sum(compiling[begin[2] :]) / seconds[1]
    seconds = (seconds[0] * (1 - left), seconds[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    np.save(folder / f"{method}.npy", analysis)
    apart = {}
    if tilings:
        scale = 1.0
        if method != "interpolation":
            scale = float(analysis[..., grid.mask].std(axis=0, ddof=1).mean())
        for parts in TILINGS[:tilings]:
            other = analyse(parts)
            largest = float(np.abs(other - analysis).max()) / scale
            apart[f"{parts[0] * parts[1]} tiles against one, largest over the spread"] = largest
    return {
        "seconds": seconds[0],
        "wall_s": seconds[1],
        "us_a_point": 1e6 * (seconds[0]) / np.asarray(grid.mask).sum(),
        "compiling": left,
        "peak_mb": peak,
        "ensemble_mb": background.nbytes / 2**20,
        "load": os.getloadavg()[0],
        **apart,
    }


def _with_workers(analyse, count: int, folder: Path) -> dict:
    import dask
    from distributed import Client, LocalCluster

    unlimited: dict[str, dict] = {"distributed.nanny.pre-spawn-environ": {}}
    with (
        dask.config.set(unlimited),
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            memory_limit=0,
        ) as cluster,
        Client(cluster) as client,
    ):
        pool = Workers(client.get_executor(pure=False), count)
        analyse(TILINGS[-1], pool)
        begin = time.perf_counter()
        analysis = analyse(TILINGS[-1], pool)
        wall = time.perf_counter() - begin
    alone = np.load(folder / "letkf.npy", mmap_mode="r")
    return {"wall_s": wall, "largest difference from none": float(np.abs(analysis - alone).max())}


def in_process(folder: Path, step: int, method: str, tilings: int, workers: int = 0) -> dict:
    """Measure in a process of its own."""
    one = json.dumps([str(folder), step, method, tilings, workers])
    done = subprocess.run(
        [sys.executable, __file__, "--one", one], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


COMPILING = ("jaxpr_to_mlir_module_duration", "backend_compile_duration")
METHODS = ("letkf", "interpolated", "interpolation")
"""Exact; with transforms at every third point and direction; and optimal interpolation."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a grid of 49 x 96 in this process")
    parser.add_argument("--steps", type=int, nargs="+", help="of the full grid's points, falling")
    parser.add_argument("--tiled", type=int, help="the step at which tilings and workers differ")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        folder, *given = json.loads(options.one)
        print(json.dumps(measured(Path(folder), *given)))
        return
    steps = options.steps or ([15] if options.quick else [4, 2, 1])
    tiled = options.tiled or steps[0]
    run = measured if options.quick else in_process
    figures: dict = {"members": MEMBERS, "device": jax.devices()[0].device_kind}
    with tempfile.TemporaryDirectory() as name:
        for step in steps:
            folder = Path(name) / str(step)
            folder.mkdir()
            problem(step, folder)
            for method in METHODS:
                found = run(folder, step, method, (1 if options.quick else 2) * (step == tiled), 0)
                figures[f"{method} at 1/{step**2}"] = found
                show(f"{method} at 1/{step**2}", found)
            between = compared(folder, step)
            figures[f"interpolated over exact at 1/{step**2}"] = between
            show(f"interpolated over exact at 1/{step**2}", between)
        if not options.quick:
            for count in (1, 2):
                found = run(Path(name) / str(tiled), tiled, "letkf", 0, count)
                figures[f"letkf on {count} workers at 1/{tiled**2}"] = found
                show(f"letkf on {count} workers at 1/{tiled**2}", found)
    bars = of_tilings(figures, tiled) + ([] if options.quick else of_sizes(figures, steps, tiled))
    print(json.dumps({"name": "large_grid", "figures": figures, "bars": bars}))


def show(name: str, figures: dict) -> None:
    print(f"{name:34}" + "  ".join(f"{k} {v:.4g}" for k, v in figures.items()), flush=True)


def compared(folder: Path, step: int) -> dict:
    """Compare interpolated weights with the exact analysis at the points of the sea."""
    sea = np.asarray(grid_of(step).mask)
    background = np.load(folder / "ensemble.npy", mmap_mode="r")
    before = background.mean(axis=(0, 1))[sea]
    increments, spreads = [], []
    for method in METHODS[:2]:
        analysis = np.load(folder / f"{method}.npy", mmap_mode="r")
        increments.append(analysis.mean(axis=(0, 1))[sea] - before)
        spreads.append(analysis.std(axis=0, ddof=1)[0][sea].mean())
    left = np.mean((increments[1] - increments[0]) ** 2) / np.mean(increments[0] ** 2)
    return {"increment error": float(left**0.5), "spread": float(spreads[1] / spreads[0])}


def bar(name: str, value: float, limit: float) -> dict:
    return {"name": name, "value": value, "bar": limit, "pass": bool(value <= limit)}


def of_tilings(figures: dict, tiled: int) -> list[dict]:
    return [
        bar(f"{method}: {name}", value, 1e-6)
        for method in METHODS
        for name, value in figures[f"{method} at 1/{tiled**2}"].items()
        if "tiles" in name
    ]


def of_sizes(figures: dict, steps: list[int], tiled: int) -> list[dict]:
    small, large = (f"at 1/{step**2}" for step in (steps[0], steps[-1]))
    cost = {m: figures[f"{m} {large}"]["us_a_point"] for m in METHODS}
    room = 3 * figures[f"letkf {large}"]["ensemble_mb"] + 1000
    workers = [figures[f"letkf on {n} workers at 1/{tiled**2}"] for n in (1, 2)]
    between = figures[f"interpolated over exact {large}"]
    bars = [
        bar("exact LETKF, us a point", cost["letkf"], 100),
        bar("interpolated over exact, seconds", cost["interpolated"] / cost["letkf"], 1 / 6),
        bar("increment error of interpolated weights", between["increment error"], 0.01),
        bar("wall of two workers over one", workers[1]["wall_s"] / workers[0]["wall_s"], 0.6),
    ]
    for method in METHODS:
        first, last = (figures[f"{method} {size}"] for size in (small, large))
        ratio = last["us_a_point"] / first["us_a_point"]
        bars.append(bar(f"{method}: cost per point {large} over {small}", ratio, 1.15))
        bars.append(bar(f"{method}: peak memory, MB", last["peak_mb"], room))
    for count, found in enumerate(workers, 1):
        apart = found["largest difference from none"]
        bars.append(bar(f"{count} workers against none: largest difference", apart, 0.0))
    return bars


if __name__ == "__main__":
    main()
