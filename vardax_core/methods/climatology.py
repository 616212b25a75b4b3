"""Draws from the climatology, whatever is observed: what every method has to beat."""

from typing import ClassVar

from vardax_core.analysis.background_only import BackgroundOnly
from vardax_core.methods.base import AbstractMethod, Assembly, Problem, Trained
from vardax_core.methods.priors import AbstractPrior


class ClimatologyMethod(AbstractMethod):
    """No observation is used, and no forecast."""

    name: ClassVar[str] = "climatology"
    title: ClassVar[str] = "draws from the climatology, without any observation"
    source: ClassVar[str] = "the reference of every skill score"
    place: ClassVar[int] = 0
    channels: ClassVar[bool] = True

    def usual(self, prior: AbstractPrior, points: int | None = None) -> bool:
        return True

    def uses_background(self, prior: AbstractPrior) -> bool:
        return False

    def build(self, problem: Problem, trained: Trained | None) -> Assembly:
        prior = problem.prior
        return Assembly.of(prior, BackgroundOnly(problem.operator), prior.climatology)
