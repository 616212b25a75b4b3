"""Four-dimensional variational analyses of the window of each cycle."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from vardax_core.analysis.variational.covariance import DenseCovariance
from vardax_core.analysis.variational.four_dvar import StrongFourDVar
from vardax_core.analysis.variational.minimisers import (
    AbstractVariationalMinimiser,
    GaussNewtonCG,
    QuasiNewton,
)
from vardax_core.analysis.variational.weak_four_dvar import WeakFourDVar
from vardax_core.analysis.variational.windowed import WindowedFourDVar
from vardax_core.data.recipe import Recipe
from vardax_core.data.timeaxis import duration_to_minutes
from vardax_core.methods.base import AbstractMethod, Assembly, Problem, Trained
from vardax_core.methods.priors import AbstractPrior

BackgroundVariance = Annotated[
    float,
    Field(
        gt=0,
        le=1,
        description="variance of the background error at the start of the window, over that of "
        "the climate",
    ),
]
Minimiser = Literal["gauss-newton", "quasi-newton"]
MINIMISERS: dict[Minimiser, AbstractVariationalMinimiser] = {
    "gauss-newton": GaussNewtonCG(),
    "quasi-newton": QuasiNewton(),
}
"""By the names that the settings have for them; the first makes a 4D-Var incremental."""


def climate_share(prior: AbstractPrior, share: float) -> DenseCovariance:
    """The covariance of the climate, times a share."""
    shape = prior.climatology.state_shape
    return DenseCovariance.from_table(share * prior.covariance, shape)


def steps_per_row(recipe: Recipe, prior: AbstractPrior) -> int:
    """Steps of the forecast model from one observation time of the window to the next.

    Raises:
        ValueError: if they are no whole number, and there is more than one time.
    """
    spacing = duration_to_minutes(recipe.window.spacing)
    if recipe.window.times > 1 and spacing % prior.model.interval:
        raise ValueError(
            f"{recipe.name}: the forecast model steps {prior.model.interval} minutes, and the "
            f"observation times of the window are {spacing} minutes apart, which is no multiple "
            "of that; set window.times to 1."
        )
    return max(1, spacing // prior.model.interval)


def lacks_steps(prior: AbstractPrior) -> str | None:
    """What a prior lacks for forecasts from one observation time of the window to the next."""
    recipe = prior.recipe
    if prior.simulates or recipe.window.times == 1:
        return None
    return (
        "it forecasts from one observation time of the window to the next, every "
        f"{recipe.window.spacing}, and the model that is learned from fields steps a whole cycle "
        f"of {recipe.cycle_interval}; set window.times to 1, or take a recipe whose model "
        "simulates"
    )


class AbstractFourDVarMethod(AbstractMethod):
    """A variational analysis of the window of each cycle, whose members are carried on."""

    forecasts_again: ClassVar[bool] = True
    needs_covariance: ClassVar[bool] = True

    def lacks(self, prior: AbstractPrior) -> str | None:
        return lacks_steps(prior)

    def carries_members(self, prior: AbstractPrior) -> bool:
        return True


class FourDVarMethod(AbstractFourDVarMethod):
    """All observations of the window count, each at its own time; with a window of one time it is
    a 3D-Var."""

    name: ClassVar[str] = "4dvar"
    title: ClassVar[str] = "four-dimensional variational analysis with a perfect model"
    source: ClassVar[str] = "Le Dimet and Talagrand (1986), doi:10.1111/j.1600-0870.1986.tb00459.x"
    place: ClassVar[int] = 32

    variance: BackgroundVariance = 0.05
    minimiser: Minimiser = Field(
        "gauss-newton",
        description="how the cost is minimised: as a sequence of linear problems (incremental "
        "4D-Var), or by limited-memory BFGS",
    )

    def build(self, problem: Problem, trained: Trained | None) -> Assembly:
        prior = problem.prior
        step = StrongFourDVar(
            problem.operator,
            prior.model,
            climate_share(prior, self.variance),
            steps_per_row=steps_per_row(problem.recipe, prior),
            minimiser=MINIMISERS[self.minimiser],
        )
        return Assembly.of(prior, WindowedFourDVar(step))  # type: ignore[call-arg, arg-type]


class WeakFourDVarMethod(AbstractFourDVarMethod):
    """As 4dvar, but the model may err between two observation times of the window."""

    name: ClassVar[str] = "weak-4dvar"
    title: ClassVar[str] = "four-dimensional variational analysis with a model that errs"
    source: ClassVar[str] = "Tremolet (2006), doi:10.1256/qj.05.224"
    place: ClassVar[int] = 34

    variance: BackgroundVariance = 0.05
    model_error: float = Field(
        0.001,
        gt=0,
        le=1,
        description="variance of the model's error from one observation time to the next, over "
        "that of the climate",
    )
    minimiser: Minimiser = Field(
        "gauss-newton",
        description="how the cost is minimised: as a sequence of linear problems, or by "
        "limited-memory BFGS",
    )

    def build(self, problem: Problem, trained: Trained | None) -> Assembly:
        prior = problem.prior
        step = WeakFourDVar(
            problem.operator,
            prior.model,
            climate_share(prior, self.variance),
            climate_share(prior, self.model_error),
            steps_per_row=steps_per_row(problem.recipe, prior),
            minimiser=MINIMISERS[self.minimiser],
        )
        return Assembly.of(prior, WindowedFourDVar(step))  # type: ignore[call-arg, arg-type]
