"""The learned dynamics of a 4DVarNet, fitted to a nature run before the network is trained."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.posterior import AmortizedPosterior
from vardax_core.analysis.variational.four_dvar_net import FourDVarNet, LearnedPrior


def learn_dynamics(
    posterior: AmortizedPosterior,
    windows: Float[Array, "sample window *grid"],
    *,
    steps: int = 500,
    batch_size: int = 256,
    learning_rate: float = 1e-2,
    key: PRNGKeyArray,
) -> tuple[AmortizedPosterior, Float[Array, ""]]:
    """Fit a 4DVarNet's dynamics to the step from each row of some windows to the next.

    The solver then learns on a cost that is already about right; `fit` goes on training both.

    Arguments:
        posterior: untrained and standardised, its encoder a 4DVarNet.
        windows: true states, in their unit.
        steps: gradient steps on the mean squared error of the next row.
        batch_size: pairs of rows in each.
        learning_rate: at the start; it falls to zero on a cosine.
        key: draws the pairs.

    Returns:
        The posterior, and the root mean square error of the last step in standard units.

    Raises:
        ValueError: if the encoder is no 4DVarNet, or there is no pair of rows.
    """
    encoder = posterior.encoder
    if not isinstance(encoder, FourDVarNet):
        raise ValueError(
            f"learn_dynamics: the encoder is a {type(encoder).__name__}, which has no dynamics; "
            "give the posterior of a 4DVarNet, from window_posterior."
        )
    if windows.shape[0] < 1 or windows.shape[1] < 2:
        raise ValueError(
            f"learn_dynamics: windows of shape {windows.shape} hold no pair of rows; give one "
            "window of two rows at least."
        )
    scaling = posterior.input_scaling
    rows = windows if scaling is None else jax.vmap(scaling.to_standard)(windows)
    before = rows[:, :-1].reshape(-1, *rows.shape[2:])
    after = rows[:, 1:].reshape(-1, *rows.shape[2:])
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    weights, rest = eqx.partition(encoder.prior, eqx.is_inexact_array)

    def loss(weights: LearnedPrior, chosen: Array) -> Array:
        error = eqx.combine(weights, rest)(before[chosen]) - after[chosen]
        return jnp.mean(error**2)

    @jax.jit
    def run(weights: LearnedPrior, keys: Array) -> tuple[LearnedPrior, Array]:
        def body(carry: tuple, k: PRNGKeyArray) -> tuple[tuple, Array]:
            weights, state = carry
            chosen = jax.random.randint(k, (batch_size,), 0, before.shape[0])
            value, gradient = jax.value_and_grad(loss)(weights, chosen)
            # optax mixes integer counts with floats.
            with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
                updates, state = optimizer.update(gradient, state, weights)
                weights = optax.apply_updates(weights, updates)
            return (weights, state), value

        (weights, _), values = jax.lax.scan(body, (weights, optimizer.init(weights)), keys)
        return weights, jnp.sqrt(values[-1])

    weights, error = run(weights, jax.random.split(key, steps))
    prior = eqx.combine(weights, rest)
    return eqx.tree_at(lambda p: p.encoder.prior, posterior, prior), error
