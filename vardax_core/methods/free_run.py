"""Forecasts that no observation corrects: what observing is worth."""

from typing import ClassVar

from vardax_core.analysis.background_only import BackgroundOnly
from vardax_core.methods.base import AbstractMethod, Assembly, Problem, Trained
from vardax_core.methods.priors import AbstractPrior


class FreeRun(AbstractMethod):
    """The forecast model runs on, and no observation is used."""

    name: ClassVar[str] = "free-run"
    title: ClassVar[str] = "forecasts that no observation corrects"
    source: ClassVar[str] = "the reference of what observing is worth"
    place: ClassVar[int] = 5
    channels: ClassVar[bool] = True

    def carries_members(self, prior: AbstractPrior) -> bool:
        return True

    def uses_background(self, prior: AbstractPrior) -> bool:
        return False

    def build(self, problem: Problem, trained: Trained | None) -> Assembly:
        return Assembly.of(problem.prior, BackgroundOnly(problem.operator))
