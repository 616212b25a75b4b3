"""The iterative ensemble Kalman filter, for forecasts that are far from linear."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.ensemble.finite_size import finite_size_inflation
from vardax_core.analysis.ensemble.transform import (
    Transform,
    WhitenedEnsemble,
    check_members,
    combine,
    ensemble_analysis,
    mean_preserving_rotation,
    spectrum_of,
    transform_of,
    whitened_ensemble,
)
from vardax_core.analysis.origin import AbstractIterativeStep, Origin
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.errors import AbstractErrorModel, DiagonalErrorModel
from vardax_core.types import Analysis, Observations

LARGEST_COST = 4.0
"""Cost of an iterated analysis, over that of the filter without iteration as it sees itself, beyond
which the iteration is taken to have gone astray."""


class _Solution(eqx.Module):
    """A minimum in ensemble space, and the square root of the covariance there.

    Attributes:
        weights: of the anomalies in the mean.
        matrix: what the anomalies are multiplied by.
        contraction, inverse: the same for a linearization, and back.
        transform: of the inflated anomalies.
        factor: their inflation.
    """

    weights: Float[Array, " member"]
    matrix: Float[Array, "member member"]
    contraction: Float[Array, "member member"]
    inverse: Float[Array, "member member"]
    transform: Transform
    factor: Float[Array, ""]


class IterativeETKF(AbstractIterativeStep):
    """An ETKF of the analysis before, forecast again until the linearization holds (IEnKF).

    What is sought is the state of the last analysis time, given the observations of this one: the
    w for which x = mean + w A of the former members is most likely,

        J(w) = |R^-1/2 (y - H M(mean + w A))|^2 / 2 + (M - 1) |w|^2 / (2 l^2)

    and the covariance there. Each Gauss-Newton step takes the derivative of H M from an ensemble
    that was contracted by the last step's own square root and forecast; the prior inflation l is
    that of the finite-size filter, found anew in each step. The analysis is the forecast of the
    last ensemble. From far away the iteration may go astray: an analysis whose J is more than
    `LARGEST_COST` times what the finite-size ETKF of the background expects of itself is dropped
    for that one. Without an origin, and for a linear model, it is that filter.

    Attributes:
        operator: observation operator H.
        origin: set by the cycle.
        iterations: Gauss-Newton steps, each of which costs a forecast of the ensemble.
        certainty: see `FiniteSizeETKF`.
        rotate: whether the anomalies are turned by a random mean-preserving rotation.
        errors: observation error model R.

    Source: Sakov et al. (2012), doi:10.1175/MWR-D-11-00176.1; Bocquet and Sakov (2012),
    doi:10.5194/npg-19-383-2012
    """

    operator: AbstractObservationOperator
    origin: Origin | None = None
    iterations: int = eqx.field(static=True, default=3)
    certainty: float = eqx.field(static=True, default=1.0)
    rotate: bool = eqx.field(static=True, default=True)
    errors: AbstractErrorModel = DiagonalErrorModel()

    def __check_init__(self):
        if self.iterations < 1 or not self.certainty > 0:
            raise ValueError(
                f"IterativeETKF: iterations >= 1 and certainty > 0 are needed, got "
                f"{self.iterations} and {self.certainty}."
            )

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        check_members("IterativeETKF", background)
        members = background.shape[0]
        turn = jnp.eye(members, dtype=background.dtype)
        if self.rotate and members > 2:
            turn = mean_preserving_rotation(members, background.dtype, key=key)

        def observed(ensemble: Array) -> WhitenedEnsemble:
            return whitened_ensemble(self.operator, self.errors, ensemble, observations)

        first = self._solved(observed(background))
        plain = combine(background, first.weights[None] + turn @ first.matrix)
        if self.origin is None:
            return ensemble_analysis(
                plain,
                _diagnostics(first, jnp.zeros((), plain.dtype)),
                first.transform.resolved,
            )
        origin = self.origin

        def again(_, found: _Solution) -> _Solution:
            ensemble, _ = origin.forecast(
                combine(origin.ensemble, found.weights[None] + found.contraction)
            )
            seen = observed(ensemble)
            slope = found.inverse @ seen.anomalies
            return self._solved(WhitenedEnsemble(slope, seen.innovation + found.weights @ slope))

        last = jax.lax.fori_loop(1, self.iterations, again, first)
        iterated, _ = origin.forecast(
            combine(origin.ensemble, last.weights[None] + turn @ last.matrix)
        )
        expected = first.transform.chi2
        prior = (members - 1) * jnp.sum((last.weights / first.factor) ** 2)
        reached = jnp.sum(observed(iterated).innovation ** 2) + prior
        good = reached <= LARGEST_COST * expected
        return ensemble_analysis(
            jnp.where(good, iterated, plain),
            _diagnostics(
                jax.tree.map(lambda a, b: jnp.where(good, a, b), last, first),
                good.astype(plain.dtype),
            ),
            jnp.where(good, last.transform.resolved, first.transform.resolved),
        )

    def _solved(self, whitened: WhitenedEnsemble) -> _Solution:
        """The minimum for a derivative and an innovation at w = 0, in units of R^1/2."""
        spectrum = spectrum_of(whitened)
        factor = finite_size_inflation(spectrum, self.certainty)
        transform = transform_of(spectrum, factor)
        return _Solution(
            weights=factor * transform.mean_weights,
            matrix=factor * transform.matrix,
            contraction=factor * transform.contraction,
            inverse=transform.inverse / factor,
            transform=transform,
            factor=factor,
        )


def _diagnostics(solution: _Solution, iterated: Float[Array, ""]) -> dict[str, Array]:
    return {
        "degrees_of_freedom_for_signal": solution.transform.signal,
        "innovation_chi2": solution.transform.chi2,
        "inflation": solution.factor,
        "iterated": iterated,
    }
