"""Parts of a domain by the coordinates of their places."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from vardax_core.state.coordinates import LONGITUDE, meaning

Region = dict[str, tuple[float, float]]
"""Lowest and highest coordinate by the name of the dimension."""


def faults_of_regions(regions: Mapping[str, Region], dims: Sequence[str]) -> Iterator[str]:
    """Say what is wrong with regions of states with these dimensions."""
    for name, region in regions.items():
        unknown = sorted(set(region) - set(dims))
        if unknown or not region:
            yield f"{name}: expected bounds of {list(dims)}, or of one of them, got {list(region)}"
        for dim, (low, high) in region.items():
            if dim in dims and not low < high and meaning(dim, {}) != LONGITUDE:
                yield f"{name}.{dim}: from {low:g} to {high:g} there is nothing; swap them"


def parts_of(
    region: Region, places: Float[np.ndarray, "record coordinate"], dims: Sequence[str]
) -> Bool[np.ndarray, " record"]:
    """Say which places lie in a region, its lower bounds included and its upper ones not.

    Longitudes are taken in any convention, and from the first bound eastwards to the second.
    """
    inside = np.ones(len(places), bool)
    for dim, (low, high) in region.items():
        at = places[:, list(dims).index(dim)]
        if meaning(dim, {}) == LONGITUDE:
            inside &= np.mod(at - low, 360.0) < (np.mod(high - low, 360.0) or 360.0)
        else:
            inside &= (at >= low) & (at < high)
    return inside


def quadrants(grid: xr.Dataset, dims: Sequence[str]) -> dict[str, Region]:
    """Give the quarters of a grid of two dimensions, or the halves of one of one.

    Arguments:
        grid: with the coordinates of the states.
    """
    regions: dict[str, Region] = {"": {}}
    for dim in dims:
        values = grid[dim].to_numpy().astype(float)
        low, high = float(values.min()), float(values.max())
        middle, margin = 0.5 * (low + high), 1e-6 * max(high - low, 1e-6)
        regions = {
            f"{name}, {dim} {first:g} to {last:g}".removeprefix(", "): {
                **region,
                dim: (first, last + (margin if last == high else 0.0)),
            }
            for name, region in regions.items()
            for first, last in ((low, middle), (middle, high))
        }
    return regions
