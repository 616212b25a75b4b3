"""The arrays that travel between the parts of vardax, with their shapes and units."""

import functools
from enum import IntEnum

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

MINUTES_EPOCH = "2000-01-01T00:00:00"
"""Every integer time in vardax counts minutes from this instant (UTC)."""


class ResultCode(IntEnum):
    """How an analysis ended; stored beside it, so a failure is data and not an exception."""

    OK = 0
    NO_OBSERVATIONS = 1
    OUT_OF_DISTRIBUTION = 2
    NON_FINITE = 3
    FAILED = 4
    NOT_CONVERGED = 5
    OUT_OF_RANGE = 6
    IMPLAUSIBLE = 7


PAST_STATISTICS = ("departure", "chi2", "increment", "evidence")
"""What may be known of the past departures of an observation, see `Observations.past`."""


class ErrorCovarianceError(ValueError):
    """An observation error covariance R that no analysis can use."""


class WindowShapeError(ValueError):
    """The arrays of a window of observations do not fit together, or their analysis step."""


def visible(x: Array | None) -> np.ndarray | None:
    """The values of an array, or None while a function is traced."""
    return None if x is None or isinstance(x, jax.core.Tracer) else np.asarray(x)


class Observations(eqx.Module):
    """The observations of one window.

    Attributes:
        values: observed values in the unit of the state; any finite number where `mask` is False.
        mask: True where an observation may be used.
        error_sd: standard deviation of the observation error (square root of diagonal R),
            in the unit of the values, positive.
        times: valid time of each row in minutes since `MINUTES_EPOCH`; the last one is the
            analysis time.
        past: means of past departures of each observation, in the order of `PAST_STATISTICS`, for
            each memory, and in units of what chance makes of them; or None where nobody keeps them.
    """

    values: Float[Array, "window obs"]
    mask: Bool[Array, "window obs"]
    error_sd: Float[Array, "window obs"]
    times: Int[Array, " window"]
    past: Float[Array, "statistic obs"] | None = None

    @classmethod
    def from_values(
        cls,
        values: Float[Array, "window obs"],
        error_sd: Float[Array, "window obs"],
        times: Int[Array, " window"],
        past: Float[Array, "statistic obs"] | None = None,
    ) -> "Observations":
        """Build a window from values and errors in which NaN or infinity means missing.

        Inside jit, where no value can be looked at, an error that is not positive means missing
        too.

        Raises:
            ErrorCovarianceError: if a finite value has an error that is not positive.
        """
        present = jnp.isfinite(values) & jnp.isfinite(error_sd)
        _refuse_not_positive(present, error_sd)
        mask = present & (error_sd > 0)
        return cls(
            values=jnp.where(mask, values, jnp.zeros_like(values)),
            mask=mask,
            error_sd=jnp.where(mask, error_sd, jnp.ones_like(error_sd)),
            times=times,
            past=past,
        )

    def check(self) -> None:
        """Refuse a window whose arrays do not belong together or whose R is not positive.

        Values are looked at outside of jit only; shapes always.

        Raises:
            WindowShapeError: if there is no row, or the arrays differ in shape, those of the past
                included.
            ErrorCovarianceError: if an unmasked observation has an error that is not positive.
        """
        shape = self.values.shape
        rest = (self.mask.shape, self.error_sd.shape, self.times.shape)
        if len(shape) != 2 or shape[0] < 1 or rest != (shape, shape, shape[:1]):
            raise WindowShapeError(
                f"Observations: values, mask and error_sd must be (window, obs) and times "
                f"(window,) with one row at least, got {shape}, {rest[0]}, {rest[1]} and "
                f"{rest[2]}; for a time without observations give one row with the mask False."
            )
        past, kinds = self.past, len(PAST_STATISTICS)
        if past is not None and (past.shape[0] % kinds or past.shape[1:] != shape[1:]):
            raise WindowShapeError(
                f"Observations: past must be (statistic, obs), here a multiple of {kinds} and "
                f"{shape[1]}, got {past.shape}; give what `DepartureHistory` keeps, or None."
            )
        _refuse_not_positive(self.mask, self.error_sd)

    def at_analysis_time(self) -> "Observations":
        """The same window cut down to its last row."""
        return Observations(
            self.values[-1:], self.mask[-1:], self.error_sd[-1:], self.times[-1:], self.past
        )


