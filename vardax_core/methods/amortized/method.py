"""The amortized analysis: a network that was trained once maps a window to an analysis."""

from typing import ClassVar

import equinox as eqx
from pydantic import Field

from vardax_core.analysis.amortized.local_transform import LocalTransformStep
from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
from vardax_core.methods.amortized import fields, grids, local_fields, records, transform
from vardax_core.methods.amortized.first_guess import Kind
from vardax_core.methods.base import (
    AbstractLearningMethod,
    Assembly,
    Problem,
    Trained,
    TrainingSettings,
)
from vardax_core.methods.fields_prior import FieldsPrior
from vardax_core.methods.priors import AbstractPrior, Learned, Progress
from vardax_core.methods.reported_prior import ReportedPrior
from vardax_core.training.registry import Factories


class AmortizedMethod(AbstractLearningMethod):
    """Where a model simulates, a network transforms the ensemble locally, trained in its own cycle:
    on a ring it gives the gains, on other grids what a local transform with a climatological
    covariance leaves to choose. Where fields of the past are known, one corrects an interpolation
    in space and time, a local one if the grid is large; where observations are real, one corrects
    their local interpolation.

    The radius is of the transform on grids, the spacing of what corrects a local interpolation;
    all other settings are of the transform on a ring.
    """

    name: ClassVar[str] = "amortized"
    title: ClassVar[str] = "a network that was trained once, checked by gates"
    source: ClassVar[str] = "vardax"
    place: ClassVar[int] = 90
    half_precision: ClassVar[bool] = True
    channels: ClassVar[bool] = True

    first_guess: Kind = Field(
        "best",
        description="what the network corrects: the filter that errs least in cycles before the "
        "training, the finite-size ensemble transform filter or a local one with its radius and "
        "inflation; the former (filter) or the best of the latter (letkf) in any case; or the "
        "background itself (none)",
    )
    reach: int = Field(5, ge=1, le=100, description="points to each side that a gain covers")
    width: int = Field(64, ge=4, le=1024, description="channels of the network")
    depth: int = Field(3, ge=1, le=12, description="layers of the network")
    nearness: float | None = Field(
        None,
        gt=0,
        description="error of a background at which its weight in the training halves, unit of the "
        "state; by default half of that of the observations, or of the climate if that is less",
    )

    radius: float | None = Field(
        None,
        gt=0,
        description="on grids, half-width of the taper about which the network chooses, in the "
        "grid's unit of distance; by default that of letkf",
    )

    spacing: int | None = Field(
        None,
        ge=1,
        le=20,
        description="where a local interpolation is corrected, its spacing: points from one that "
        "is analysed to the next in each direction, the others bilinearly between them",
    )

    def usual(self, prior: AbstractPrior, points: int | None = None) -> bool:
        # Training and gates of a transform on a grid take many minutes.
        return not prior.reported and not on_grid(prior)

    def lacks(self, prior: AbstractPrior) -> str | None:
        if prior.recipe.channels and not prior.simulates:
            return (
                "it takes states of several variables only where a model simulates so far, and "
                f"these hold {len(prior.recipe.channels)}: {', '.join(prior.recipe.channels)}"
            )
        if not prior.simulates:
            what = "real observations" if prior.reported else "fields"
            return self._unwanted(
                tuple(name for name in self.chosen if name != "spacing"),
                f"the transform where a model simulates, and here it learns from {what}",
            )
        if on_grid(prior):
            ring = tuple(name for name in self.chosen if name != "radius")
            return self._unwanted(ring, "the transform on a ring, and the states are on a grid")
        other = tuple(name for name in self.chosen if name in ("radius", "spacing"))
        return transform.lacks(prior, self.reach) or self._unwanted(
            other, "analyses on a grid, and the states are on a ring"
        )

    def _unwanted(self, names: tuple[str, ...], where: str) -> str | None:
        if not names:
            return None
        return f"its settings {', '.join(names)} are of {where}; leave them out"

    def needs_points(self, prior: AbstractPrior) -> bool:
        return not prior.simulates or on_grid(prior)

    def carries_members(self, prior: AbstractPrior) -> bool:
        return prior.simulates

    def fallbacks(self, prior: AbstractPrior) -> tuple[str, ...]:
        return transform.FALLBACKS if prior.simulates and prior.ring else ()

    def reference(self, step: AbstractAnalysisStep) -> AbstractAnalysisStep | None:
        # A local filter's response, or that of none, is not near enough to the best one.
        corrected = step.first_guess if isinstance(step, LocalTransformStep) else None
        return corrected if isinstance(corrected, FiniteSizeETKF) else None

    def revision(self, prior: AbstractPrior) -> int:
        # 1: what is corrected is chosen in cycles; it was the finite-size filter.
        chosen = self.first_guess == "best" and prior.simulates and not on_grid(prior)
        return 1 if chosen else 0

    def usual_steps(self, prior: AbstractPrior) -> int:
        if prior.reported:
            return records.USUAL_STEPS
        if on_grid(prior):
            return grids.USUAL_STEPS
        return transform.USUAL_STEPS if prior.simulates else fields.USUAL_STEPS

    def learns_locally(self, prior: AbstractPrior, points: int) -> bool:
        return isinstance(prior, FieldsPrior) and prior.is_local(points)

    def memory(self, prior: AbstractPrior, points: int) -> float:
        if isinstance(prior, FieldsPrior) and not prior.is_local(points):
            return fields.memory(prior.recipe, points)
        return super().memory(prior, points)

    def prior_part(self, module: eqx.Module) -> eqx.Module | None:
        if isinstance(module, records.RecordCorrection | local_fields.StationCorrection):
            return module.reference
        return None

    @property
    def shape(self) -> transform.TransformShape:
        """What the network of the transform looks like."""
        return transform.TransformShape(
            self.first_guess, self.reach, self.width, self.depth, self.nearness
        )

    def learn(self, problem: Problem, training: TrainingSettings, progress: Progress) -> Learned:
        prior = problem.prior
        if isinstance(prior, FieldsPrior):
            if prior.is_local(problem.grid.size):
                return local_fields.learn(problem, prior, training, progress)
            if self.spacing is not None:
                raise ValueError(
                    f"amortized: spacing is of the interpolation that is corrected on large grids, "
                    f"and this one has {problem.grid.size} points; leave it out."
                )
            return fields.learn(prior, training, progress)
        if isinstance(problem.prior, ReportedPrior):
            return records.learn(problem, training, progress)
        if on_grid(problem.prior):
            return grids.learn(problem, self.radius, training, progress)
        return transform.learn(problem, self.shape, training, progress)

    def build(self, problem: Problem, trained: Trained | None) -> Assembly:
        assert trained is not None, "a method that learns is built from what it learned"
        if isinstance(problem.prior, FieldsPrior):
            if isinstance(trained.module, local_fields.StationCorrection):
                return local_fields.build(problem, problem.prior, trained.module, self.spacing)
            return fields.build(problem, trained)
        if isinstance(problem.prior, ReportedPrior):
            return records.build(problem, trained, self.spacing)
        if on_grid(problem.prior):
            return grids.build(problem, self.radius, trained)
        return transform.build(problem, self.shape, trained)

    @property
    def factories(self) -> Factories:
        return {
            transform.FACTORY: transform.build_network,
            grids.FACTORY: grids.build_network,
            fields.FACTORY: fields.analysis_like,
            local_fields.FACTORY: local_fields.correction_like,
            records.FACTORY: records.correction_like,
        }


def on_grid(prior: AbstractPrior) -> bool:
    """Whether a model simulates on a grid where points near each other are alike."""
    return prior.simulates and prior.local and not prior.ring
