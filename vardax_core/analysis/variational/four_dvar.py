"""Four-dimensional variational analysis with a perfect model."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.variational.covariance import AbstractBackgroundCovariance
from vardax_core.analysis.variational.minimisers import (
    AbstractVariationalMinimiser,
    QuasiNewton,
)
from vardax_core.analysis.variational.window_cost import (
    Simulation,
    advance,
    check_covariance,
    check_window_step,
    forecast_to_end,
    variational_analysis,
)
from vardax_core.models.base import AbstractForecastModel
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.errors import AbstractErrorModel, DiagonalErrorModel
from vardax_core.types import Analysis, Observations, ensemble_mean


def strong_simulation(
    model: AbstractForecastModel,
    covariance: AbstractBackgroundCovariance,
    mean: Float[Array, "*state"],
    observations: Observations,
    steps_per_row: int,
    *,
    key: PRNGKeyArray,
) -> Simulation:
    """From the control of the state at the first row to the states at all rows."""

    def simulate(control: Float[Array, " control"]) -> Float[Array, "window *state"]:
        first = mean + covariance.square_root(control)

        def body(state, time):
            new = advance(model, state, time, steps_per_row, key=key)
            return new, new

        _, later = jax.lax.scan(body, first, observations.times[:-1])
        return jnp.concatenate([first[None], later])

    return simulate


class StrongFourDVar(AbstractAnalysisStep):
    """Fits one model trajectory to a window of observations.

    Minimises |v|^2 / 2 + sum_k |R^-1/2 (y_k - H(x_k))|^2 / 2 with x_0 = xb + L v, B = L L', and
    x_k the model's forecast from x_0; gradients come from the adjoint of the whole window. With
    `GaussNewtonCG` it is the incremental 4D-Var: each outer loop linearises model and H about the
    latest trajectory, and conjugate gradients minimise the quadratic cost in v.

    The background is valid at the FIRST row of the window, the analysis at its last; with a
    window of one row the two coincide and the method is a 3D-Var. The rows are spaced by
    `steps_per_row` steps of the model.

    Attributes:
        operator: observation operator H, the same for every row.
        model: forecast model; a stochastic one is held to one realisation of its noise.
        covariance: background error covariance B at the first row.
        steps_per_row: model steps from one row to the next.
        minimiser: how the cost is minimised.
        n_modes: directions in which the posterior is narrowed, found by Lanczos; None for all.
        errors: observation error model R; one that depends on the state is taken at the
            background.

    Source: Le Dimet and Talagrand (1986), doi:10.1111/j.1600-0870.1986.tb00459.x; Courtier et al.
        (1994), doi:10.1002/qj.49712051912
    """

    operator: AbstractObservationOperator
    model: AbstractForecastModel
    covariance: AbstractBackgroundCovariance
    steps_per_row: int = eqx.field(static=True, default=1)
    minimiser: AbstractVariationalMinimiser = QuasiNewton()
    n_modes: int | None = eqx.field(static=True, default=None)
    errors: AbstractErrorModel = DiagonalErrorModel()

    def __check_init__(self):
        check_covariance(
            "StrongFourDVar", "B", self.covariance.state_shape, self.operator.state_shape
        )
        check_window_step(
            "StrongFourDVar", self.operator, self.model, self.steps_per_row, self.n_modes
        )

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        model_key, key = jax.random.split(key)
        mean, per_row = ensemble_mean(background), self.steps_per_row
        return variational_analysis(
            strong_simulation(
                self.model, self.covariance, mean, observations, per_row, key=model_key
            ),
            self.covariance.rank,
            self.operator,
            self.errors,
            self.minimiser,
            self.n_modes,
            forecast_to_end(self.model, background, observations, per_row, key=model_key),
            observations,
            key=key,
        )
