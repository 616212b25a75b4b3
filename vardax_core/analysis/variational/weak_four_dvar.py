"""Four-dimensional variational analysis with a model that errs."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.variational.covariance import AbstractBackgroundCovariance
from vardax_core.analysis.variational.minimisers import (
    AbstractVariationalMinimiser,
    Minimum,
    QuasiNewton,
)
from vardax_core.analysis.variational.window_cost import (
    Simulation,
    advance,
    check_covariance,
    check_window_step,
    forecast_to_end,
    minimise_window,
    variational_analysis,
)
from vardax_core.models.base import AbstractForecastModel
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.errors import AbstractErrorModel, DiagonalErrorModel
from vardax_core.types import Analysis, Observations, ensemble_mean


class WeakFourDVar(AbstractAnalysisStep):
    """Fits a trajectory that the model describes up to errors of covariance Q between rows.

    Minimises |v_0|^2 / 2 + sum_k |w_k|^2 / 2 + sum_k |R^-1/2 (y_k - H(x_k))|^2 / 2 with
    x_0 = xb + L v_0 and x_k = M(x_{k-1}) + L_Q w_k, in the forcing formulation.

    The background is valid at the FIRST row of the window, the analysis at its last; with a
    window of one row the two coincide and the method is a 3D-Var. The rows are spaced by
    `steps_per_row` steps of the model.

    Attributes:
        operator: observation operator H, the same for every row.
        model: forecast model.
        covariance: background error covariance B at the first row.
        model_error: covariance Q of the model's error from one row to the next.
        steps_per_row: model steps from one row to the next.
        minimiser: how the cost is minimised.
        n_modes: directions in which the posterior is narrowed, found by Lanczos; None for all.
        errors: observation error model R; one that depends on the state is taken at the
            background.

    Source: Tremolet (2006), doi:10.1256/qj.05.224
    """

    operator: AbstractObservationOperator
    model: AbstractForecastModel
    covariance: AbstractBackgroundCovariance
    model_error: AbstractBackgroundCovariance
    steps_per_row: int = eqx.field(static=True, default=1)
    minimiser: AbstractVariationalMinimiser = QuasiNewton()
    n_modes: int | None = eqx.field(static=True, default=None)
    errors: AbstractErrorModel = DiagonalErrorModel()

    def __check_init__(self):
        for part, covariance in (("B", self.covariance), ("Q", self.model_error)):
            check_covariance(
                "WeakFourDVar", part, covariance.state_shape, self.operator.state_shape
            )
        check_window_step(
            "WeakFourDVar", self.operator, self.model, self.steps_per_row, self.n_modes
        )

    def _simulation(
        self, mean: Float[Array, "*state"], observations: Observations, *, key: PRNGKeyArray
    ) -> tuple[Simulation, int]:
        """From the controls of first row and model errors to all rows, and how many there are."""
        rank, later_rows = self.covariance.rank, observations.times.shape[0] - 1

        def simulate(control: Float[Array, " control"]) -> Float[Array, "window *state"]:
            first = mean + self.covariance.square_root(control[:rank])

            def body(state, row):
                time, forcing = row
                new = advance(self.model, state, time, self.steps_per_row, key=key)
                new = new + self.model_error.square_root(forcing)
                return new, new

            forcings = control[rank:].reshape(later_rows, self.model_error.rank)
            _, later = jax.lax.scan(body, first, (observations.times[:-1], forcings))
            return jnp.concatenate([first[None], later])

        return simulate, rank + later_rows * self.model_error.rank

    def window(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Float[Array, "window *state"], Minimum]:
        """The best states at all rows of a window, without their uncertainty, and how they came.

        Arguments:
            background: ensemble valid at the first row.
            observations: the window.
            key: for the noise of a stochastic model.

        Returns:
            The states, which are those of the last iteration whatever the end, and the minimum.
        """
        simulate, size = self._simulation(ensemble_mean(background), observations, key=key)
        minimum, _ = minimise_window(
            simulate, size, self.operator, self.errors, self.minimiser, observations
        )
        return simulate(minimum.control), minimum

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        model_key, key = jax.random.split(key)
        simulate, size = self._simulation(ensemble_mean(background), observations, key=model_key)
        return variational_analysis(
            simulate,
            size,
            self.operator,
            self.errors,
            self.minimiser,
            self.n_modes,
            forecast_to_end(
                self.model, background, observations, self.steps_per_row, key=model_key
            ),
            observations,
            key=key,
        )
