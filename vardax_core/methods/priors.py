"""What a recipe gives a method to learn from: a model that simulates, or fields of the past."""

import abc
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from vardax_core.cycling.biases import BiasCorrection
from vardax_core.data.recipe import Recipe
from vardax_core.data.timeaxis import duration_to_minutes
from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.climatology import Climatology
from vardax_core.models.settings import AbstractModelSettings
from vardax_core.observations.placement import ReportedErrors
from vardax_core.training.registry import Factories
from vardax_core.training.twin_cycles import climate_range

Progress = Callable[[int, int, dict[str, float]], None]
"""Called with what is done, what there is in all, and figures to show."""


class UnknownPriorError(ValueError):
    """Something is asked of a prior that it cannot know."""


class Learned(NamedTuple):
    """What learning leaves for the registry.

    Attributes:
        module: with the weights, or other numbers.
        factory: the key of the function that builds a module like it.
        hyperparameters: what that function is called with.
        metadata: what is kept beside it: losses, what was wanting in the data.
    """

    module: eqx.Module
    factory: str
    hyperparameters: dict[str, Any]
    metadata: dict[str, Any]


class AbstractPrior(abc.ABC):
    """What a method may learn from, and what is known of the states before any observation.

    Attributes:
        recipe: that it belongs to.

    Class attributes:
        simulates: whether truths can be drawn.
        reported: whether it is of real observations, which bring their places.
        dense: whether the covariances of all points with one another are held.
        learned_as: name of what is learned for every method and kept in the registry; None if
            nothing need be.
        learned_locally_as: name of what is learned instead where no covariance of all points is
            held; None if that is no choice.
        factories: what a registry builds both from.
    """

    recipe: Recipe
    simulates: ClassVar[bool]
    reported: ClassVar[bool] = False
    dense: ClassVar[bool] = True
    learned_as: ClassVar[str | None] = None
    learned_locally_as: ClassVar[str | None] = None
    factories: ClassVar[Factories] = {}

    @property
    @abc.abstractmethod
    def ring(self) -> bool:
        """Whether the points of a state are a ring of equals."""

    @property
    @abc.abstractmethod
    def local(self) -> bool:
        """Whether points near each other are alike, so that an analysis may be local."""

    @property
    @abc.abstractmethod
    def model(self) -> AbstractForecastModel:
        """What makes forecasts.

        Raises:
            UnknownPriorError: if there is no such model.
        """

    @property
    @abc.abstractmethod
    def climatology(self) -> Climatology:
        """Mean and covariance of the states."""

    @property
    @abc.abstractmethod
    def covariance(self) -> Float[Array, "n n"]:
        """Covariance of the anomalies, with what distance leaves of it."""

    @property
    @abc.abstractmethod
    def varying(self) -> Bool[np.ndarray, "*state"]:
        """The points of which something is known."""

    @property
    def possible_range(self) -> tuple[float, float]:
        """Smallest and largest possible value, beside what the variable says."""
        return -math.inf, math.inf

    @property
    def rough_climate(self) -> tuple[float, float]:
        """Rough mean and standard deviation of all values, rounded."""
        variance = jnp.mean(jnp.sum(self.climatology.square_root**2, axis=-1))
        centre = float(jnp.mean(self.climatology.mean))
        return round(centre, 2), round(float(jnp.sqrt(variance)), 2)

    @property
    def reported_errors(self) -> ReportedErrors | None:
        """What was found of the errors of real observations, or None."""
        return None

    def bias_correction(self, platforms: Sequence[str]) -> BiasCorrection | None:
        """What takes the biases of real observations off, or None.

        Arguments:
            platforms: of the store, by number.
        """
        return None

    def memory(self, points: int) -> float:
        """Bytes at the worst moment of learning about a grid of so many points, about."""
        return 0.0

    def is_local(self, points: int) -> bool:
        """Whether what is learned of a grid of so many points holds no covariance of all of them,
        for a method that can do without."""
        return False

    def local_memory(self, points: int) -> float:
        """Bytes at the worst moment of learning without such a covariance, about."""
        return self.memory(points)

    def learn_locally(self, progress: Progress) -> Learned:
        """Learn what a method needs to know that takes no covariance of all points.

        Raises:
            UnknownPriorError: if that is no choice.
        """
        return self.learn(progress)

    def learn(self, progress: Progress) -> Learned:
        """Learn what every method needs to know of the states.

        Raises:
            UnknownPriorError: if nothing need be learned.
        """
        raise UnknownPriorError(f"{self.recipe.name}: nothing need be learned from simulations.")

    def knowing(self, learned: eqx.Module) -> "AbstractPrior":
        """The same with what `learn` gave."""
        return self


