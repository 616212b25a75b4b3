"""A 4D-Var in a cycle whose background is valid at the analysis time."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.origin import AbstractIterativeStep, Origin
from vardax_core.analysis.possible import unusable
from vardax_core.analysis.variational.four_dvar import StrongFourDVar
from vardax_core.analysis.variational.weak_four_dvar import WeakFourDVar
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.types import Analysis, Observations, ensemble_mean, ensemble_spread


class WindowedFourDVar(AbstractIterativeStep):
    """A 4D-Var that starts from the last analysis, forecast to the first row of the window.

    The window lies between two analyses of a cycle: its last row is at the analysis time, its
    first later than the analysis before. Where the minimisation fails, the analysis is the
    background that the cycle gave. Without an origin nothing is known of the first row, and the
    method is the 3D-Var of the last.

    Attributes:
        step: the 4D-Var, whose own background is valid at the first row.
        origin: set by the cycle.
    """

    step: StrongFourDVar | WeakFourDVar
    origin: Origin | None = None

    @property
    def operator(self) -> AbstractObservationOperator:
        return self.step.operator

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        origin = self.origin
        if origin is None:
            found = self.step.analyse(background, observations.at_analysis_time(), key=key)
        else:
            first, _ = self._before_the_window(origin, observations).forecast(origin.ensemble)
            found = self.step.analyse(first, observations, key=key)
        failed = unusable(found)
        return dataclasses.replace(
            found,
            ensemble=jnp.where(failed, background, found.ensemble),
            mean=jnp.where(failed, ensemble_mean(background), found.mean),
            spread=jnp.where(failed, ensemble_spread(background), found.spread),
            background=None,
        )

    def _before_the_window(self, origin: Origin, observations: Observations) -> Origin:
        inside = self.step.steps_per_row * (observations.times.shape[0] - 1)
        if inside > origin.steps:
            raise ValueError(
                f"WindowedFourDVar: a window of {inside} model steps begins before the analysis "
                f"that it starts from, {origin.steps} steps ago; give it fewer rows."
            )
        return dataclasses.replace(origin, steps=origin.steps - inside)
