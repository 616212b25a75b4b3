"""Real observations: stations, altimeter tracks, cloudy images and an ensemble of forecasts.

    python benchmarks/real.py [--quick] [--only stations,tracks,clouds,levels]

What is scored was withheld, and nothing of it enters the statistics that predict it. The data are
looked for below VARDAX_DATA_DIR.
"""

import argparse
import csv
import json
import os
import pathlib
import sys
import tempfile

import numpy as np
import xarray as xr
from records.scores import map_seconds, withheld_clouds, withheld_stations, withheld_tracks

from vardax_core.data import ingest, load_recipe, validate_recipe
from vardax_core.data.reports import EQUIVALENT, PLATFORM, seconds_of
from vardax_core.data.space import state_grid
from vardax_core.data.state_frame import data_folders, prior_fields
from vardax_core.experiments.assimilate import Assimilation, pending_cycles
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import default_settings
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode

TMAX, TMIN, TRACKS, CRPS_GAIN, CLOUDS = 0.93, 1.07, 0.030, 0.08, 0.25
RATIO = (0.9, 1.1)
LARGEST_DEPARTURE = 8.0
PARTS = ("stations", "tracks", "clouds", "levels")
SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
"""Where developers have the data, where VARDAX_DATA_DIR names no other folder."""


def without_withheld(name):
    """A recipe that withholds nothing, since the benchmark does."""
    values = load_recipe(name).model_dump(mode="json", exclude_none=True)
    values.pop("withheld", None)
    return validate_recipe(values, name)


def records_of(recipe):
    """The usable observations of a recipe as columns, with the grid that they are on."""
    got = ingest(recipe, partly=True)
    columns = {
        str(name): array.transpose("time", "station").to_numpy()
        for name, array in got.observations.data_vars.items()
    }
    row = np.broadcast_to(
        np.arange(got.observations.sizes["time"])[:, None], columns[PLATFORM].shape
    )
    used = columns[QUALITY_CONTROL] == QualityCode.KEPT
    taken = {name: values[used] for name, values in columns.items()} | {"row": row[used]}
    taken["place"] = np.stack([taken[dim] for dim in recipe.state_dims], axis=1)
    return taken, got, state_grid(got.frame, recipe)


def heights(folder):
    found = {}
    for file, station, height in (
        ("synoptic.csv", "station", "height"),
        ("climate.csv", "st", "h"),
    ):
        with (folder / "ireland-2019-03" / file).open(newline="") as rows:
            for row in csv.DictReader(rows):
                found[row[station]] = float(row[height])
    return found


def inside(grid):
    """Straight coordinates of the points of a grid that belong to the state."""
    there = np.ones(grid.size, bool) if grid.mask is None else grid.mask
    return grid.embedded(grid.points()[np.flatnonzero(there)])


def stations(name, folder, quick):
    """Leave one station out; both observing networks, each with its own hours."""
    recipe = without_withheld(name)
    taken, got, grid = records_of(recipe)
    departures = taken[recipe.variable.name].astype(float) - taken[EQUIVALENT]
    ids = np.array([got.platforms[number].split("/")[1] for number in taken[PLATFORM]])
    fine = np.isfinite(departures) & (np.abs(departures) < LARGEST_DEPARTURE)
    unique, station = np.unique(ids[fine], return_inverse=True)
    place = np.array([taken["place"][fine][station == n][0] for n in range(len(unique))])
    height = heights(folder)
    return withheld_stations(
        departures[fine],
        station,
        taken["row"][fine],
        grid.embedded(place),
        np.array([height[one] for one in unique]),
        folds=2 if quick else 3,
        points=None if quick else inside(grid),
    ) | {"stations": len(unique)}


