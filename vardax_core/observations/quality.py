"""Quality control: a code per observation, the bounds check and the first-guess check."""

from enum import IntEnum

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Bool, Float, Int8


class QualityCode(IntEnum):
    """Why an observation is used or not; stored beside it as a CF flag variable."""

    KEPT = 0
    GROSS_ERROR = 1
    OUTSIDE_DOMAIN = 2
    DUPLICATE = 3
    THINNED = 4
    BLACKLISTED = 5
    FAILED_OPERATOR = 6
    FIRST_GUESS = 7
    MISSING = 8
    NOT_ARRIVED = 9
    WITHHELD = 10
    SUPERSEDED = 11
    REJECTED = 12


HALF_NORMAL_MEDIAN = 0.6745
"""Median of |z| for a standard normal z."""

QUALITY_CONTROL = "quality_control"
"""Name of the flag variable in every dataset of observations."""


def flag_attributes() -> dict[str, object]:
    """CF attributes of a variable of `QualityCode` (CF conventions, section 3.5)."""
    return {
        "standard_name": "quality_flag",
        "long_name": "quality control code",
        "flag_values": np.array(list(QualityCode), np.int8),
        "flag_meanings": " ".join(code.name.lower() for code in QualityCode),
    }


def check_bounds(
    observations: xr.Dataset,
    variable: str,
    valid_min: float | np.ndarray,
    valid_max: float | np.ndarray,
) -> xr.Dataset:
    """Flag the kept values of `variable` that are not finite or out of bounds.

    A value that is not finite becomes NaN with the code MISSING; one below `valid_min` or above
    `valid_max`, in the variable's unit and of all stations or of each, stays as reported with the
    code GROSS_ERROR. Codes set before are left as they are.
    """
    values, codes = observations[variable], observations[QUALITY_CONTROL]
    finite = np.isfinite(values)
    kept = codes == QualityCode.KEPT
    outside = finite & ((values < valid_min) | (values > valid_max))
    new = codes.where(~(kept & outside), np.int8(QualityCode.GROSS_ERROR))
    new = new.where(~(kept & ~finite), np.int8(QualityCode.MISSING))
    return observations.assign(
        {
            variable: values.where(finite).assign_attrs(values.attrs),
            QUALITY_CONTROL: new.astype(np.int8).assign_attrs(codes.attrs),
        }
    )


def first_guess_check(
    innovation: Float[Array, "*obs"],
    background_variance: Float[Array, "*obs"],
    error_sd: Float[Array, "*obs"],
    mask: Bool[Array, "*obs"],
    *,
    k: float,
) -> tuple[Bool[Array, "*obs"], Int8[Array, "*obs"]]:
    """Reject observations too far from the background: |O-B| > k sqrt(HBH' + R).

    Arguments:
        innovation: O-B, in the unit of the observations; one that is not finite is rejected.
        background_variance: diagonal of HBH', in that unit squared.
        error_sd: square root of the diagonal of R, in that unit.
        mask: True where an observation may be used.
        k: tolerance in standard deviations, of the order of 3 to 5.

    Returns:
        The mask without the rejected ones, and the codes KEPT, FIRST_GUESS or (where `mask` was
        False) MISSING.

    Source: Lorenc and Hammon (1988), doi:10.1002/qj.49711448012
    """
    limit = k * jnp.sqrt(background_variance + error_sd**2)
    accepted = mask & (jnp.abs(innovation) <= limit)
    codes = jnp.where(accepted, int(QualityCode.KEPT), int(QualityCode.FIRST_GUESS))
    codes = jnp.where(mask, codes, int(QualityCode.MISSING))
    return accepted, codes.astype(jnp.int8)


def adaptive_first_guess_check(
    innovation: Float[Array, " obs"],
    background_variance: Float[Array, " obs"],
    error_sd: Float[Array, " obs"],
    mask: Bool[Array, " obs"],
    *,
    k: float,
) -> Bool[Array, " obs"]:
    """Reject what is far from the background, in units of what is usual in this cycle.

    Where most innovations are larger than HBH' + R expects, the background is at fault and not the
    observations: the limit of `first_guess_check` then grows with the median innovation.

    Returns:
        The mask without the rejected ones.
    """
    standardised = jnp.abs(innovation) / jnp.sqrt(background_variance + error_sd**2)
    usual = jnp.nanmedian(jnp.where(mask, standardised, jnp.nan)) / HALF_NORMAL_MEDIAN
    scale = jnp.maximum(jnp.where(jnp.isfinite(usual), usual, 1.0), 1.0)
    kept, _ = first_guess_check(innovation / scale, background_variance, error_sd, mask, k=k)
    return kept
