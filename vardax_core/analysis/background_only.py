"""The analysis that uses no observation."""

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.types import (
    Analysis,
    Observations,
    ResultCode,
    ensemble_mean,
    ensemble_spread,
)


class BackgroundOnly(AbstractAnalysisStep):
    """The background handed on as the analysis, to measure what observations are worth.

    Attributes:
        operator: observation operator H, for the innovations.
    """

    operator: AbstractObservationOperator

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        return Analysis(
            ensemble=background,
            mean=ensemble_mean(background),
            spread=ensemble_spread(background),
            result=jnp.asarray(int(ResultCode.OK), jnp.int32),
            diagnostics={},
        )
