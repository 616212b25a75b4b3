"""The learned dynamics of a 4DVarNet, fitted to a nature run before the network is trained."""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from vardax_core.analysis.amortized.posterior import AmortizedPosterior
from vardax_core.analysis.variational.four_dvar_net import FourDVarNet, LearnedPrior
from vardax_core.training.loop import LoopSettings, train
from vardax_core.training.objective import AbstractObjective, AbstractPairs, Found
from vardax_core.training.optimizer import OptimizerSettings

LOOKS = 10
"""Parts of a training; the error of the last is what is returned."""


class RowPair(NamedTuple):
    """Rows in standard units, and those that follow them."""

    before: Float[Array, "pair *grid"]
    after: Float[Array, "pair *grid"]


class FollowingRows(AbstractPairs):
    """Pairs of rows drawn from a table, with repetition. Carries nothing.

    Attributes:
        table: all pairs.
        keys: of every step.
        size: pairs in each.
    """

    table: RowPair
    keys: Shaped[Array, "step *key"]
    size: int = eqx.field(static=True)

    def deal(self, state: None, first: int, count: int) -> tuple[None, Array]:
        return None, self.keys[first : first + count]

    def given(self, state: None, row: PRNGKeyArray) -> RowPair:
        chosen = jax.random.randint(row, (self.size,), 0, self.table.before.shape[0])
        return RowPair(self.table.before[chosen], self.table.after[chosen])

    def follow(self, given: RowPair, outcome: None) -> None:
        return None


class NextRowError(AbstractObjective):
    """The mean squared error of the next row.

    Attributes:
        static: the dynamics without their weights.
    """

    static: LearnedPrior
    name: ClassVar[str] = "The dynamics of a 4DVarNet"
    repair: ClassVar[str] = "lower learning_rate, or look for windows that are not finite"
    measures: ClassVar[tuple[str, ...]] = ()

    def loss(self, weights: Any, given: RowPair) -> tuple[Float[Array, ""], Found]:
        squares = (eqx.combine(weights, self.static)(given.before) - given.after) ** 2
        return jnp.mean(squares), Found(jnp.mean(squares.reshape(squares.shape[0], -1), axis=1))


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
        The posterior, and the root mean square error over the last tenth of the steps, in
        standard units.

    Raises:
        ValueError: if the encoder is no 4DVarNet, or there is no pair of rows.
        NonFiniteLossError: at the first loss or gradient that is not finite.
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
    weights, rest = eqx.partition(encoder.prior, eqx.is_inexact_array)
    trained = train(
        weights,
        NextRowError(rest),
        FollowingRows(RowPair(before, after), jax.random.split(key, steps), batch_size),
        LoopSettings(OptimizerSettings(steps, learning_rate), chunk=max(1, steps // LOOKS)),
    )
    prior = eqx.combine(trained.weights, rest)
    error = jnp.sqrt(jnp.asarray(trained.curve[-1, 0]))
    return eqx.tree_at(lambda p: p.encoder.prior, posterior, prior), error