def nothing_learned(recipe: Recipe) -> UnknownPriorError:
    """The error of a prior that is asked before it has learned from observations."""
    return UnknownPriorError(
        f"{recipe.name}: nothing was learned from the observations yet; train first: vardax train, "
        "with the same options."
    )


def no_dense_covariance(recipe: Recipe) -> UnknownPriorError:
    """The error of a prior of real observations that is asked for all covariances."""
    return UnknownPriorError(
        f"{recipe.name}: the covariances of all points with one another are not held where "
        "observations are real or the grid is large; choose a local method: amortized, "
        "interpolation or letkf."
    )


class SimulationPrior(AbstractPrior):
    """A model whose free run shows what states there are; learning needs no data.

    Attributes:
        recipe: with the model.
    """

    simulates: ClassVar[bool] = True

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self._settings: AbstractModelSettings = recipe.source.forecast_settings  # type: ignore[union-attr]
        self._minutes = duration_to_minutes(recipe.source.step_interval)  # type: ignore[union-attr]

    @property
    def ring(self) -> bool:
        return self._settings.ring

    @property
    def local(self) -> bool:
        return self._settings.ring or self._settings.layered

    @functools.cached_property
    def model(self) -> AbstractForecastModel:
        return self._settings.build(self._minutes)

    @functools.cached_property
    def climatology(self) -> Climatology:
        return free_run_climatology(self._settings, self._minutes)

    @functools.cached_property
    def covariance(self) -> Float[Array, "n n"]:
        root = self.climatology.square_root.reshape(-1, self.climatology.square_root.shape[-1])
        return root @ root.T

    @property
    def varying(self) -> Bool[np.ndarray, "*state"]:
        return np.ones(self.model.state_shape, bool)

    @property
    def possible_range(self) -> tuple[float, float]:
        if self._settings.layered:
            return super().possible_range
        return climate_range(*self.rough_climate)

    @property
    def settings(self) -> AbstractModelSettings:
        """Of the model that makes the forecasts."""
        return self._settings


@functools.lru_cache(maxsize=16)
def free_run_climatology(settings: AbstractModelSettings, interval: int) -> Climatology:
    """Find mean and covariance of a long free run of a model.

    The run has its own fixed seed and never meets a nature run.

    Arguments:
        settings: of the model.
        interval: minutes of valid time that one of its steps stands for.

    Raises:
        ValueError: if the run is not finite.
    """
    model = settings.build(interval)
    key = jax.random.key(96)
    steps, spin_up = settings.free_run
    start = settings.start("float32", key=key)
    states = jax.jit(lambda x: model.trajectory(x, jnp.zeros((), jnp.int32), steps, key=key))(start)
    run = np.asarray(states[spin_up:], np.float64).reshape(-1, math.prod(model.state_shape))
    if not np.isfinite(run).all():
        raise ValueError(
            f"The free run of the model {settings.name} is not finite; shorten its step_size."
        )
    root = _square_root(np.cov(run.T)).reshape(*model.state_shape, -1)
    run = run.reshape(-1, *model.state_shape)
    return Climatology(
        mean=jnp.asarray(run.mean(axis=0)[None], jnp.float32),
        square_root=jnp.asarray(root, jnp.float32),
        interval=model.interval,
        state_shape=model.state_shape,
    )


def _square_root(covariance: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n rank"]:
    """Take a square root of a covariance, of low rank where some direction never varies."""
    values, vectors = np.linalg.eigh(covariance)
    varies = values > values[-1] * len(values) * np.finfo(np.float32).eps
    if varies.all():
        return np.linalg.cholesky(covariance)
    return vectors[:, varies] * np.sqrt(values[varies])
