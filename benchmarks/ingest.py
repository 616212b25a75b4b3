"""How fast real observations enter: a day of them, synthetic, from each format of table.

Every format holds the same observations at random places and seconds from 5000 stations, each with
an error of its own. Each is read in a process of its own, so that its peak of memory is its own.

Last, the Parquet goes into a store: read, placed on a grid, sorted into observation times, checked
and committed.

    python benchmarks/ingest.py --quick
    python benchmarks/ingest.py
"""

import argparse
import datetime
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr
import yaml

from vardax_core.observations.quality import QualityCode

COUNT, QUICK = 1_000_000, 20_000
SECONDS, GIGABYTES = 60.0, 2.0
FILES = ("a.parquet", "a.csv", "a.nc")
COLUMNS = {
    "time": "time", "latitude": "lat", "longitude": "lon", "value": "t", "platform": "station",
    "error": "err",
}  # fmt: skip
RECIPE = {
    "schema": 2, "name": "day", "title": "a day of observations", "attribution": "made up",
    "variables": [{"name": "t", "long_name": "temperature", "units": "K", "valid_min": 200,
                   "valid_max": 350}],
    "grid": {"dims": ["latitude", "longitude"],
             "latitude": {"first": 30, "last": 60, "step": 1},
             "longitude": {"first": 0, "last": 359, "step": 1}},
    "observations": [{"name": "stations", "error_sd": 0.5, "source": {
        "kind": "table", "files": ["a.parquet"], "columns": COLUMNS, "units": "degC",
        "time": {"zone": "UTC"}, "delay": "0h"}}],
    "cycle": {"start": "2020-01-01T00:00Z", "end": "2020-01-02T00:00Z", "interval": "1h",
              "window": {"times": 1, "spacing": "1h"}},
    "members": 4,
}  # fmt: skip


def write(folder, count):
    """Write the observations of 1 January 2020 in every format."""
    rng = np.random.default_rng(0)
    seconds = rng.integers(0, 86400, count).astype("timedelta64[s]")
    data = {
        "time": (np.datetime64("2020-01-01") + seconds).astype("datetime64[ns]"),
        "lat": rng.uniform(30, 60, count).round(4),
        "lon": rng.uniform(0, 360, count).round(4),
        "t": rng.normal(10, 5, count).round(2),
        "station": np.char.add("s", rng.integers(0, 5000, count).astype(str)),
        "err": rng.uniform(0.1, 1, count).round(2),
    }
    table = pa.table(data)
    pq.write_table(table, folder / "a.parquet")
    table.to_pandas().to_csv(folder / "a.csv", index=False)
    names = {name: ("obs", column) for name, column in data.items()}
    xr.Dataset(names).to_netcdf(folder / "a.nc", encoding={"station": {"dtype": "S1"}})


def read(folder, name):
    """Print the seconds and gigabytes that reading one file takes, and the records found."""
    from vardax_core.data.streams.read import read_stream
    from vardax_core.data.streams.sections import Stream

    source = {
        "kind": "table", "files": [name], "columns": COLUMNS, "units": "degC",
        "time": {"zone": "UTC"},
    }  # fmt: skip
    stream = Stream.model_validate({"name": "day", "source": source})
    begin = time.perf_counter()
    found = read_stream(
        stream,
        dims=("latitude", "longitude"),
        units="K",
        bounds=(200.0, 350.0),
        start=datetime.datetime(2020, 1, 1),
        end=datetime.datetime(2020, 1, 2),
        folders=[folder],
    )
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": seconds, "gigabytes": peak, "records": len(found.records)}))


def store(folder):
    """Print the seconds and gigabytes that a store takes, and the records in it."""
    (folder / "datasets" / "day").mkdir(parents=True)
    (folder / "datasets" / "day" / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    os.environ |= {"VARDAX_DATA_DIR": str(folder), "VARDAX_DATASETS_DIR": str(folder / "datasets")}
    from vardax_core.data import ingest, load_recipe
    from vardax_core.experiments.experiment import Experiment
    from vardax_core.experiments.settings import default_settings

    begin = time.perf_counter()
    recipe = load_recipe("day")
    experiment = Experiment(recipe, default_settings(recipe, "climatology"), folder / "root")
    found = ingest(recipe)
    made = experiment.create_store(found)
    experiment.append_observations(made, found)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    codes = made.dataset("observations")["quality_control"].to_numpy()
    records = int(np.sum(codes != QualityCode.MISSING))
    print(json.dumps({"seconds": seconds, "gigabytes": peak, "records": records}))


def main():
    """Print a table, and a last line with figures and bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} observations")
    parser.add_argument("--read", nargs=2, metavar=("FOLDER", "FILE"), help=argparse.SUPPRESS)
    parser.add_argument("--store", metavar="FOLDER", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.store:
        store(pathlib.Path(chosen.store))
        return
    if chosen.read:
        read(pathlib.Path(chosen.read[0]), chosen.read[1])
        return
    count = QUICK if chosen.quick else COUNT
    figures = {}
    print(f"{count} observations of a day\n{'file':12} {'seconds':>8} {'GB':>6} {'records':>9}")
    with tempfile.TemporaryDirectory() as temporary:
        write(pathlib.Path(temporary), count)
        runs = {name: ["--read", temporary, name] for name in FILES}
        for name, arguments in (runs | {"store": ["--store", temporary]}).items():
            done = subprocess.run(
                [sys.executable, __file__, *arguments],
                capture_output=True,
                text=True,
                check=True,
            )
            figures[name] = found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{name:12} {found['seconds']:8.1f} {found['gigabytes']:6.2f} {found['records']:9d}"
            )
    bars = [
        {"name": f"{name}: {what}", "value": found[what], "bar": bar, "pass": found[what] < bar}
        for name, found in figures.items()
        for what, bar in (("seconds", SECONDS), ("gigabytes", GIGABYTES))
    ]
    print(json.dumps({"name": "ingest", "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
