"""The amortized posterior: members are drawn from a density that was trained once."""

from typing import ClassVar

from pydantic import Field

from vardax_core.analysis.amortized.posterior import AmortizedPosterior
from vardax_core.analysis.amortized.step import PosteriorAnalysisStep
from vardax_core.methods.base import (
    AbstractLearningMethod,
    Assembly,
    Problem,
    Trained,
    TrainingSettings,
)
from vardax_core.methods.posterior import learning
from vardax_core.methods.posterior.shape import (
    EncoderName,
    HeadName,
    PosteriorShape,
    posterior_like,
)
from vardax_core.methods.priors import AbstractPrior, Learned, Progress
from vardax_core.training.registry import Factories


class PosteriorMethod(AbstractLearningMethod):
    """Given the observations, and mean and spread of the background, a network draws all members
    anew in every cycle."""

    name: ClassVar[str] = "posterior"
    title: ClassVar[str] = "members drawn from an amortized posterior, checked by gates"
    source: ClassVar[str] = "vardax"
    place: ClassVar[int] = 80

    head: HeadName = Field(
        "low-rank",
        description="family of the density: a Gaussian with a diagonal covariance (regression), "
        "with a few common factors (low-rank), a spline flow, or score diffusion",
    )
    encoder: EncoderName = Field(
        "identity",
        description="what becomes of the observations before the head sees them: nothing, or a "
        "perceptron",
    )
    width: int = Field(64, ge=4, le=1024, description="units of the hidden layers")
    draws: int = Field(
        64,
        ge=2,
        le=4096,
        description="draws from which mean and spread of an analysis are taken, where the head "
        "does not know them (flow, score)",
    )

    bounded: bool = Field(
        False,
        description="whether the density knows the bounds of the variable, so that no member is "
        "outside: for concentrations, humidities and shares (between two bounds by the normal "
        "distribution function, from one bound by the logarithm)",
    )

    def lacks(self, prior: AbstractPrior) -> str | None:
        if prior.simulates:
            return None
        return (
            "it learns from the cycles of a model that simulates, and the recipe has fields of the "
            "past alone; take the method amortized"
        )

    def usual_steps(self, prior: AbstractPrior) -> int:
        return 6000

    def learn(self, problem: Problem, training: TrainingSettings, progress: Progress) -> Learned:
        shape = PosteriorShape(
            self.head,
            self.encoder,
            self.width,
            problem.operator.obs_size,
            problem.operator.state_shape,
            problem.prior.possible_range if self.bounded else None,
        )
        return learning.learn(problem, shape, training, progress)

    def build(self, problem: Problem, trained: Trained | None) -> Assembly:
        assert trained is not None, "a method that learns is built from what it learned"
        posterior = trained.module
        assert isinstance(posterior, AmortizedPosterior), "what `learn` gave"
        step = PosteriorAnalysisStep(
            posterior=posterior, operator=problem.operator, n_moments=self.draws, rows=1
        )
        return Assembly.of(problem.prior, step)

    @property
    def factories(self) -> Factories:
        return {learning.FACTORY: posterior_like}
