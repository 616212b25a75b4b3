"""Files of stations and of fields, which tests of drafts and checks make."""

import numpy as np
import xarray as xr

LATITUDE, LONGITUDE = np.arange(50.0, 55.01, 0.5), np.arange(-10.0, -4.99, 0.5)
START = np.datetime64("2020-06-01T00:00", "s")
NOISE = 0.4


def temperature(time, latitude, longitude):
    """A smooth field in degrees Celsius with a day in it."""
    hour = (np.asarray(time, "datetime64[s]") - START) / np.timedelta64(1, "h")
    return (
        14.0
        + 4.0 * np.sin(2 * np.pi * hour / 24)
        - 0.8 * (latitude - 52.0)
        + 0.5 * np.sin(longitude + hour / 30)
    )


def write_stations(path, *, stations=20, days=6, every="1h", header=None, turn=0.0, swap=False):
    """Reports of fixed stations in degrees Celsius, every hour by default."""
    rng = np.random.default_rng(5)
    places = np.stack([rng.uniform(50.3, 54.7, stations), rng.uniform(-9.7, -5.3, stations)], 1)
    step = np.timedelta64(int(every.removesuffix("h")), "h")
    times = np.arange(START, START + np.timedelta64(days, "D"), step)
    rows = [header or "station,time,lat,lon,temp"]
    for time in times:
        for number, (lat, lon) in enumerate(places):
            value = temperature(time, lat, lon) + rng.normal(0, NOISE)
            place = f"{lon + turn:.4f},{lat:.4f}" if swap else f"{lat:.4f},{lon + turn:.4f}"
            rows.append(f"S{number:02d},{time}Z,{place},{value:.2f}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")


def write_fields(path, *, start="2019-06-01T00:00", days=8, hours=3, units="K", north=0.0):
    """Fields in kelvin with a corner of land, by default of the year before."""
    count = days * 24 // hours + 1
    times = np.datetime64(start, "ns") + np.arange(count) * np.timedelta64(hours, "h")
    shift = START - np.datetime64("2019-06-01T00:00", "s")
    shift = shift if start.startswith("2019") else np.timedelta64(0, "s")
    fields = np.stack(
        [temperature(t + shift, LATITUDE[:, None], LONGITUDE[None]) + 273.15 for t in times]
    ).astype(np.float32)
    fields[:, :2, :2] = np.nan
    attrs = {"long_name": "2 metre temperature", "standard_name": "air_temperature"}
    path.parent.mkdir(parents=True, exist_ok=True)
    xr.Dataset(
        {"t2m": (("time", "lat", "lon"), fields, attrs | ({"units": units} if units else {}))},
        {
            "time": times,
            "lat": ("lat", LATITUDE + north, {"units": "degrees_north"}),
            "lon": ("lon", LONGITUDE, {"units": "degrees_east"}),
        },
    ).to_netcdf(path)
