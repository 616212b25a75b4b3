"""Observations as they were known at a moment."""

import numpy as np
import xarray as xr

from vardax_core.data.reports import OWN_CODE, SUPERSEDED_AT
from vardax_core.data.timeaxis import to_minutes
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode

ARRIVAL = "arrival_time"
NEVER = np.iinfo(np.int64).min


def as_known_at(observations: xr.Dataset, moment: int) -> xr.Dataset:
    """Give observations the codes that they had at a moment.

    What came later is NOT_ARRIVED, and a version that was superseded later counts. For
    verification a withheld value is the last one, whenever that came.

    Arguments:
        observations: on (time, station), with `arrival_time`.
        moment: minutes since `MINUTES_EPOCH`.
    """
    dims = observations[QUALITY_CONTROL].dims
    codes = observations[QUALITY_CONTROL].to_numpy().copy()
    if SUPERSEDED_AT in observations:
        until = to_minutes(observations[SUPERSEDED_AT].transpose(*dims).to_numpy())
        own = observations[OWN_CODE].transpose(*dims).to_numpy()
        superseded = codes == QualityCode.SUPERSEDED
        codes[superseded & (until > moment) & (own == QualityCode.KEPT)] = QualityCode.KEPT
    arrival = to_minutes(observations[ARRIVAL].transpose(*dims).to_numpy())
    unknown = (arrival > moment) | (arrival == NEVER)
    codes[unknown & (codes == QualityCode.KEPT)] = QualityCode.NOT_ARRIVED
    return observations.assign(
        {QUALITY_CONTROL: (dims, codes, observations[QUALITY_CONTROL].attrs)}
    )