def tracks(quick):
    """Withhold a fifth of the pieces of track, in several draws."""
    recipe = without_withheld("med-adt")
    taken, _, grid = records_of(recipe)
    mean = prior_fields(recipe, data_folders())[recipe.variable.name].mean("time")
    field = mean.transpose(*recipe.state_dims).to_numpy().reshape(-1)
    corners = grid.stencil(taken["place"])
    expected = np.sum(corners.weights * np.nan_to_num(field)[corners.indices], axis=1)
    found = withheld_tracks(
        taken["place"][:, 1],
        taken["place"][:, 0],
        seconds_of(taken["observation_time"]) / 86400,
        np.unique(taken[PLATFORM], return_inverse=True)[1],
        taken[recipe.variable.name].astype(float) - expected,
        grid.embedded(taken["place"]),
        draws=1 if quick else 5,
        targets=150 if quick else 800,
        points=None if quick else inside(grid),
    )
    points = inside(grid)
    if quick:
        points = points[::50]
    return found | map_seconds(found["fit"], found["records"], points, 0.0)


def clouds(folder, quick):
    """Lay the clouds of one image over another, in several draws."""
    path = folder / "alboran-sst" / "alboranSST_small.nc"
    with xr.open_dataset(path, decode_times=False) as data:
        images = data["SST"].where(data["mask"] == 1).to_numpy()
        minutes = data["time"].to_numpy().astype(float) * 1440
        latitude, longitude = data["lat"].to_numpy(), data["lon"].to_numpy()
    recipe = load_recipe("alboran-sst")
    grid = state_grid(ingest(recipe, partly=True).frame, recipe)
    straight = grid.embedded(grid.points()).reshape(*grid.shape, -1)
    rows, columns = np.arange(latitude.size) // 2, np.arange(longitude.size) // 2
    boxes = rows[:, None] * (columns[-1] + 1) + columns[None]
    return withheld_clouds(
        images, minutes, straight, boxes, draws=1 if quick else 5, scored=400 if quick else 4000
    )


def levels(quick):
    """Read members and levels of an ensemble; analyse simulated observations of one member by the
    others, through the recipe."""
    recipe = load_recipe("era5-levels")
    made = ingest(recipe)
    with tempfile.TemporaryDirectory() as root:
        experiment = Experiment(recipe, default_settings(recipe, "letkf"), pathlib.Path(root))
        store = experiment.create_store(made)
        experiment.append_observations(store, made)
        run = Assimilation(experiment, store, experiment.prepare(store))
        list(run.run(pending_cycles(experiment, store)[: 1 if quick else None]))
        scores = store.dataset("diagnostics").load()
        backgrounds = store.dataset("background").load()
    with xr.open_dataset(
        data_folders()[0] / "formats/era5-levels-members.grib",
        engine="cfgrib",
        backend_kwargs={"indexpath": "", "filter_by_keys": {"cfVarName": "t"}},
    ) as raw:
        times = backgrounds["time"].to_numpy()
        members = raw["t"].sel(time=times, number=list(recipe.forecast_files.members)).load()
    found = {}
    for number, variable in enumerate(recipe.variables):
        level = variable.select["isobaricInhPa"]
        expected = members.sel(isobaricInhPa=level).transpose("time", "number", ...).to_numpy()
        own = scores.isel(channel=number).mean("time")
        found[level] = {
            "read_as_written": np.array_equal(backgrounds[variable.name].to_numpy(), expected),
            "background_rmse": float(own["background_rmse"]),
            "analysis_rmse": float(own["rmse"]),
        }
    return found


def bar(name, value, limit, passed):
    return {"name": name, "value": float(value), "bar": limit, "pass": bool(passed)}


def ratio_bar(name, ratio):
    return bar(
        f"{name}, predicted spread over RMSE", ratio, list(RATIO), RATIO[0] <= ratio <= RATIO[1]
    )


def plain(score):
    return {key: round(float(value), 5) for key, value in score._asdict().items()} | {
        "ratio": round(score.ratio, 4)
    }


def beside(scores):
    """How the network that corrects the interpolation fares beside it, by draw or fold."""
    return {
        f"{number}": f"CRPS {one.gain:.3f} ({one.low:.3f} to {one.high:.3f}) of the "
        f"interpolation's, spread/RMSE {one.spread_over_rmse:.2f}, {one.number} observations"
        for number, one in enumerate(scores)
    }


