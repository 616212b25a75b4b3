"""`vardax` from files to report on grids of the size that users have: time and memory of each step.

Two data sets are made. In `tracks` daily states of the globe with land are known from fields of
another time and from the tracks of two satellites. In `stations` hourly fields of a region are
taken for the truth, and stations at its points observe them. Each step is a command of its own in
a process of its own, so that its memory is known; processor seconds are given beside wall seconds,
as the machine may be shared. The bars are on wall seconds.

python benchmarks/large_run.py --quick                       # 81 x 94, one method, one command
python benchmarks/large_run.py --tracks 12 --stations 6      # 61 x 120, and 41 x 47
python benchmarks/large_run.py --tracks 1 --stations 1       # 721 x 1440, and 241 x 281
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import xarray as xr
import yaml

ROWS, COLUMNS = 720, 1440
REGION = (240, 280)
TIMES, CYCLES = 40, 10
HOURS, HOURLY_CYCLES = 480, 10
EARTH_KM = 6371.0
WAVES = 400
LENGTH = 18.0
"""Correlation length of the fields, in steps of the grid."""
TRACK_SD, STATION_SD = 0.2, 0.3
METHODS = ("climatology", "interpolation", "letkf", "amortized")
MEMORY_GB = 6.0
MINUTES = {"tracks": 40.0, "stations": 10.0}
START = np.datetime64("2020-01-01T00:00:00")


def smooth_fields(straight, length, persistence, times, rng):
    """Fields of unit variance, float32 (time, point), with a Gaussian-like spectrum in space and
    a lag-one correlation in time."""
    wavenumbers = rng.normal(size=(WAVES, straight.shape[1])) / length
    wavenumbers /= np.sqrt(rng.chisquare(5, size=(WAVES, 1)) / 5)
    coefficients = np.empty((times, 2 * WAVES))
    now = rng.normal(size=2 * WAVES)
    for row in coefficients:
        row[:] = now
        now = persistence * now + np.sqrt(1 - persistence**2) * rng.normal(size=now.size)
    coefficients = (coefficients / np.sqrt(WAVES)).astype(np.float32)
    fields = np.empty((times, len(straight)), np.float32)
    for begin in range(0, len(straight), 32768):
        phase = (straight[begin : begin + 32768] @ wavenumbers.T).astype(np.float32)
        waves = np.concatenate([np.cos(phase), np.sin(phase)], axis=1)
        fields[:, begin : begin + 32768] = coefficients @ waves.T
    return fields


def on_sphere(latitude, longitude):
    y, x = np.deg2rad(latitude), np.deg2rad(longitude)
    return EARTH_KM * np.stack([np.cos(y) * np.cos(x), np.cos(y) * np.sin(x), np.sin(y)], axis=-1)


def land_of(latitude, longitude):
    """Where a few waves are high: about a third of the globe."""
    y, x = np.deg2rad(latitude)[:, None], np.deg2rad(longitude)[None]
    height = np.cos(y) * (np.sin(2 * x + 1) + 0.7 * np.sin(3 * x - 2 * y))
    height = height + 0.5 * np.cos(7 * x + 5 * y) * np.cos(y) + 0.4 * np.sin(9 * y + np.cos(5 * x))
    return height >= np.quantile(height, 0.67)


def track(number, begin, days, every):
    """Seconds, latitudes and longitudes of a satellite in a circular orbit."""
    seconds = np.arange(0, 86400 * days, every) + 7.3 * number
    inclination, period = np.deg2rad(66.0 + 10 * number), 6750.0 - 310 * number
    angle = 2 * np.pi * seconds / period + number
    latitude = np.rad2deg(np.arcsin(np.sin(inclination) * np.sin(angle)))
    longitude = np.arctan2(np.cos(inclination) * np.sin(angle), np.cos(angle))
    longitude = np.rad2deg(longitude - 2 * np.pi * seconds / 86164 + 1.3 * number) % 360
    return seconds + begin, latitude, longitude


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_tracks(folder, step):
    """Fields of 40 days, and two satellites in the days after them; gives the recipe."""
    latitude = np.linspace(-90, 90, ROWS // step + 1)
    longitude = np.arange(COLUMNS // step) * 360 / (COLUMNS // step)
    land, rng = land_of(latitude, longitude), np.random.default_rng(step)
    shape, spacing = land.shape, EARTH_KM * np.deg2rad(latitude[1] - latitude[0])
    straight = on_sphere(*np.meshgrid(latitude, longitude, indexing="ij")).reshape(-1, 3)
    days = CYCLES + 4
    fields = smooth_fields(straight, LENGTH * spacing, 0.8, TIMES + days, rng)
    fields += 15 + 10 * np.cos(np.deg2rad(np.repeat(latitude, shape[1]))).astype(np.float32)
    fields = fields.reshape(-1, *shape)
    prior = np.where(land, np.nan, fields[:TIMES])
    write_fields(folder / "prior.nc", prior, latitude, longitude, np.timedelta64(1, "D"))
    begin = 86400 * TIMES
    rows = []
    for number in range(2):
        seconds, lat, lon = track(number, begin, days - 1, 4 * step * step)
        y, x = (lat + 90) / (latitude[1] - latitude[0]), lon / (360 / shape[1])
        i, j = np.minimum(y.astype(int), shape[0] - 2), x.astype(int) % shape[1]
        sea = ~land[i, j] & ~land[i + 1, j] & ~land[i, (j + 1) % shape[1]]
        sea &= ~land[i + 1, (j + 1) % shape[1]]
        seconds, y, x, i, j = (each[sea] for each in (seconds, y, x, i, j))
        day, a, b = seconds / 86400, y - i, x % shape[1] - j
        values = 0.0
        for di, dj, weight in (
            (0, 0, (1 - a) * (1 - b)),
            (1, 0, a * (1 - b)),
            (0, 1, (1 - a) * b),
            (1, 1, a * b),
        ):
            k = np.minimum(np.rint(day).astype(int), len(fields) - 1)
            values = values + weight * fields[k, i + di, (j + dj) % shape[1]]
        values = values + TRACK_SD * rng.normal(size=len(seconds))
        rows.append(np.column_stack([lon[sea], lat[sea], day, values]))
    table = np.concatenate(rows)
    np.savetxt(folder / "tracks.dat", table[np.argsort(table[:, 2])], fmt="%.4f %.4f %.7f %.4f")
    first = START + np.timedelta64(TIMES + 1, "D")
    files = {
        name: {"name": name, "sha256": sha256(folder / name)} for name in ("prior.nc", "tracks.dat")
    }
    return {
        "schema": 2,
        "name": "large-tracks",
        "title": "Synthetic fields of the globe, two satellites",
        "attribution": "Made by a benchmark of vardax.",
        "variables": [variable()],
        "grid": {"dims": ["latitude", "longitude"]},
        "prior": {"fields": {"files": [files["prior.nc"]], "variable": "sst"}},
        "observations": [
            {
                "name": "satellites",
                "source": {
                    "kind": "table",
                    "files": [files["tracks.dat"]],
                    "columns": {"longitude": 0, "latitude": 1, "time": 2, "value": 3},
                    "time": {"units": f"days since {str(START)[:10]}"},
                    "units": "degC",
                    "gap": f"{max(60, 5 * step * step)}s",
                    "delay": "0h",
                },
                "error_sd": TRACK_SD,
            }
        ],
        "cycle": {
            "start": f"{first}Z",
            "end": f"{first + np.timedelta64(CYCLES - 1, 'D')}Z",
            "interval": "1d",
            "window": {"times": 2, "spacing": "1d"},
        },
        "verification": {"withheld": {"share": 0.1, "seed": 1}},
        "members": 40,
        "methods": {
            "climatology": {},
            "interpolation": {},
            "amortized": {},
            "letkf": {"spacing": 3, "radius": float(round(12 * spacing)), "inflation": 1.02},
        },
    }


def make_stations(folder, step):
    """Hourly fields of a region; gives the recipe."""
    latitude = 60 - 0.05 * step * np.arange(REGION[0] // step + 1)
    longitude = -10 + 0.05 * step * np.arange(REGION[1] // step + 1)
    rng = np.random.default_rng(step)
    hours = HOURS + 3 * HOURLY_CYCLES + 6
    straight = on_sphere(*np.meshgrid(latitude, longitude, indexing="ij")).reshape(-1, 3)
    spacing = EARTH_KM * np.deg2rad(0.05 * step)
    fields = smooth_fields(straight, 2 * LENGTH * spacing, 0.97, hours, rng)
    fields += 15 + 3 * np.cos(2 * np.pi * np.arange(hours)[:, None] / 24).astype(np.float32)
    fields = fields.reshape(hours, len(latitude), len(longitude))
    write_fields(folder / "region.nc", fields, latitude, longitude, np.timedelta64(1, "h"))
    at = [START + np.timedelta64(h, "h") for h in (HOURS - 1, HOURS + 2)]
    return {
        "schema": 2,
        "name": "large-stations",
        "title": "Synthetic hourly fields of a region, stations",
        "attribution": "Made by a benchmark of vardax.",
        "variables": [variable()],
        "grid": {"dims": ["latitude", "longitude"]},
        "truth": {
            "kind": "file",
            "files": [{"name": "region.nc", "sha256": sha256(folder / "region.nc")}],
        },
        "observations": [
            {
                "error_sd": STATION_SD,
                "source": {
                    "kind": "simulated",
                    "network": {"kind": "random_points", "count": fields[0].size // 40, "seed": 1},
                    "interval": "1h",
                    "arrival_delay": "0h",
                    "seed": 1,
                },
            }
        ],
        "training": {"start": f"{START}Z", "end": f"{at[0]}Z"},
        "cycle": {
            "start": f"{at[1]}Z",
            "end": f"{at[1] + np.timedelta64(3 * (HOURLY_CYCLES - 1), 'h')}Z",
            "interval": "3h",
            "window": {"times": 3, "spacing": "1h"},
        },
        "members": 40,
        "methods": {
            "climatology": {},
            "interpolation": {},
            "amortized": {},
            "letkf": {"spacing": 3, "radius": float(round(12 * spacing)), "inflation": 1.02},
        },
    }


def variable():
    return {
        "name": "sst",
        "standard_name": "sea_surface_temperature",
        "long_name": "sea surface temperature",
        "units": "degC",
        "valid_min": -20.0,
        "valid_max": 60.0,
    }


def write_fields(path, fields, latitude, longitude, step):
    times = START + np.arange(len(fields)) * step
    coords = {
        "time": times.astype("datetime64[ns]"),
        "latitude": ("latitude", latitude, {"units": "degrees_north"}),
        "longitude": ("longitude", longitude, {"units": "degrees_east"}),
    }
    sst = (("time", "latitude", "longitude"), fields, {"units": "degC"})
    xr.Dataset({"sst": sst}, coords).to_netcdf(path)


MAKERS = {"tracks": make_tracks, "stations": make_stations}


def command(words, environment, log):
    """Run one command of vardax; its seconds and the most memory that it and its children had."""
    code = (
        "import resource, subprocess, sys; rc = subprocess.call(sys.argv[1:]); "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print('USED', used.ru_maxrss, used.ru_utime + used.ru_stime); sys.exit(rc)"
    )
    vardax = str(Path(sys.executable).parent / "vardax")
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, vardax, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - begin
    log.write(f"$ vardax {' '.join(words)}\n{done.stdout}\n{done.stderr}\n")
    log.flush()
    if done.returncode:
        raise SystemExit(f"vardax {' '.join(words)}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    peak, processor = map(float, done.stdout.rsplit("USED", 1)[1].split())
    return {"seconds": seconds, "processor_s": processor, "peak_gb": peak / 2**20}


def measured(kind, step, folder, methods, environment, at_once):
    """Make a data set, run every step on it, at once or one by one, and print what each took."""
    here = folder / f"{kind}-{step}"
    data = here / "data"
    data.mkdir(parents=True, exist_ok=True)
    name = f"large-{kind}"
    file = here / "datasets" / name / "recipe.yaml"
    if not file.exists():
        recipe = MAKERS[kind](data, step)
        recipe["methods"] = {m: recipe["methods"][m] for m in methods}
        file.parent.mkdir(parents=True)
        file.write_text(yaml.safe_dump(recipe, sort_keys=False))
    environment = environment | {
        "VARDAX_DATASETS_DIR": str(here / "datasets"),
        "VARDAX_DATA_DIR": str(data),
        "VARDAX_ROOT": str(here / "root"),
    }
    found = {}
    steps = {f"{kind} run": ["run", name, "-m", methods[-1], "--methods", ",".join(methods)]}
    if not at_once:
        steps = {
            f"{kind} {what} {method}": [what, name, "-m", method]
            for method in methods
            for what in ("train", "validate", "assimilate")
            if what != "validate" or method == "amortized"
        } | {f"{kind} report": ["report", name, "-m", methods[-1]]}
    with (here / "log").open("a") as log:
        for title, words in steps.items():
            show(found, title, command([*words, "-q"], environment, log))
    return found


def show(found, name, figures):
    found[name] = figures
    print(
        f"{name:34}{figures['seconds']:9.1f} s {figures['processor_s']:9.1f} s of a core "
        f"{figures['peak_gb']:7.2f} GB",
        flush=True,
    )


def bars_of(kind, found):
    seconds = sum(one["seconds"] for one in found.values())
    peak = max(one["peak_gb"] for one in found.values())
    values = (
        (f"{kind}: minutes of all steps", seconds / 60, MINUTES[kind]),
        (f"{kind}: peak memory, GB", peak, MEMORY_GB),
    )
    return [{"name": n, "value": v, "bar": b, "pass": bool(v <= b)} for n, v, b in values]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small grid, one method, at once")
    parser.add_argument("--tracks", type=int, default=0, help="step of 721 x 1440 points")
    parser.add_argument("--stations", type=int, default=0, help="step of 241 x 281 points")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--folder", type=Path, help="where data and stores stay")
    options = parser.parse_args()
    chosen = {"tracks": options.tracks, "stations": options.stations}
    if options.quick:
        chosen, options.methods = {"stations": 3}, ["letkf"]
    elif not any(chosen.values()):
        chosen = {"tracks": 1, "stations": 1}
    environment = dict(os.environ)
    figures, bars = {}, []
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        for kind, step in chosen.items():
            if step:
                found = measured(kind, step, folder, options.methods, environment, options.quick)
                figures |= found
                bars += bars_of(kind, found)
    for bar in bars:
        print(
            f"{'ok  ' if bar['pass'] else 'MISS'} {bar['name']}: {bar['value']:.2f} ({bar['bar']})"
        )
    print(json.dumps({"name": "large_run", "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
