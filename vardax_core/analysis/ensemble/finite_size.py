"""The finite-size ensemble Kalman filter, which finds its own inflation."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.base import AbstractSupportedStep, Support, support_everywhere
from vardax_core.analysis.ensemble.transform import (
    Spectrum,
    check_members,
    combine,
    ensemble_analysis,
    mean_preserving_rotation,
    spectrum_of,
    transform_of,
    whitened_ensemble,
)
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.errors import AbstractErrorModel, DiagonalErrorModel
from vardax_core.types import Analysis, Observations

SEARCH_RANGE = (0.1, 100.0)
"""Limits within which the inflation factor is sought."""
PARTS = 32
"""Five bisections at a time, as small operations cost no less than somewhat larger ones; thirty in
all resolve the factor in single precision, forty to 1e-11 in double."""
_HALVES = tuple(PARTS >> level for level in range(1, PARTS.bit_length()))


def finite_size_inflation(spectrum: Spectrum, certainty: float) -> Float[Array, ""]:
    """The prior inflation factor l that makes the innovation most likely.

    Minimises sum_i u_i^2 / (M - 1 + l^2 s_i^2) + e / l^2 + c log l^2, in which s are the singular
    values of the whitened anomalies, u the innovation in their space, and e and c the hyperprior
    of an ensemble of M members. The derivative is bisected in log l.

    Arguments:
        spectrum: of the ensemble, with eigenvalues s_i^2 / (M - 1).
        certainty: factor on the weight of the hyperprior; 1 for a stochastic or strongly
            chaotic model, more for a nearly linear one.

    Source: Bocquet et al. (2015), doi:10.5194/npg-22-645-2015, section 3 and equation 36.
    """
    members, values = spectrum.members, spectrum.values
    # u_i s_i, without dividing by singular values that vanish.
    products = spectrum.projections()
    if spectrum.in_obs_space:
        products = products * jnp.sqrt(values)
    offset, slope = (members + 1) / members, members / (members - 1)
    left_out = members - values.shape[0]
    prior_weight = (jnp.sum(1 / (1 + values)) + left_out) / members
    correction = (offset / slope) ** (prior_weight / 2)
    pull, push = certainty * offset / correction, certainty * slope * correction

    def derivative(log_factor: Float[Array, ""]) -> Float[Array, ""]:
        """Half the derivative of the cost with respect to log l."""
        square = jnp.exp(2 * log_factor)
        misfit = square * jnp.sum((products / (1 + square * values)) ** 2) / (members - 1)
        return push - pull / square - misfit

    shares = jnp.arange(1, PARTS, dtype=values.dtype) / PARTS

    def body(_, bounds):
        low, width = bounds
        below = jax.vmap(derivative)(low + shares * width) < 0
        part = jnp.zeros((), jnp.int32)
        for step in _HALVES:
            part = jnp.where(below[part + step - 1], part + step, part)
        return low + part.astype(width.dtype) / PARTS * width, width / PARTS

    bounds = [jnp.asarray(jnp.log(x), values.dtype) for x in SEARCH_RANGE]
    searches = 6 if jnp.finfo(values.dtype).bits == 32 else 8
    low, width = jax.lax.fori_loop(0, searches, body, (bounds[0], bounds[1] - bounds[0]))
    return jnp.exp(low + width / 2)


class FiniteSizeETKF(AbstractSupportedStep):
    """An ETKF whose prior inflation follows from the innovation and the ensemble's size (EnKF-N).

    The sampling error of a small ensemble is integrated out under a hyperprior, which leaves one
    inflation factor to find in each analysis and none to tune.

    Attributes:
        operator: observation operator H.
        certainty: weight of the hyperprior, called xN in DAPPER.
        rotate: whether the anomalies are turned by a random mean-preserving rotation.
        errors: observation error model R.

    Source: Bocquet (2011), doi:10.5194/npg-18-735-2011; Bocquet et al. (2015),
    doi:10.5194/npg-22-645-2015
    """

    operator: AbstractObservationOperator
    certainty: float = eqx.field(static=True, default=1.0)
    rotate: bool = eqx.field(static=True, default=True)
    errors: AbstractErrorModel = DiagonalErrorModel()

    def __check_init__(self):
        if not self.certainty > 0:
            raise ValueError(f"FiniteSizeETKF: certainty must be positive, got {self.certainty}.")

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        check_members("FiniteSizeETKF", background)
        members = background.shape[0]
        spectrum = spectrum_of(
            whitened_ensemble(self.operator, self.errors, background, observations)
        )
        factor = finite_size_inflation(spectrum, self.certainty)
        transform = transform_of(spectrum, factor)
        matrix = transform.matrix
        if self.rotate and members > 2:
            matrix = mean_preserving_rotation(members, background.dtype, key=key) @ matrix
        weights = factor * (transform.mean_weights[None] + matrix)
        return ensemble_analysis(
            combine(background, weights),
            {
                "degrees_of_freedom_for_signal": transform.signal,
                "innovation_chi2": transform.chi2,
                "inflation": factor,
            },
            transform.resolved,
        )

    def support(
        self, background: Float[Array, "member *state"], observations: Observations
    ) -> Support:
        spectrum = spectrum_of(
            whitened_ensemble(self.operator, self.errors, background, observations)
        )
        factor = finite_size_inflation(spectrum, self.certainty)
        signal = transform_of(spectrum, factor).signal
        return support_everywhere(observations.mask[-1], background[0].size, factor, signal)
