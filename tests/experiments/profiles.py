"""A small data set of three variables at real places, made by a test: an ensemble of forecasts in
files, with starts and leads, and reports of some of the variables."""

import numpy as np
import xarray as xr
import yaml

from vardax_core.data import validate_recipe

LATITUDE, LONGITUDE = np.arange(45.0, 39.9, -0.5), np.arange(350.0, 356.1, 0.5)
START, DAYS, MEMBERS = np.datetime64("2019-03-01T00:00", "ns"), 8, 10
LEVELS = (850.0, 500.0)
WARM, COLD, WINDY = 280.0, 250.0, 10.0
HOUR = np.timedelta64(1, "h")


def waves(rng, count):
    """Smooth anomalies of one size, with wave lengths of some degrees."""
    y, x = np.meshgrid(np.deg2rad(20 * LATITUDE), np.deg2rad(20 * LONGITUDE), indexing="ij")
    parts = [np.sin(a * y + b * x + c) for a, b, c in ((1, 1, 0), (2, -1, 1), (1, -2, 2))]
    return np.einsum("nk,kyx->nyx", rng.normal(size=(count, len(parts))), np.stack(parts))


def forecasts(seed=1):
    """Truths (day, variable, y, x), and forecasts (start, lead, member, variable, y, x) of 24 and
    48 hours, which err twice as much; the three variables share their errors."""
    rng = np.random.default_rng(seed)
    base = np.array([WARM, COLD, WINDY])[:, None, None]
    amplitudes = np.array([1.0, 0.5, 2.0])[:, None, None]
    truth = base + amplitudes * waves(rng, DAYS + 2)[:, None]
    made = np.full((DAYS + 2, 2, MEMBERS, *truth.shape[1:]), np.nan)
    for day in range(DAYS + 2):
        for step, lead in enumerate((1, 2)):
            if day + lead < DAYS + 2:
                centre = lead * waves(rng, 1)[0]
                errors = centre + lead * waves(rng, MEMBERS)
                made[day, step] = truth[day + lead] + amplitudes * errors[:, None]
    return truth, made


def write_forecasts(path, made, *, days=slice(None)):
    """Two variables, one of them at two levels, in degrees east from 0 to 360 and southward."""
    made = made[days]
    starts = (START + np.arange(DAYS + 2) * 24 * HOUR)[days]
    level = ("level", list(LEVELS), {"units": "hPa"})
    axes = ("time", "step", "number")
    t = made[:, :, :, :2].astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    xr.Dataset(
        {
            "t": ((*axes, "level", "latitude", "longitude"), t, {"units": "K"}),
            "u": (
                (*axes, "latitude", "longitude"),
                made[:, :, :, 2].astype(np.float32),
                {"units": "m s-1"},
            ),
        },
        {
            "time": starts,
            "step": ("step", np.array([24, 48]) * HOUR),
            "number": np.arange(made.shape[2]),
            "level": level,
            "latitude": ("latitude", LATITUDE, {"units": "degrees_north"}),
            "longitude": ("longitude", LONGITUDE, {"units": "degrees_east"}),
        },
    ).to_netcdf(path)


def write_reports(path, truth, *, column, error_sd, count=40, seed=2):
    """Reports of one variable at places of their own at the middle of each day."""
    rng = np.random.default_rng(seed)
    rows = ["site,time,lat,lon,value"]
    sites = np.stack([rng.uniform(40.2, 44.8, count), rng.uniform(350.2, 355.8, count)], axis=1)
    field = xr.DataArray(
        truth[:, column], dims=("day", "lat", "lon"), coords={"lat": LATITUDE, "lon": LONGITUDE}
    )
    for day in range(DAYS + 2):
        at = field[day].interp(
            lat=xr.DataArray(sites[:, 0], dims="s"), lon=xr.DataArray(sites[:, 1], dims="s")
        )
        values = at.to_numpy() + rng.normal(0, error_sd, count)
        stamp = np.datetime_as_string(START + day * 24 * HOUR, unit="s")
        rows += [
            f"s{n},{stamp}Z,{lat:.4f},{lon - 360:.4f},{value:.4f}"
            for n, ((lat, lon), value) in enumerate(zip(sites, values, strict=True))
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")


def values(*streams, **changes):
    """What `recipe.yaml` says, with streams of some of the variables."""
    made = yaml.safe_load("""
schema: 2
name: profiles
title: Temperature at two levels, and wind
attribution: made by a test
variables:
  - name: t850
    long_name: temperature at 850 hPa
    units: K
    valid_min: 260
    valid_max: 300
    file_variable: t
    select: {level: 850}
  - name: t500
    long_name: temperature at 500 hPa
    units: K
    valid_min: 235
    valid_max: 265
    file_variable: t
    select: {level: 500}
  - {name: u, long_name: eastward wind, units: m s-1, valid_min: -20, valid_max: 40}
grid:
  dims: [latitude, longitude]
  latitude: {first: 45.0, last: 40.0, step: 0.5}
  longitude: {first: 350.0, last: 356.0, step: 0.5}
forecast:
  kind: fields
  files: [forecast-*.nc]
  arrival_delay: 6h
cycle:
  start: 2019-03-02T00:00Z
  end: 2019-03-09T00:00Z
  interval: 1d
  window: {times: 1, spacing: 1d}
verification: {withheld: {share: 0.2, seed: 1}}
members: 10
""")
    made["observations"] = [stream(name) for name in streams or ("t850",)]
    return made | changes


def stream(variable):
    """A stream of one of the variables."""
    return {
        "name": f"{variable}-reports",
        "variable": variable,
        "source": {
            "kind": "table",
            "files": [f"{variable}.csv"],
            "columns": {
                "time": "time",
                "latitude": "lat",
                "longitude": "lon",
                "value": "value",
                "platform": "site",
            },
            "units": "m s-1" if variable == "u" else "K",
            "delay": "0h",
        },
        "error_sd": 0.2,
    }


def recipe(*streams, **changes):
    return validate_recipe(values(*streams, **changes), "profiles")


def write_all(folder, *streams):
    """Forecasts and reports; the truths they were made of."""
    truth, made = forecasts()
    write_forecasts(folder / "forecast-1.nc", made)
    for number, name in enumerate(("t850", "t500", "u")):
        if name in (streams or ("t850",)):
            write_reports(folder / f"{name}.csv", truth, column=number, error_sd=0.2)
    return truth, made
