"""Which points and values of fields count."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Bool

from vardax_core.data.recipe import Recipe

STATE_MASK = "state_mask"
"""Name of the mask in datasets and stores: 1 at the points that belong to the state."""


def frame_mask(
    frame: xr.Dataset | xr.DataArray, dims: Sequence[str]
) -> Bool[np.ndarray, "*state"] | None:
    """Give the mask of a frame or a store's group, None where all points belong to the state."""
    there = frame.variables if isinstance(frame, xr.Dataset) else frame.coords
    if STATE_MASK not in there:
        return None
    return frame[STATE_MASK].transpose(*dims).to_numpy().astype(bool)


def mask_truth(nature_run: xr.Dataset, recipe: Recipe) -> xr.Dataset:
    """The nature run with NaN where a variable is not finite or out of the recipe's bounds."""
    valid = {}
    for one in recipe.variables:
        truth = nature_run[one.name]
        with xr.set_options(keep_attrs=True):
            valid[one.name] = truth.where((truth >= one.valid_min) & (truth <= one.valid_max))
    return nature_run.assign(valid)
