"""Point and along-track observations averaged onto the analysis grid (superobservations)."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from vardax_core.state.grids import AbstractGrid


class BinningError(ValueError):
    """Observations that cannot be binned."""


@dataclasses.dataclass(frozen=True)
class Binned:
    """Observations averaged in the cells of a grid.

    Attributes:
        values: weighted mean in each cell, NaN where there is none.
        error_sd: its standard deviation: instrument and representativeness error together.
        count: observations in each cell.
        representativeness_sd: spread of the observations in a cell that their own errors do not
            explain, in the unit of the values; one number for the grid.
        outside: observations that lie in no cell.
    """

    values: Float[np.ndarray, "*grid"]
    error_sd: Float[np.ndarray, "*grid"]
    count: Int[np.ndarray, "*grid"]
    representativeness_sd: float
    outside: int


def bin_to_grid(
    values: Float[np.ndarray, " obs"],
    error_sd: Float[np.ndarray, " obs"],
    places: Float[np.ndarray, "obs coordinate"],
    grid: AbstractGrid,
    *,
    use: Bool[np.ndarray, " obs"] | None = None,
) -> Binned:
    """Average observations, weighted by 1 / error_sd^2, in the cells around the grid's points.

    The representativeness variance is what the squared departures from the cell means exceed the
    instrument's by, averaged over all cells with two observations or more; it is shared by the
    observations of a cell and so does not shrink with their number.

    Arguments:
        values, error_sd: in one unit; what is not finite is left out.
        places: coordinates of the observations, in the order of the grid's axes.
        grid: whose points are in the middle of the cells.
        use: True for what has passed quality control.

    Raises:
        BinningError: if arrays do not fit, or an error is not positive.

    Source: Janjic et al. (2018), doi:10.1002/qj.3130
    """
    good = np.isfinite(values) & np.isfinite(error_sd) & np.all(np.isfinite(places), axis=1)
    good &= True if use is None else use
    expected = (values.size, grid.points().shape[1])
    if places.shape != expected or error_sd.shape != values.shape:
        raise BinningError(
            f"Expected places {expected} and as many errors as values, got {places.shape} and "
            f"{error_sd.shape}."
        )
    if np.any(error_sd[good] <= 0):
        raise BinningError("error_sd must be positive; give the instrument's standard deviation.")
    cells = grid.cells(places)
    inside = good & (cells >= 0)
    flat = cells[inside]
    size, shape = grid.size, grid.shape

    def sums(weights: np.ndarray) -> np.ndarray:
        return np.bincount(flat, weights, size)

    x, precision = values[inside].astype(np.float64), error_sd[inside].astype(np.float64) ** -2
    count = np.bincount(flat, minlength=size)
    total = sums(precision)
    mean = np.divide(sums(precision * x), total, out=np.full(size, np.nan), where=count > 0)
    several = count > 1
    # E[sum p (x - mean)^2] = n - 1 + representativeness variance (sum p - sum p^2 / sum p)
    scatter = sums(precision * (x - mean[flat]) ** 2)[several]
    freedom = (count - 1)[several]
    leverage = total[several] - sums(precision**2)[several] / total[several]
    variance = max(0.0, float((scatter - freedom).sum() / leverage.sum())) if several.any() else 0.0
    instrument = np.divide(1.0, total, out=np.full(size, np.nan), where=count > 0)
    return Binned(
        values=mean.reshape(shape),
        error_sd=np.sqrt(instrument + variance).reshape(shape),
        count=count.reshape(shape),
        representativeness_sd=variance**0.5,
        outside=int(good.sum() - inside.sum()),
    )
