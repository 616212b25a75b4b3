"""Optimal interpolation in space and time about a climatology."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.variational.covariance import principal_axes, resolved_variance
from vardax_core.models.climatology import Climatology
from vardax_core.observations.base import AbstractObservationOperator, check_linear
from vardax_core.types import Analysis, Observations, ResultCode, ensemble_mean


class WindowGain(eqx.Module):
    """The linear map from a window's departures to an analysis, and its error covariance.

    Attributes:
        cross: covariance of each departure with the state; zero for an unused one.
        total: covariance of the departures, observation error included.
        factor: its lower Cholesky factor.
        used: departures that count.
    """

    cross: Float[Array, "departure n"]
    total: Float[Array, "departure departure"]
    factor: Float[Array, "departure departure"]
    used: Bool[Array, " departure"]

    def increment(self, departures: Float[Array, "window obs"]) -> Float[Array, " n"]:
        """The analysis increment on the flattened state."""
        return self.weights(departures) @ self.cross

    def weights(self, departures: Float[Array, "window obs"]) -> Float[Array, " departure"]:
        """The departures divided by their covariance."""
        flat = jnp.where(self.used, departures.reshape(-1), 0.0)
        return jax.scipy.linalg.cho_solve((self.factor, True), flat)

    def whitened(self) -> Float[Array, "departure n"]:
        """V with analysis error covariance B(0) - V'V."""
        return jax.scipy.linalg.solve_triangular(self.factor, self.cross, lower=True)

    def spread(self, variance: Float[Array, " n"]) -> Float[Array, " n"]:
        """Analysis standard deviation of each point; positive where the point varies at all.

        Arguments:
            variance: the diagonal of B(0).
        """
        rest = variance - jnp.sum(self.whitened() ** 2, axis=0)
        # Below this share of the variance the difference is nothing but rounding.
        return jnp.sqrt(jnp.maximum(rest, jnp.finfo(variance.dtype).eps * variance))


def window_gain(
    operator: AbstractObservationOperator,
    covariances: Float[Array, "lag n n"],
    lag_interval: int,
    mask: Bool[Array, "window obs"],
    error_sd: Float[Array, "window obs"],
    times: Int[Array, " window"],
) -> WindowGain:
    """The gain of a network of observations; it does not depend on the observed values.

    Arguments:
        operator: linear observation operator H.
        covariances: B(l)[i, j], of point i with point j `l` steps earlier.
        lag_interval: minutes between two lags.
        mask, error_sd, times: as in `Observations`.
    """
    age = times[-1] - times
    steps = age // lag_interval
    known = (age % lag_interval == 0) & (steps >= 0) & (steps < covariances.shape[0])
    used = (mask & known[:, None]).reshape(-1)
    steps = jnp.where(known, steps, 0)
    origin = jnp.zeros(operator.state_shape, covariances.dtype)

    def observe(rows: Float[Array, "rows n"]) -> Float[Array, "rows obs"]:
        states = rows.reshape(-1, *operator.state_shape)
        return jax.vmap(lambda row: operator.tangent(origin, row))(states)

    cross = jax.vmap(observe)(covariances).transpose(0, 2, 1)
    between = jax.vmap(observe)(cross)  # (lag, earlier, later)
    apart = steps[None, :] - steps[:, None]
    blocks = between[jnp.abs(apart)]
    later_first = (apart >= 0)[:, :, None, None]
    blocks = jnp.where(later_first, blocks.transpose(0, 1, 3, 2), blocks)
    size = used.shape[0]
    departures = blocks.transpose(0, 2, 1, 3).reshape(size, size)
    both = used[:, None] & used[None, :]
    # A missing observation becomes one that is tied to nothing.
    departures = jnp.where(both, departures, 0.0)
    variance = resolved_variance(error_sd.reshape(-1) ** 2, departures)
    diagonal = jnp.where(used, variance, jnp.max(jnp.diagonal(covariances[0])))
    total = departures + jnp.diag(diagonal)
    return WindowGain(
        cross=jnp.where(used[:, None], cross[steps].reshape(size, -1), 0.0),
        total=total,
        factor=jnp.linalg.cholesky(total),
        used=used,
    )