def _refuse_not_positive(present: Array, error_sd: Array) -> None:
    seen, sd = visible(present), visible(error_sd)
    if seen is None or sd is None:
        return
    bad = np.argwhere(seen & ~(sd > 0))
    if bad.size:
        row, column = (int(i) for i in bad[0])
        raise ErrorCovarianceError(
            f"Observations: {len(bad)} observations have an error_sd that is not positive, first "
            f"{sd[row, column]} at row {row}, observation {column}; R is a covariance of errors: "
            "give the instrument's standard deviation, or mask the observation."
        )


class Analysis(eqx.Module):
    """What one analysis step returns.

    Attributes:
        ensemble: analysis members, in the unit of the state.
        mean: analysis mean; the method's own, which need not be the members' average.
        spread: analysis standard deviation at every point; the method's own.
        result: a `ResultCode`.
        diagnostics: scalars and small arrays named by the method.
        background: the background valid at the analysis time, given by a method whose own
            background is valid at the start of its window.
    """

    ensemble: Float[Array, "member *state"]
    mean: Float[Array, "*state"]
    spread: Float[Array, "*state"]
    result: Int[Array, ""]
    diagnostics: dict[str, Array]
    background: Float[Array, "member *state"] | None = None


def all_true(ensemble: Bool[Array, "member *any"], *others: Bool[Array, "*any"]) -> Bool[Array, ""]:
    """Whether every element of several masks is true, in one reduction.

    Arguments:
        ensemble: a mask for each member.
        others: masks that concern all members.
    """
    return jnp.all(functools.reduce(lambda found, one: found & one[None], others, ensemble))


def ensemble_mean(ensemble: Float[Array, "member *state"]) -> Float[Array, "*state"]:
    """Average over the members."""
    return jnp.mean(ensemble, axis=0)


def ensemble_spread(ensemble: Float[Array, "member *state"]) -> Float[Array, "*state"]:
    """Standard deviation over the members with the M - 1 divisor; zero for a single member."""
    if ensemble.shape[0] == 1:
        return jnp.zeros(ensemble.shape[1:], ensemble.dtype)
    return jnp.std(ensemble, axis=0, ddof=1)


class Batch1D(eqx.Module):
    """Samples of a one-dimensional state for training or inference.

    Attributes:
        input: observations on the state's grid, arbitrary where `mask` is 0.
        mask: 1 where observed, 0 where not.
        target: the true state, or None at inference time.
        background_mean, background_spread: first two moments of the background ensemble.
        error_sd: observation error standard deviation, unit of the input.
        positions: coordinates of the observations.
        times: time of each row in minutes relative to the analysis time.
    """

    input: Float[Array, "batch window n"]
    mask: Float[Array, "batch window n"]
    target: Float[Array, "batch *target"] | None = None
    background_mean: Float[Array, "batch *state"] | None = None
    background_spread: Float[Array, "batch *state"] | None = None
    error_sd: Float[Array, "batch window n"] | None = None
    positions: Float[Array, "batch n coordinate"] | None = None
    times: Float[Array, "batch window"] | None = None


class Batch2D(eqx.Module):
    """Samples of a scalar field; see `Batch1D` for the fields."""

    input: Float[Array, "batch window y x"]
    mask: Float[Array, "batch window y x"]
    target: Float[Array, "batch *target"] | None = None
    background_mean: Float[Array, "batch *state"] | None = None
    background_spread: Float[Array, "batch *state"] | None = None
    error_sd: Float[Array, "batch window y x"] | None = None
    positions: Float[Array, "batch y x coordinate"] | None = None
    times: Float[Array, "batch window"] | None = None


class Batch2DMultivar(eqx.Module):
    """Samples of a field with several variables; see `Batch1D` for the fields."""

    input: Float[Array, "batch window channel y x"]
    mask: Float[Array, "batch window channel y x"]
    target: Float[Array, "batch *target"] | None = None
    background_mean: Float[Array, "batch *state"] | None = None
    background_spread: Float[Array, "batch *state"] | None = None
    error_sd: Float[Array, "batch window channel y x"] | None = None
    positions: Float[Array, "batch y x coordinate"] | None = None
    times: Float[Array, "batch window"] | None = None


Batch = Batch1D | Batch2D | Batch2DMultivar
