"""Quality control of point observations before they meet a background."""

import numpy as np
from jaxtyping import Bool, Float, Int, Int8

from vardax_core.observations.quality import QualityCode
from vardax_core.state.grids import AbstractGrid

Codes = Int8[np.ndarray, " obs"]


class ScreeningError(ValueError):
    """Arrays or limits that observations cannot be screened with."""


def _check_sizes(codes: np.ndarray, **arrays: np.ndarray) -> None:
    wrong = {name: a.shape for name, a in arrays.items() if a.shape[:1] != codes.shape}
    if wrong:
        raise ScreeningError(
            f"Screening: expected one entry for each of the {codes.size} codes, got {wrong}; pass "
            "arrays of one observation set."
        )


def _with(codes: Codes, chosen: Bool[np.ndarray, " _"], code: QualityCode) -> Codes:
    """Codes set before are left as they are."""
    kept = codes == int(QualityCode.KEPT)
    return np.where(chosen & kept, np.int8(code), codes).astype(np.int8)


def flag_blacklisted(
    codes: Codes, station: Int[np.ndarray, " _"], blacklist: Int[np.ndarray, " banned"]
) -> Codes:
    """Flag the observations of stations that are not to be used, as BLACKLISTED.

    Raises:
        ScreeningError: if the arrays differ in length.
    """
    _check_sizes(codes, station=station)
    return _with(codes, np.isin(station, blacklist), QualityCode.BLACKLISTED)


def flag_outside(
    codes: Codes,
    places: Float[np.ndarray, "_ coordinate"],
    grid: AbstractGrid,
) -> Codes:
    """Flag the observations that no point of a grid is around, or nowhere, as OUTSIDE_DOMAIN.

    Arguments:
        places: coordinates in the order of the grid's axes.
        grid: of the state; a place among its masked points is outside.

    Raises:
        ScreeningError: if the arrays differ in length.
    """
    _check_sizes(codes, places=places)
    return _with(codes, ~grid.contains(places), QualityCode.OUTSIDE_DOMAIN)


def flag_thinned(
    codes: Codes,
    places: Float[np.ndarray, "_ coordinate"],
    error_sd: Float[np.ndarray, " _"],
    spacing: float,
    grid: AbstractGrid,
) -> Codes:
    """Keep one observation in every box of a mesh, the most accurate one; the others are THINNED.

    Of equal errors the first in the arrays stays, so that the choice is the same in every run.

    Arguments:
        places: coordinates in the order of the grid's axes.
        error_sd: standard deviation of the observation error.
        spacing: side of a box, in the units of the axes.
        grid: says which places have several names, as longitudes do.

    Raises:
        ScreeningError: if the arrays differ in length or the spacing is not positive.

    Source: Lorenc (1981), doi:10.1175/1520-0493(1981)109<0701:AGTDSI>2.0.CO;2
    """
    _check_sizes(codes, places=places, error_sd=error_sd)
    if not spacing > 0:
        raise ScreeningError(f"Thinning: spacing must be positive, got {spacing}.")
    usable = np.flatnonzero(codes == int(QualityCode.KEPT))
    boxes = grid.boxes(places[usable], spacing)
    order = np.lexsort((usable, error_sd[usable], *boxes.T[::-1]))
    same = np.zeros(usable.size, bool)
    same[1:] = np.all(boxes[order][1:] == boxes[order][:-1], axis=1)
    chosen = np.zeros(codes.size, bool)
    chosen[usable[order[same]]] = True
    return _with(codes, chosen, QualityCode.THINNED)


def flag_unlike_neighbours(
    codes: Codes,
    departure: Float[np.ndarray, " _"],
    expected_sd: Float[np.ndarray, " _"],
    places: Float[np.ndarray, "_ coordinate"],
    grid: AbstractGrid,
    *,
    radius: float,
    k: float = 4.0,
    fewest: int = 3,
) -> Codes:
    """Buddy check: flag departures that those of the neighbours do not bear out, as GROSS_ERROR.

    An observation is flagged if its departure differs from the median of those of its kept
    neighbours by more than k times its expected standard deviation. The observation furthest out
    goes first, and the others are then judged without it.

    Arguments:
        departure: O-B, in the unit of the observations.
        expected_sd: square root of HBH' + R, in that unit.
        places: coordinates in the order of the grid's axes.
        grid: gives distances.
        radius: how far a neighbour may be, in units of the axes; on the sphere degrees of a great
            circle.
        k: tolerance in standard deviations.
        fewest: neighbours without which nothing is judged.

    Raises:
        ScreeningError: if the arrays differ in length, or a limit is not positive.

    Source: Dee et al. (2001), doi:10.1002/qj.49712757714
    """
    _check_sizes(codes, departure=departure, expected_sd=expected_sd, places=places)
    if not (radius > 0 and k > 0 and fewest >= 1):
        raise ScreeningError(
            "Buddy check: radius and k must be positive and fewest at least 1, got "
            f"{radius}, {k} and {fewest}."
        )
    kept = (codes == int(QualityCode.KEPT)) & np.isfinite(departure)
    kept &= np.isfinite(places).all(axis=1)
    near = np.zeros((codes.size, codes.size), bool)
    near[np.ix_(kept, kept)] = grid.near(places[kept], radius * grid.axis_step)
    near &= ~np.eye(codes.size, dtype=bool)
    chosen = np.zeros(codes.size, bool)
    while True:
        excess = np.zeros(codes.size)
        for index in np.flatnonzero(kept):
            buddies = departure[near[index] & kept]
            if buddies.size >= fewest:
                away = abs(departure[index] - np.median(buddies))
                excess[index] = away / expected_sd[index]
        worst = int(np.argmax(excess))
        if excess[worst] <= k:
            return _with(codes, chosen, QualityCode.GROSS_ERROR)
        kept[worst], chosen[worst] = False, True
