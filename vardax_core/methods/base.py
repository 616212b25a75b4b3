"""What every analysis method is: its settings, what it needs, how it learns and is built."""

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Int
from pydantic import BaseModel, ConfigDict, Field, model_serializer

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.cycling.adaptation import SpreadAdaptation
from vardax_core.cycling.guard import Guard
from vardax_core.data.recipe import Recipe
from vardax_core.methods.forecast_prior import ForecastPrior
from vardax_core.methods.priors import AbstractPrior, Learned, Progress
from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.climatology import Climatology
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.state.grids import AbstractGrid
from vardax_core.training.observing import AbstractObservingSystem
from vardax_core.training.registry import Factories


class TrainingSettings(BaseModel):
    """How a method that learns is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(3600, ge=1, description="Gradient steps.")
    seed: int = Field(0, ge=0, description="Seed of weights, simulations and noise.")


@dataclasses.dataclass(frozen=True)
class Problem:
    """What a method is built for.

    Attributes:
        recipe: where the observations come from, with their errors.
        prior: what may be learned from.
        operator: observation operator H of the network.
        observing: the same network and its errors, as training observes.
        grid: of a state, or of each of its channels.
        stations: flat index in the state of each observation; None where observations bring their
            places.
        members: ensemble size.
    """

    recipe: Recipe
    prior: AbstractPrior
    operator: AbstractObservationOperator
    observing: AbstractObservingSystem
    grid: AbstractGrid
    stations: Int[np.ndarray, " obs"] | None
    members: int


class Trained(NamedTuple):
    """What a method learned, from the registry.

    Attributes:
        module: what `learn` gave.
        metadata: what it recorded beside it.
        gates: what the gates recorded; nothing if they never ran.
    """

    module: eqx.Module
    metadata: Mapping[str, Any]
    gates: Mapping[str, str]


class Assembly(NamedTuple):
    """What a method puts into the cycle.

    Attributes:
        forecast: what makes the background.
        step: what makes the analysis.
        climatology: where the first ensemble is drawn from.
        varying: the points of which something is known, and that are scored.
        adaptation: of the spread, from past innovations, or None.
        guard: when the step is not trusted and what then steps in, or None.
        own_forecast: whether the method brings the forecast, which then nothing else makes.
    """

    forecast: AbstractForecastModel
    step: AbstractAnalysisStep
    climatology: Climatology
    varying: Bool[np.ndarray, "*state"]
    adaptation: SpreadAdaptation | None = None
    guard: Guard | None = None
    own_forecast: bool = True

    @classmethod
    def of(
        cls,
        prior: AbstractPrior,
        step: AbstractAnalysisStep,
        forecast: AbstractForecastModel | None = None,
    ) -> "Assembly":
        """The step on the prior's own climatology and, by default, its forecast model.

        Raises:
            UnknownPriorError: if the prior has no forecast model and needs one.
        """
        model = prior.model if forecast is None else forecast
        own = forecast is not None
        return cls(model, step, prior.climatology, prior.varying, own_forecast=own)


class AbstractMethod(BaseModel):
    """One analysis method with its settings, which are the fields of a final subclass.

    Every setting has a default and a description; command line, forms and recipes are made from
    them. Those that have their default are left out of a digest, so that a later setting changes
    no store; a default, once released, does not change.

    Class attributes:
        name: by which commands, forms and recipes choose the method.
        title: one line for people.
        source: of the method.
        place: in tables, from low to high skill.
        learns: whether it is an `AbstractLearningMethod`.
        needs_covariance: whether it needs the covariances of all points with one another.
        half_precision: whether it has a network that may compute in bfloat16.
        forecasts_again: whether an analysis makes forecasts of its own.
        channels: whether it takes states of several channels on a grid.
        rival: method that the gates set beside it where no truth can be simulated.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    place: ClassVar[int] = 100
    learns: ClassVar[bool] = False
    needs_covariance: ClassVar[bool] = False
    half_precision: ClassVar[bool] = False
    forecasts_again: ClassVar[bool] = False
    channels: ClassVar[bool] = False
    rival: ClassVar[str] = "oi"

    def lack_with(self, prior: AbstractPrior) -> str | None:
        """Say in one sentence why the method cannot serve a recipe; None if it can.

        Arguments:
            prior: what the recipe gives to learn from.
        """
        if prior.recipe.channels and not self.channels:
            return (
                f"it takes states of one variable so far, and these hold "
                f"{len(prior.recipe.channels)}: {', '.join(prior.recipe.channels)}"
            )
        if self.needs_points(prior) and (kinds := prior.recipe.unlike_points):
            return (
                f"it takes values at points, and those of this recipe are of the kind "
                f"{', '.join(kinds)}; take an ensemble or variational method"
            )
        if self.needs_covariance and not prior.dense:
            return (
                "it needs the covariances of all points with one another, which are not held where "
                "observations are real or forecasts come from files; take a local method: "
                "interpolation or letkf"
            )
        if self.learns and isinstance(prior, ForecastPrior):
            return (
                "it learns from a model that simulates or from fields of a training period, and "
                "the recipe has forecasts from files alone; give it a training period"
            )
        if self.forecasts_again and prior.recipe.forecast is not None:
            return (
                "its analyses make forecasts again, which a command, a function or files of the "
                "recipe do not do; take a method that needs the members alone: etkf or letkf"
            )
        return self.lacks(prior)

    def lacks(self, prior: AbstractPrior) -> str | None:
        """Say in one sentence what a recipe lacks for the method; None if nothing.

        Arguments:
            prior: what the recipe gives to learn from.
        """
        return None

    def needs_points(self, prior: AbstractPrior) -> bool:
        """Whether it takes every observation for the value at a point, whatever the operator."""
        return False

    def usual(self, prior: AbstractPrior, points: int | None = None) -> bool:
        """Whether a run that names no methods has this one.

        Arguments:
            points: of the grid; None where that is not known yet.
        """
        return False

    def carries_members(self, prior: AbstractPrior) -> bool:
        """Whether the members of one cycle are forecasts of those of the cycle before."""
        return False

    def uses_background(self, prior: AbstractPrior) -> bool:
        """Whether the analysis is made of the background, as O-B and O-A suppose that are set
        beside each other."""
        return True

    def fallbacks(self, prior: AbstractPrior) -> tuple[str, ...]:
        """Name what may step in for an analysis that is not trusted."""
        return ()

    def reference(self, step: AbstractAnalysisStep) -> AbstractAnalysisStep | None:
        """Give the analysis whose response the gates compare that of the method with, if any.

        Arguments:
            step: the trained analysis.
        """
        return None

    def revision(self, prior: AbstractPrior) -> int:
        """Number of the meaning of what is learned from a prior; raised when a change of code
        changes it, so that weights of before are trained again."""
        return 0

    def usual_steps(self, prior: AbstractPrior) -> int:
        """Gradient steps of a training that names no number."""
        return TrainingSettings().steps

    def candidates(self, grid: AbstractGrid | None) -> tuple[dict[str, float], ...]:
        """Settings among which trial cycles choose; none if there is nothing to tune.

        Arguments:
            grid: of a state; None to count them only.
        """
        return ()

    def prior_part(self, module: eqx.Module) -> eqx.Module | None:
        """Give what the prior needs to know, among what was learned; None if it needs nothing.

        Arguments:
            module: that `learn` gave, of the method or, where it does not learn, of the prior.
        """
        return None if self.learns else module

    def learned_as(self, prior: AbstractPrior) -> tuple[str, ...]:
        """Names of what the method may be built from, that which is learned of a small grid first;
        none if nothing need be learned."""
        if self.learns:
            return (self.name,)
        local = None if self.needs_covariance else prior.learned_locally_as
        return tuple(name for name in (prior.learned_as, local) if name is not None)

    def learns_locally(self, prior: AbstractPrior, points: int) -> bool:
        """Whether it does without a covariance of all points on a grid of so many."""
        names = self.learned_as(prior)
        return names[-1:] == (prior.learned_locally_as,) and (
            len(names) == 1 or prior.is_local(points)
        )

    def memory(self, prior: AbstractPrior, points: int) -> float:
        """Bytes at the worst moment of learning about a grid of so many points, about."""
        local = self.learns_locally(prior, points)
        return prior.local_memory(points) if local else prior.memory(points)

    @abstractmethod
    def build(self, problem: Problem, trained: Trained | None) -> Assembly:
        """Assemble the method for a network.

        Arguments:
            problem: the network and the prior.
            trained: what `learn` gave, loaded again; None for a method that does not learn.

        Raises:
            ValueError: if the settings do not fit the problem.
        """

    @property
    def factories(self) -> Factories:
        """What a registry builds the modules from that `learn` gave."""
        return {}

    @property
    def chosen(self) -> dict[str, Any]:
        """The settings that are not the usual ones."""
        return self.model_dump(mode="json")

    @model_serializer(mode="wrap")
    def _without_defaults(self, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        fields = type(self).model_fields
        return {k: v for k, v in write(self).items() if getattr(self, k) != fields[k].default}


class AbstractLearningMethod(AbstractMethod):
    """A method with weights of its own, which gates must pass before they work."""

    learns: ClassVar[bool] = True

    @abstractmethod
    def learn(self, problem: Problem, training: TrainingSettings, progress: Progress) -> Learned:
        """Train the weights.

        Arguments:
            problem: with all that may be learned from.
            training: how long, and its seed.
            progress: called while training.

        Raises:
            ValueError: if nothing can be learned.
        """


FALLBACK = "fallback"
"""The key under which a gate report names what steps in for an analysis that is not trusted."""
