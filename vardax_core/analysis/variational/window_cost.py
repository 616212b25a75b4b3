"""What every variational analysis does once it is told how a control vector becomes a window."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.variational.minimisers import (
    RESULT_OF_END,
    AbstractVariationalMinimiser,
    MinimiserEnd,
    Minimum,
)
from vardax_core.analysis.variational.posterior import (
    exact_root,
    lanczos_root,
    recentred_draws,
)
from vardax_core.models.base import AbstractForecastModel
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.errors import AbstractErrorModel, finite_error_sd
from vardax_core.types import (
    Analysis,
    Observations,
    ensemble_mean,
    ensemble_spread,
)

Simulation = Callable[[Float[Array, " control"]], Float[Array, "window *state"]]
"""The states at the rows of a window that follow from a control vector."""


def advance(
    model: AbstractForecastModel,
    state: Float[Array, "*state"],
    time: Array,
    n_steps: int,
    *,
    key: PRNGKeyArray,
) -> Float[Array, "*state"]:
    """The state `n_steps` model steps later, cheap in memory under reverse differentiation."""

    def body(carry, _):
        x, t = carry
        return (model.step(x, t, key=key), t + model.interval), None

    return jax.lax.scan(jax.checkpoint(body), (state, time), length=n_steps)[0][0]


def forecast_to_end(
    model: AbstractForecastModel,
    background: Float[Array, "member *state"],
    observations: Observations,
    steps_per_row: int,
    *,
    key: PRNGKeyArray,
) -> Float[Array, "member *state"]:
    """The background ensemble carried from the first row of a window to the last."""
    n_steps = steps_per_row * (observations.times.shape[0] - 1)
    if n_steps == 0:
        return background
    time = observations.times[0]
    return jax.vmap(lambda x: advance(model, x, time, n_steps, key=key))(background)


def minimise_window(
    simulate: Simulation,
    control_size: int,
    operator: AbstractObservationOperator,
    errors: AbstractErrorModel,
    minimiser: AbstractVariationalMinimiser,
    observations: Observations,
) -> tuple[Minimum, Callable[[Float[Array, " control"]], Float[Array, " residual"]]]:
    """Minimise |v|^2 / 2 + |R^-1/2 (y - H(x(v)))|^2 / 2.

    Arguments:
        simulate: from a control vector, whose background is N(0, I), to the states of the window.
        control_size: length of the control vector.

    Returns:
        The minimum, and the map from a control vector to R^-1/2 H(x(v)). An R that depends on
        the state is taken at v = 0.
    """
    start = jnp.zeros((control_size,), observations.values.dtype)
    reference = jax.vmap(operator)(simulate(start))
    error_sd = finite_error_sd(observations.error_sd, observations.values, reference)

    def whiten(departure: Float[Array, "window obs"]) -> Float[Array, " residual"]:
        return jax.vmap(errors.whiten)(departure, reference, observations.mask, error_sd).reshape(
            -1
        )

    def observe(control: Float[Array, " control"]) -> Float[Array, " residual"]:
        return whiten(jax.vmap(operator)(simulate(control)))

    target = whiten(observations.values)

    def residual(control: Float[Array, " control"]) -> Float[Array, " both"]:
        return jnp.concatenate([control, observe(control) - target])

    return minimiser(residual, start), observe


def variational_analysis(
    simulate: Simulation,
    control_size: int,
    operator: AbstractObservationOperator,
    errors: AbstractErrorModel,
    minimiser: AbstractVariationalMinimiser,
    n_modes: int | None,
    background_at_end: Float[Array, "member *state"],
    observations: Observations,
    *,
    key: PRNGKeyArray,
) -> Analysis:
    """Minimise |v|^2 / 2 + |R^-1/2 (y - H(x(v)))|^2 / 2 and describe the posterior at its minimum.

    Arguments:
        simulate: from a control vector, whose background is N(0, I), to the states of the window.
        control_size: length of the control vector.
        n_modes: directions in which the posterior is narrowed, found by Lanczos; None for all,
            which takes the whole Jacobian.
        background_at_end: what is returned if the minimisation fails.

    Returns:
        The analysis at the last row. Its mean is the state of the minimum, its members follow
        from draws of the Gauss-Newton posterior through the nonlinear model. The spread is that
        of the linearised model if `n_modes` is None, else the members'.
    """
    minimum, observe = minimise_window(
        simulate, control_size, operator, errors, minimiser, observations
    )

    def final(control: Float[Array, " control"]) -> Float[Array, "*state"]:
        return simulate(control)[-1]

    draw_key, lanczos_key = jax.random.split(key)
    if n_modes is None:
        root = exact_root(observe, minimum.control)
    else:
        root = lanczos_root(observe, minimum.control, n_modes, key=lanczos_key)
    members = background_at_end.shape[0]
    draws = recentred_draws(members, control_size, minimum.control.dtype, key=draw_key)
    ensemble = jax.vmap(lambda z: final(minimum.control + root(z)))(draws)
    mean = final(minimum.control)
    if n_modes is None:
        _, tangent = jax.linearize(final, minimum.control)
        basis = jnp.eye(control_size, dtype=minimum.control.dtype)
        columns = jax.vmap(lambda e: tangent(root(e)))(basis)
        spread = jnp.sqrt(jnp.sum(columns**2, axis=0))
    else:
        spread = ensemble_spread(ensemble)
    failed = minimum.end >= int(MinimiserEnd.DIVERGED)
    return Analysis(
        ensemble=jnp.where(failed, background_at_end, ensemble),
        mean=jnp.where(failed, ensemble_mean(background_at_end), mean),
        spread=jnp.where(failed, ensemble_spread(background_at_end), spread),
        result=jnp.asarray([int(code) for code in RESULT_OF_END], jnp.int32)[minimum.end],
        diagnostics={
            "cost": minimum.cost,
            "minimiser_end": minimum.end,
            # Twice the cost at the minimum, which has mean p where all is linear and Gaussian.
            "innovation_chi2": 2 * jnp.nanmin(minimum.cost),
        },
        background=background_at_end,
    )


def check_window_step(
    method: str,
    operator: AbstractObservationOperator,
    model: AbstractForecastModel,
    steps_per_row: int,
    n_modes: int | None,
) -> None:
    """Raise a ValueError unless the parts of a 4D-Var fit together."""
    if model.state_shape != operator.state_shape:
        raise ValueError(
            f"{method}: the model steps states of shape {model.state_shape}, H observes "
            f"{operator.state_shape}; build both for one grid."
        )
    if steps_per_row < 1:
        raise ValueError(f"{method}: steps_per_row must be >= 1, got {steps_per_row}.")
    check_modes(method, n_modes)


def check_modes(method: str, n_modes: int | None) -> None:
    """Raise a ValueError unless a number of posterior modes is None or positive."""
    if n_modes is not None and n_modes < 1:
        raise ValueError(f"{method}: n_modes must be None or >= 1, got {n_modes}.")


def check_covariance(
    method: str, part: str, covariance_shape: tuple[int, ...], state_shape: tuple[int, ...]
) -> None:
    """Raise a ValueError unless a covariance acts on the states that H observes."""
    if covariance_shape != state_shape:
        raise ValueError(
            f"{method}: {part} acts on states of shape {covariance_shape}, H on {state_shape}; "
            "build both for one grid."
        )