def measure(parts, quick):
    folder = data_folders()[0]
    figures, bars = {}, []
    if "stations" in parts:
        for name, limit in (("ireland-t2m-extremes", TMAX), ("ireland-t2m-minima", TMIN)):
            if quick and limit == TMIN:
                continue
            found = stations(name, folder, quick)
            ours = found["corrected"]
            figures[name] = {
                "corrected": plain(ours),
                "uncorrected": plain(found["uncorrected"]),
                "amortized": beside(found["amortized"]),
                **{k: found[k] for k in ("background_rmse", "desroziers", "stations")},
            }
            bars.append(
                bar(f"{name}, RMSE of withheld stations, K", ours.rmse, limit, ours.rmse <= limit)
            )
            bars.append(ratio_bar(name, ours.ratio))
    if "tracks" in parts:
        found = tracks(quick)
        ours, gain = found["ours"], found["crps_gain"]
        figures["med-adt"] = {
            "ours": plain(ours),
            "reference": plain(found["reference"]),
            "by_draw": [plain(one) for one, _ in found["by_draw"]],
            "amortized": beside(found["amortized"]),
            **{k: found[k] for k in ("crps_gain", "desroziers", "map_s", "reference_map_s")},
        }
        bars.append(
            bar("med-adt, RMSE of withheld tracks, m", ours.rmse, TRACKS, ours.rmse <= TRACKS)
        )
        bars.append(ratio_bar("med-adt", ours.ratio))
        bars.append(bar("med-adt, CRPS below the reference's", gain, CRPS_GAIN, gain >= CRPS_GAIN))
    if "clouds" in parts:
        found = clouds(folder, quick)
        figures["alboran-sst"] = {
            "ours": plain(found["ours"]),
            "nearest": found["nearest"],
            "persistence": found["persistence"],
        }
        for rival in ("nearest", "persistence"):
            gain = found[rival]["gain"]
            bars.append(bar(f"alboran-sst, RMSE below {rival}", gain, CLOUDS, gain >= CLOUDS))
    if "levels" in parts:
        found = levels(quick)
        figures["era5-levels"] = {f"{level:g} hPa": one for level, one in found.items()}
        share = max(one["analysis_rmse"] / one["background_rmse"] for one in found.values())
        same = all(one["read_as_written"] for one in found.values())
        bars.append(bar("era5-levels, members and levels read as written", same, 1, same))
        bars.append(bar("era5-levels, analysis over background RMSE", share, 1.0, share < 1.0))
    return figures, bars


def show(value, depth=1):
    for key, one in value.items():
        if isinstance(one, dict):
            print(f"{'  ' * depth}{key}")
            show(one, depth + 1)
        elif not isinstance(one, list):
            shown = f"{one:.4g}" if isinstance(one, float) else one
            print(f"{'  ' * depth}{key:<18} {shown}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer draws and records")
    parser.add_argument("--only", default="", help="parts, by commas: " + ", ".join(PARTS))
    options = parser.parse_args()
    parts = tuple(options.only.split(",")) if options.only else PARTS
    os.environ.setdefault("VARDAX_DATA_DIR", str(SHARED))
    if options.quick and not options.only:
        parts = ("tracks", "levels")
    if not pathlib.Path(data_folders()[0] / "ireland-2019-03").is_dir():
        print(
            f"the real data are not in {data_folders()[0]}; export VARDAX_DATA_DIR=/path/to/them",
            file=sys.stderr,
        )
        raise SystemExit(2)
    figures, bars = measure(parts, options.quick)
    show(figures)
    for one in bars:
        said = "holds" if one["pass"] else "FALLS SHORT"
        print(f"{one['name']:<55} {one['value']:8.4g}  bar {one['bar']}  {said}")
    print(json.dumps({"name": "real", "figures": figures, "bars": bars}))


if __name__ == "__main__":
    main()