class WindowInterpolation(AbstractAnalysisStep):
    """Optimal interpolation of all rows of a window about the climatology.

    The background is the climatological mean at each row's time, whatever the ensemble is, and
    the covariances between rows are tables of the lag: xa = c + G S^-1 d with d = y - H c,
    G = [B(l) H'] and S = [H B(l_a, l_b) H'] + R. Members are draws from N(xa, B(0) - G S^-1 G'),
    recentred on xa. A row whose lag is not in the tables is not used.

    Attributes:
        operator: observation operator H, linear.
        climatology: mean for each slot of the day.
        covariances: B(l)[i, j], the covariance of point i with point j `l` steps earlier.
        root: L with B(0) = L L' and orthogonal columns.
        inverse_root: L (L' L)^-1, so that inverse_root' x is the control vector of x.
        lag_interval: minutes between two lags.

    Raises:
        NonlinearOperatorError: if H is not linear.

    Source: Gandin (1963); Daley (1991), Atmospheric Data Analysis, chapters 4 and 12.
    """

    operator: AbstractObservationOperator
    climatology: Climatology
    covariances: Float[Array, "lag n n"]
    root: Float[Array, "n rank"]
    inverse_root: Float[Array, "n rank"]
    lag_interval: int = eqx.field(static=True)

    @classmethod
    def from_covariances(
        cls,
        operator: AbstractObservationOperator,
        climatology: Climatology,
        covariances: Float[Array, "lag n n"],
        lag_interval: int,
    ) -> "WindowInterpolation":
        """Factorise B(0), see `principal_axes`."""
        vectors, deviation = principal_axes(covariances[0])
        return cls(
            operator=operator,
            climatology=climatology,
            covariances=covariances,
            root=jnp.asarray(vectors * deviation, covariances.dtype),
            inverse_root=jnp.asarray(vectors / deviation, covariances.dtype),
            lag_interval=lag_interval,
        )

    def __check_init__(self):
        check_linear("WindowInterpolation", self.operator)
        size = math.prod(self.operator.state_shape)
        if self.covariances.shape[-1] != size or self.climatology.state_shape != (
            self.operator.state_shape
        ):
            raise ValueError(
                f"WindowInterpolation: H acts on states of shape {self.operator.state_shape}, "
                f"the climatology on {self.climatology.state_shape} and the covariances on "
                f"{self.covariances.shape[-1]} points; build all three for one grid."
            )

    def departures(self, observations: Observations) -> Float[Array, "window obs"]:
        """Observed minus climatological values; zero where missing."""
        expected = jax.vmap(lambda t: self.operator(self.climatology.mean_at(t)))
        difference = observations.values - expected(observations.times)
        return jnp.where(observations.mask, difference, 0.0)

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        shape = self.operator.state_shape
        gain = window_gain(
            self.operator,
            self.covariances,
            self.lag_interval,
            observations.mask,
            observations.error_sd,
            observations.times,
        )
        departures = self.departures(observations)
        climate = self.climatology.mean_at(observations.times[-1])
        mean = climate + gain.increment(departures).reshape(shape)
        members = background.shape[0]
        draws = self._draws(gain, members, key).reshape(members, *shape)
        if members > 1:
            draws = (draws - ensemble_mean(draws)[None]) * (members / (members - 1)) ** 0.5
        flat = jnp.where(gain.used, departures.reshape(-1), 0.0)
        return Analysis(
            ensemble=mean[None] + draws,
            mean=mean,
            spread=gain.spread(jnp.diagonal(self.covariances[0])).reshape(shape),
            result=jnp.asarray(int(ResultCode.OK), jnp.int32),
            diagnostics={"innovation_chi2": flat @ gain.weights(departures)},
        )

    def _draws(self, gain: WindowGain, members: int, key: PRNGKeyArray) -> Float[Array, "member n"]:
        """Draws from the analysis error: a prior draw minus the analysis of its departures.

        The departures of the whole window are drawn given the state at the analysis time, which
        alone has a square root.
        """
        state_key, error_key = jax.random.split(key)
        control = jax.random.normal(state_key, (members, self.root.shape[1]), self.root.dtype)
        states = control @ self.root.T
        expected = gain.cross @ self.inverse_root
        rest = gain.total - expected @ expected.T
        # Rounding may leave eigenvalues as negative as this where the error is tiny.
        jitter = 100 * jnp.finfo(rest.dtype).eps * jnp.diagonal(gain.total)
        rest_root = jnp.linalg.cholesky(rest + jnp.diag(jitter))
        noise = jax.random.normal(error_key, (members, rest.shape[0]), rest.dtype)
        departures = control @ expected.T + noise @ rest_root.T
        shape = (-1, self.operator.obs_size)
        increments = jax.vmap(lambda d: gain.increment(d.reshape(shape)))(departures)
        return states - increments
