"""Proper scores of an analysis ensemble that a training may lower, each a small object."""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.ring_network import ring_neighbours
from vardax_core.calibration.statistics import fair_crps
from vardax_core.types import ensemble_mean, ensemble_spread

SPREAD_FLOOR = 3e-4
"""Climatological standard deviations that are added to a spread, so that a collapsed ensemble has a
score."""


class AbstractEnsembleScore(eqx.Module):
    """A negatively oriented score of an ensemble on a ring; lower is better."""

    @abstractmethod
    def __call__(
        self, ensemble: Float[Array, "member n"], truth: Float[Array, " n"], *, key: PRNGKeyArray
    ) -> Float[Array, ""]:
        """The mean over the points.

        Arguments:
            ensemble: the analysis members.
            truth: what they are to be like.
            key: for scores that look at random directions.
        """


class GaussianScore(AbstractEnsembleScore):
    """Negative log-density of the Gaussian with the ensemble's mean and spread at every point.

    Attributes:
        floor: added to every spread, unit of the state.
    """

    floor: float = eqx.field(static=True)

    def __check_init__(self):
        _positive("GaussianScore", "floor", self.floor)

    def __call__(
        self, ensemble: Float[Array, "member n"], truth: Float[Array, " n"], *, key: PRNGKeyArray
    ) -> Float[Array, ""]:
        return gaussian_score(
            ensemble_mean(ensemble), ensemble_spread(ensemble) + self.floor, truth
        )


class ProjectedGaussianScore(AbstractEnsembleScore):
    """The Gaussian score of random local projections, which feels the members' correlations.

    The projections are unit vectors over the points in reach, drawn anew each time.

    Attributes:
        floor: added to every spread, unit of the state.
        reach: points to each side.
    """

    floor: float = eqx.field(static=True)
    reach: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        _positive("ProjectedGaussianScore", "floor", self.floor)

    def __call__(
        self, ensemble: Float[Array, "member n"], truth: Float[Array, " n"], *, key: PRNGKeyArray
    ) -> Float[Array, ""]:
        weights = jax.random.normal(key, (truth.shape[0], 2 * self.reach + 1), truth.dtype)
        weights = weights / jnp.linalg.norm(weights, axis=1, keepdims=True)

        def project(x: Float[Array, " n"]) -> Float[Array, " n"]:
            return jnp.sum(weights * ring_neighbours(x, self.reach), axis=1)

        return GaussianScore(self.floor)(jax.vmap(project)(ensemble), project(truth), key=key)


class CRPS(AbstractEnsembleScore):
    """Fair continuous ranked probability score at every point, in units of `scale`.

    Attributes:
        scale: unit of the state that counts as one.

    Source: Ferro (2014), doi:10.1002/qj.2270
    """

    scale: float = eqx.field(static=True)

    def __check_init__(self):
        _positive("CRPS", "scale", self.scale)

    def __call__(
        self, ensemble: Float[Array, "member n"], truth: Float[Array, " n"], *, key: PRNGKeyArray
    ) -> Float[Array, ""]:
        return jnp.mean(fair_crps(truth, ensemble)) / self.scale


class LocalEnergyScore(AbstractEnsembleScore):
    """Fair energy score of the states around every point, in units of `scale`.

    It is the CRPS of vectors, here of the points in reach, and needs no Gaussian to feel how they
    belong together.

    Attributes:
        scale: unit of the state that counts as one.
        reach: points to each side.

    Source: Gneiting and Raftery (2007), doi:10.1198/016214506000001437, equation 22; fair as in
        Ferro (2014), doi:10.1002/qj.2270
    """

    scale: float = eqx.field(static=True)
    reach: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        _positive("LocalEnergyScore", "scale", self.scale)

    def __call__(
        self, ensemble: Float[Array, "member n"], truth: Float[Array, " n"], *, key: PRNGKeyArray
    ) -> Float[Array, ""]:
        members = ensemble.shape[0]
        errors = jax.vmap(lambda x: ring_neighbours(x - truth, self.reach))(ensemble)
        near = jnp.mean(_lengths(errors), axis=0)
        apart = jax.lax.map(lambda one: jnp.sum(_lengths(errors - one[None]), axis=0), errors)
        pairs = jnp.sum(apart, axis=0) / (2 * members * (members - 1))
        return jnp.mean(near - pairs) / self.scale


class SumOfScores(AbstractEnsembleScore):
    """A weighted sum of scores, which is as proper as they are.

    Attributes:
        scores: its parts.
        weights: of each; all one if there are none.
    """

    scores: tuple[AbstractEnsembleScore, ...]
    weights: tuple[float, ...] = eqx.field(static=True, default=())

    def __check_init__(self):
        if self.weights and len(self.weights) != len(self.scores):
            raise ValueError(
                f"SumOfScores: expected one weight for each of {len(self.scores)} scores, got "
                f"{len(self.weights)}."
            )

    def __call__(
        self, ensemble: Float[Array, "member n"], truth: Float[Array, " n"], *, key: PRNGKeyArray
    ) -> Float[Array, ""]:
        parts = jnp.stack([score(ensemble, truth, key=key) for score in self.scores])
        if not self.weights:
            return jnp.sum(parts)
        return jnp.sum(jnp.asarray(self.weights, parts.dtype) * parts)


def local_gaussian(scale: float) -> SumOfScores:
    """The Gaussian score of every point, and of random projections of five neighbours.

    Arguments:
        scale: standard deviation of the climate, unit of the state.
    """
    floor = SPREAD_FLOOR * scale
    return SumOfScores((GaussianScore(floor), ProjectedGaussianScore(floor)))


def gaussian_score(
    mean: Float[Array, "*event"], sd: Float[Array, "*event"], truth: Float[Array, "*event"]
) -> Float[Array, ""]:
    """Mean negative log-density of N(mean, sd^2) at the truth, without the constant."""
    return jnp.mean(jnp.log(sd) + 0.5 * ((truth - mean) / sd) ** 2)


def _lengths(vectors: Float[Array, "*rest tap"]) -> Float[Array, "*rest"]:
    """Euclidean lengths whose gradient is zero, and not undefined, where they are zero."""
    squares = jnp.sum(vectors**2, axis=-1)
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1.0)), 0.0)


def _positive(score: str, name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(
            f"{score}: {name} must be > 0, got {value}; give a typical spread as a scale, and a "
            "small part of it as a floor."
        )
