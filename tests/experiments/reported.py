"""A small data set of real observations, which a test makes: drifting buoys over a smooth field."""

import numpy as np
import xarray as xr
import yaml

from vardax_core.data import validate_recipe

LATITUDE, LONGITUDE = np.arange(40.0, 43.01, 0.5), np.arange(-6.0, -1.99, 0.5)
START, DAYS = np.datetime64("2019-03-01T12:00", "ns"), 16
ERROR_SD = 0.2
LAND = (slice(0, 2), slice(0, 2))


def truth(time, latitude, longitude):
    """A field that moves, in degrees Celsius."""
    day = (np.asarray(time, "datetime64[ns]") - START) / np.timedelta64(1, "D")
    wave = np.sin(1.5 * latitude + 0.25 * day) + np.cos(1.2 * longitude - 0.2 * day)
    return 12.0 + 1.5 * wave


def write_buoys(path, *, days=range(DAYS), buoys=48, seed=3, per_day=2, stamp="%Y-%m-%dT%H:%M:%S"):
    """Reports of drifting buoys as CSV in degrees Celsius; 1 in 40 values is missing."""
    rng = np.random.default_rng(seed)
    home = np.stack([rng.uniform(40.2, 42.8, buoys), rng.uniform(-5.8, -2.2, buoys)], axis=1)
    drift = rng.normal(0, 0.01, (buoys, 2))
    rows = ["buoy,time,lat,lon,sst"]
    for day in range(DAYS):
        for report in range(per_day):
            for buoy in range(buoys):
                offset = int(rng.integers(-6 * 3600, 6 * 3600))
                noise, missing = rng.normal(0, ERROR_SD), rng.random() < 1 / 40
                if day not in days:
                    continue
                time = START + np.timedelta64(day * 86400 + offset + report, "s")
                lat, lon = home[buoy] + day * drift[buoy]
                value = "" if missing else f"{truth(time, lat, lon) + noise:.3f}"
                stamped = time.astype("datetime64[s]").item().strftime(stamp)
                rows.append(f"b{buoy:02d},{stamped}Z,{lat:.4f},{lon:.4f},{value}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")


def write_prior(path, *, days=30):
    """Maps of another year in kelvin, with land in a corner."""
    times = np.datetime64("2018-03-01T12:00", "ns") + np.arange(days) * np.timedelta64(1, "D")
    shift = np.timedelta64(365 * 24, "h")
    fields = np.stack(
        [truth(t + shift, LATITUDE[:, None], LONGITUDE[None]) + 273.15 for t in times]
    ).astype(np.float32)
    fields[(slice(None), *LAND)] = np.nan
    path.parent.mkdir(parents=True, exist_ok=True)
    xr.Dataset(
        {"sst": (("time", "lat", "lon"), fields, {"units": "K"})},
        {
            "time": times,
            "lat": ("lat", LATITUDE, {"units": "degrees_north"}),
            "lon": ("lon", LONGITUDE, {"units": "degrees_east"}),
        },
    ).to_netcdf(path)


def values(**changes):
    """What `recipe.yaml` says."""
    made = yaml.safe_load("""
schema: 2
name: buoys
title: Sea surface temperature from drifting buoys
attribution: made by a test
variables:
  - name: sst
    standard_name: sea_surface_temperature
    long_name: sea surface temperature
    units: K
    valid_min: 270
    valid_max: 300
grid: {dims: [latitude, longitude]}
prior: {fields: {files: [maps.nc], variable: sst}}
observations:
  - name: drifters
    source:
      kind: table
      files: [buoys-*.csv]
      columns: {time: time, latitude: lat, longitude: lon, value: sst, platform: buoy}
      units: degC
      delay: 0h
    error_sd: 0.2
cycle:
  start: 2019-03-03T12:00Z
  end: 2019-03-16T12:00Z
  interval: 1d
  window: {times: 3, spacing: 1d, after: 2}
verification: {withheld: {share: 0.2, seed: 1}}
members: 8
""")
    return made | changes


def recipe(**changes):
    return validate_recipe(values(**changes), "buoys")


def write_all(folder):
    """The recipe, its data and their places in the environment of a test."""
    write_buoys(folder / "data" / "buoys-1.csv")
    write_prior(folder / "data" / "maps.nc")
    path = folder / "datasets" / "buoys" / "recipe.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values()))
    return {
        "VARDAX_DATA_DIR": str(folder / "data"),
        "VARDAX_DATASETS_DIR": str(folder / "datasets"),
    }
