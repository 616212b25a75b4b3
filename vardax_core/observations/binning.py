"""Point and along-track observations averaged onto the analysis grid (superobservations)."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int


class BinningError(ValueError):
    """Observations or a grid that cannot be binned."""


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


def cell_edges(axis: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n_plus_one"]:
    """Edges halfway between the points of an axis, ascending or descending.

    Raises:
        BinningError: if the axis has less than two points, or is not monotonic.
    """
    steps = np.diff(axis)
    if axis.size < 2 or not (np.all(steps > 0) or np.all(steps < 0)):
        raise BinningError(
            "An axis must rise or fall strictly and hold two points at least, got "
            f"{axis.size} points; sort the grid."
        )
    middle = (axis[1:] + axis[:-1]) / 2
    ends = axis[[0, -1]] + np.array([-steps[0], steps[-1]]) / 2
    return np.concatenate([ends[:1], middle, ends[1:]])


def cells_of(
    position: Float[np.ndarray, "obs axis"], axes: tuple[Float[np.ndarray, " _"], ...]
) -> Int[np.ndarray, " obs"]:
    """Flat row-major number of the cell around a grid point that each position is in; -1 for none.

    Raises:
        BinningError: if an axis is not monotonic.
    """
    numbers, inside = [], np.ones(len(position), bool)
    for column, axis in zip(position.T, axes, strict=True):
        edges = cell_edges(axis)
        rising = edges[-1] > edges[0]
        index = np.searchsorted(edges if rising else edges[::-1], column, side="right") - 1
        index = index if rising else axis.size - 1 - index
        inside &= (index >= 0) & (index < axis.size)
        numbers.append(index.clip(0, axis.size - 1))
    flat = np.ravel_multi_index(numbers, tuple(axis.size for axis in axes))
    return np.where(inside, flat, -1)


def bin_to_grid(
    values: Float[np.ndarray, " obs"],
    error_sd: Float[np.ndarray, " obs"],
    position: Float[np.ndarray, "obs axis"],
    axes: tuple[Float[np.ndarray, " _"], ...],
    *,
    use: Bool[np.ndarray, " obs"] | None = None,
) -> Binned:
    """Average observations, weighted by 1 / error_sd^2, in the cells around the grid's points.

    The representativeness variance is what the squared departures from the cell means exceed the
    instrument's by, averaged over all cells with two observations or more; it is shared by the
    observations of a cell and so does not shrink with their number.

    Arguments:
        values, error_sd: in one unit; what is not finite is left out.
        position: coordinates of the observations, in the order of the axes.
        axes: coordinates of the grid's points.
        use: True for what has passed quality control.

    Raises:
        BinningError: if arrays do not fit, an axis is not monotonic, or an error not positive.

    Source: Janjic et al. (2018), doi:10.1002/qj.3130
    """
    good = np.isfinite(values) & np.isfinite(error_sd) & np.all(np.isfinite(position), axis=1)
    good &= True if use is None else use
    if position.shape != (values.size, len(axes)) or error_sd.shape != values.shape:
        raise BinningError(
            f"Expected positions {(values.size, len(axes))} and as many errors as values, got "
            f"{position.shape} and {error_sd.shape}."
        )
    if np.any(error_sd[good] <= 0):
        raise BinningError("error_sd must be positive; give the instrument's standard deviation.")
    shape = tuple(axis.size for axis in axes)
    cells = cells_of(position, axes)
    inside = good & (cells >= 0)
    flat = cells[inside]
    size = int(np.prod(shape))

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
