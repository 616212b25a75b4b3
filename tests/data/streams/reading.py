"""A stream of stations with what a test changes, and its reading."""

import datetime
import os
from typing import Any

import numpy as np

from vardax_core.data.streams.read import StreamRecords, read_stream
from vardax_core.data.streams.sections import Stream
from vardax_core.state.grids import LatLon

DIMS = ("latitude", "longitude")
START = datetime.datetime(2019, 3, 1, tzinfo=datetime.UTC)
END = datetime.datetime(2019, 3, 31, tzinfo=datetime.UTC)
GRID = LatLon.from_degrees(np.arange(60.0, 49.0, -1.0), np.arange(-12.0, 3.0))
COLUMNS = {
    "time": "time",
    "latitude": "lat",
    "longitude": "lon",
    "value": "t",
    "platform": "station",
}
HEADER = "time,lat,lon,t,station"
ROW = "2019-03-02T06:00Z,52.5,-6.25,10.5,a"


def table(**changes: Any) -> Stream:
    """A stream of CSV files in degC that arrive three hours after valid time."""
    source = {
        "kind": "table",
        "files": ["*.csv"],
        "columns": COLUMNS,
        "units": "degC",
        "delay": "3h",
    }
    own = {key: changes.pop(key) for key in ("error_sd", "representativeness") if key in changes}
    kept = {key: value for key, value in (source | changes).items() if value is not None}
    return Stream.model_validate({"name": "stations", "source": kept, **own})


def read(folder: Any, stream: Stream | None = None, **changes: Any) -> StreamRecords:
    """Read a stream of temperatures in K in March 2019."""
    settings: dict[str, Any] = {
        "dims": DIMS,
        "units": "K",
        "bounds": (200.0, 350.0),
        "start": START,
        "end": END,
        "folders": [folder],
    }
    return read_stream(table() if stream is None else stream, **(settings | changes))


def write(folder: Any, *rows: str, name: str = "a.csv", header: str = HEADER) -> None:
    """Write a CSV file that was last modified at the end of the period."""
    path = folder / name
    path.write_text("\n".join([header, *rows] if header else rows) + "\n")
    os.utime(path, (END.timestamp(), END.timestamp()))
