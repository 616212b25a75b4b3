"""Pieces of track: platforms made of the gaps between times."""

import dataclasses
import datetime

import numpy as np

from vardax_core.data.streams.records import Records
from vardax_core.data.streams.revisions import Versions


def with_tracks(versions: Versions, gap: datetime.timedelta) -> Versions:
    """Name the platform of each record by the first time of its piece of track.

    A time that is later than the one before it by more than `gap` begins a new piece; records
    without such a gap between them belong to one, whatever their places.
    """
    times = np.unique(versions.current.time)
    if not times.size:
        return versions
    begins = times[np.r_[True, np.diff(times) > np.timedelta64(gap)]]
    names = tuple(np.datetime_as_string(begins, unit="s").tolist())

    def named(records: Records) -> Records:
        track = np.maximum(np.searchsorted(begins, records.time, side="right") - 1, 0)
        return dataclasses.replace(
            records, platform=track.astype(np.int32), platforms=names
        ).in_order()

    return dataclasses.replace(
        versions, current=named(versions.current), superseded=named(versions.superseded)
    )
