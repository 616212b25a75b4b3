"""An amortized analysis of a gridded field that corrects a space-time interpolation."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from vardax_core.analysis.amortized.field_network import FieldNetwork
from vardax_core.analysis.amortized.local_departures import LocalDepartures
from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.variational.window_interpolation import WindowInterpolation
from vardax_core.models.climatology import MINUTES_A_DAY
from vardax_core.observations.base import AbstractObservationOperator, check_linear
from vardax_core.types import (
    Analysis,
    Observations,
    ResultCode,
    ensemble_mean,
    ensemble_spread,
)

MEAN_LIMIT = 3.0
LOG_SPREAD_LIMIT = 1.0
LITTLE = 0.01
"""Share of the climatological variance; where the observations explain less, the analysis goes over
to the background."""


class GriddedWindow(eqx.Module):
    """The observations of a window, as departures from climatology, on the grid of the state.

    Attributes:
        departures: mean departure at each grid point; zero where unobserved.
        counts: observations at each grid point, each as the square of its slope there.
        error_sd: mean observation error standard deviation; zero where unobserved.
    """

    departures: Float[Array, "window *state"]
    counts: Float[Array, "window *state"]
    error_sd: Float[Array, "window *state"]


def grid_window(
    operator: AbstractObservationOperator,
    departures: Float[Array, "window obs"],
    observations: Observations,
    spread: Float[Array, "*state"],
) -> GriddedWindow:
    """Carry a window to the grid, in the unit of the state.

    Arguments:
        operator: linear observation operator H.
        departures: from climatology.
        observations: which are there, and their errors.
        spread: climatological standard deviation of each point.
    """
    climate = jnp.zeros((1, *operator.state_shape), departures.dtype)

    def row(
        departure: Float[Array, " obs"], present: Bool[Array, " obs"], error: Float[Array, " obs"]
    ) -> GriddedWindow:
        used = present.astype(departure.dtype)
        seen = LocalDepartures.of(operator, climate, spread, used, error)
        error_sd = jnp.where(seen.weights > 0, seen.error_sd, 0.0)
        fields = GriddedWindow(seen.on_grid(departure), seen.weights, error_sd)
        return jax.tree.map(lambda x: x.reshape(operator.state_shape), fields)

    return jax.vmap(row)(departures, observations.mask, observations.error_sd)


def recentre_and_rescale(
    ensemble: Float[Array, "member *state"],
    mean: Float[Array, "*state"],
    spread: Float[Array, "*state"],
    target_mean: Float[Array, "*state"],
    target_spread: Float[Array, "*state"],
) -> Float[Array, "member *state"]:
    """Shift members to a new mean and scale their anomalies point by point to a new spread.

    Arguments:
        ensemble: members with the given `mean` and `spread`.
        target_mean, target_spread: what they are to have.
    """
    positive = spread > 0
    factor = jnp.where(positive, target_spread / jnp.where(positive, spread, 1.0), 1.0)
    return target_mean[None] + factor[None] * (ensemble - mean[None])


class FieldFeatures(eqx.Module):
    """What the network is told about the place and the hour, and its normalisation.

    Attributes:
        scale: climatological standard deviation at each point, positive.
        static: fields that do not change (position, kind of surface), of order one.
    """

    scale: Float[Array, "y x"]
    static: Float[Array, "static y x"]

    def n_channels(self, window: int) -> int:
        """Number of input channels of the network for a window of so many rows."""
        return 6 + 3 * window + self.static.shape[0] + 4

    def channels(
        self,
        first_mean: Float[Array, "y x"],
        first_spread: Float[Array, "y x"],
        background_mean: Float[Array, "y x"],
        background_spread: Float[Array, "y x"],
        gridded: GriddedWindow,
        time: Int[Array, ""],
    ) -> Float[Array, "channel y x"]:
        """The input channels of the network.

        Arguments:
            first_mean, background_mean: of the first guess and of the cycled background, as
                anomalies from the climatology.
            first_spread, background_spread: their standard deviations.
            gridded: the window.
            time: minutes since `MINUTES_EPOCH`.
        """
        seen = (gridded.counts > 0).astype(first_mean.dtype)
        innovations = seen * (gridded.departures - background_mean[None]) / self.scale[None]
        residual = seen[-1] * (gridded.departures[-1] - first_mean)
        difference = background_mean - first_mean
        fields = [
            first_mean / self.scale,
            jnp.log(first_spread / self.scale + 1e-3),
            background_mean / self.scale,
            background_spread / self.scale,
            difference / (first_spread + 0.1 * self.scale),
            residual / (gridded.error_sd[-1] + 0.1 * self.scale),
        ]
        angle = (2 * jnp.pi / MINUTES_A_DAY) * (time % MINUTES_A_DAY).astype(first_mean.dtype)
        waves = jnp.stack([f(k * angle) for k in (1, 2) for f in (jnp.cos, jnp.sin)])
        hour = jnp.broadcast_to(waves[:, None, None], (4, *first_mean.shape))
        return jnp.concatenate(
            [
                jnp.stack(fields),
                innovations,
                seen,
                gridded.error_sd / self.scale[None],
                self.static,
                hour,
            ]
        )


class FieldStep(AbstractAnalysisStep):
    """A network corrects the mean and the spread of a space-time optimal interpolation.

    The interpolation of the window about the climatology is the first guess; the network sees
    it, the cycled background, the gridded innovations of every row, the observation error, the
    place and the hour, and gives a correction of the mean in units of the first guess's
    standard deviation and one of the logarithm of that standard deviation, both bounded and
    zero where no observation is in reach. The members are the first guess's posterior draws,
    recentred and rescaled. A network that gives zero leaves the first guess unchanged. Where the
    observations explain next to nothing of the climatological variance, because none is in reach
    or their errors are large, the cycled background knows more: there it is the analysis.

    Attributes:
        operator: observation operator H, linear.
        first_guess: the interpolation, with the same operator.
        features: fixed inputs and normalisation.
        network: two output channels.
    """

    operator: AbstractObservationOperator
    first_guess: WindowInterpolation
    features: FieldFeatures
    network: FieldNetwork

    def __check_init__(self):
        check_linear("FieldStep", self.operator)
        if self.operator.obs_size != self.first_guess.operator.obs_size:
            raise ValueError(
                f"FieldStep: the operator gives {self.operator.obs_size} observations, that of "
                f"the first guess {self.first_guess.operator.obs_size}; build both for one network."
            )

    def analyse(
        self,
        background: Float[Array, "member y x"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        first = self.first_guess.analyse(background, observations, key=key)
        time = observations.times[-1]
        climate = self.first_guess.climatology.mean_at(time)
        departures = self.first_guess.departures(observations)
        anomaly, spread = corrected_moments(
            self.network,
            self.features,
            first.mean - climate,
            first.spread,
            ensemble_mean(background) - climate,
            ensemble_spread(background),
            grid_window(self.operator, departures, observations, self.features.scale),
            time,
        )
        mean = climate + anomaly
        posterior = recentre_and_rescale(first.ensemble, first.mean, first.spread, mean, spread)
        share = jnp.minimum(explained_share(first.spread, self.features.scale) / LITTLE, 1.0)
        before, before_spread = ensemble_mean(background), ensemble_spread(background)
        mean = before + share * (mean - before)
        spread = before_spread + share * (spread - before_spread)
        mixed = background + share[None] * (posterior - background)
        ensemble = recentre_and_rescale(
            mixed, ensemble_mean(mixed), ensemble_spread(mixed), mean, spread
        )
        ensemble = jnp.where(share == 0, background, jnp.where(share == 1, posterior, ensemble))
        return Analysis(
            ensemble=ensemble,
            mean=mean,
            spread=spread,
            result=jnp.asarray(int(ResultCode.OK), jnp.int32),
            diagnostics=first.diagnostics,
        )


def explained_share(
    first_spread: Float[Array, "y x"], scale: Float[Array, "y x"]
) -> Float[Array, "y x"]:
    """Fraction of the climatological variance that the observations explain at each point."""
    return jnp.clip(1 - (first_spread / scale) ** 2, 0.0, 1.0)


def corrected_moments(
    network: FieldNetwork,
    features: FieldFeatures,
    first_mean: Float[Array, "y x"],
    first_spread: Float[Array, "y x"],
    background_mean: Float[Array, "y x"],
    background_spread: Float[Array, "y x"],
    gridded: GriddedWindow,
    time: Int[Array, ""],
) -> tuple[Float[Array, "y x"], Float[Array, "y x"]]:
    """Mean (as an anomaly) and standard deviation of the analysis, from those of a first guess.

    The correction of the mean is bounded by three standard deviations of the first guess, that
    of the standard deviation by a factor e, and both shrink with the fraction of the
    climatological variance that the observations explain at the point: where they say nothing,
    the first guess stays.
    See `FieldFeatures.channels` for the arguments.
    """
    shift, log_factor = network(
        features.channels(
            first_mean, first_spread, background_mean, background_spread, gridded, time
        )
    )
    explained = explained_share(first_spread, features.scale)
    shift = explained * MEAN_LIMIT * jnp.tanh(shift / MEAN_LIMIT)
    log_factor = explained * LOG_SPREAD_LIMIT * jnp.tanh(log_factor / LOG_SPREAD_LIMIT)
    return first_mean + first_spread * shift, first_spread * jnp.exp(log_factor)
