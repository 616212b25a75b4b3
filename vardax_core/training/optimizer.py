"""How gradients become steps of the weights, for every training."""

import dataclasses
import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int


@dataclass(frozen=True)
class OptimizerSettings:
    """Adam with a learning rate that rises in a line from zero and falls to zero on a cosine.

    Where there is a `matrix_rate`, matrices take orthogonal steps instead (Muon): of the momentum
    of the gradients all singular values become one, so that directions which few samples ask for
    are learned as fast as the others. Vectors then follow Adam with Nesterov's momentum.

    Attributes:
        steps: gradient steps until the rate is zero.
        learning_rate: highest rate, of vectors alone if matrices have one of their own.
        matrix_rate: highest rate of matrices, the largest singular value of their steps times
            sqrt(max(1, columns / rows)); None for Adam.
        warm_up: steps in which the rate rises; without any it starts at its highest.
        clip: largest norm of a gradient; None for any.
        weight_decay: decoupled decay of the weights.
        decay_vectors: whether biases and scales decay too, or matrices alone.
        average: decay of the moving average of the weights, which is shorter at the start; None
            for no average.
        skip: losses or gradients in a row that may be not finite, and are left out; one more
            ends the training.

    Source: Jordan et al. (2024), Muon, and Bernstein and Newhouse (2024), arXiv:2409.20325
    """

    steps: int
    learning_rate: float
    matrix_rate: float | None = None
    warm_up: int = 0
    clip: float | None = None
    weight_decay: float = 0.0
    decay_vectors: bool = False
    average: float | None = None
    skip: int = 0

    def __post_init__(self):
        if self.steps < 1 or not 0 <= self.warm_up < self.steps:
            raise ValueError(
                f"OptimizerSettings: steps >= 1 and 0 <= warm_up < steps are needed, got "
                f"{self.steps} and {self.warm_up}."
            )
        if min(self.learning_rate, self.matrix_rate or 0.0, self.weight_decay, self.skip) < 0:
            raise ValueError(
                f"OptimizerSettings: learning_rate, matrix_rate, weight_decay and skip must not be "
                f"negative, got {self.learning_rate}, {self.matrix_rate}, {self.weight_decay} and "
                f"{self.skip}."
            )
        if self.clip is not None and not self.clip > 0:
            raise ValueError(
                f"OptimizerSettings: clip must be > 0, got {self.clip}; None leaves gradients "
                "of any norm."
            )
        if self.average is not None and not 0 <= self.average < 1:
            raise ValueError(
                f"OptimizerSettings: average must lie in [0, 1), got {self.average}; None keeps "
                "no average."
            )

    def over(self, steps: int) -> "OptimizerSettings":
        """The same over another number of steps, with the same share of warm-up."""
        warm_up = min(math.ceil(self.warm_up * steps / self.steps), steps - 1)
        return dataclasses.replace(self, steps=steps, warm_up=warm_up)

    def rate(self, count: Int[Array, ""]) -> Array:
        """The learning rate after `count` steps."""
        return self._rate_below(self.learning_rate, count)

    def _rate_below(self, highest: float, count: Int[Array, ""]) -> Array:
        with _optax_promotion():
            return optax.warmup_cosine_decay_schedule(0.0, highest, self.warm_up, self.steps, 0.0)(
                count
            )

    def transformation(self) -> optax.GradientTransformation:
        """The update rule."""
        if self.matrix_rate is None:
            rule = optax.adamw(
                self.rate,
                weight_decay=self.weight_decay,
                mask=None if self.decay_vectors else _matrices,
            )
        else:
            rule = optax.contrib.muon(
                functools.partial(self._rate_below, self.matrix_rate),
                adam_learning_rate=self.rate,
                weight_decay=self.weight_decay,
                adam_weight_decay=self.weight_decay if self.decay_vectors else 0.0,
            )
        if self.clip is None:
            return rule
        return optax.chain(optax.clip_by_global_norm(self.clip), rule)

    def start(self, weights: Any) -> optax.OptState:
        """The state of the rule before the first step."""
        with _optax_promotion():
            return self.transformation().init(weights)

    def update(
        self, gradient: Any, state: optax.OptState, weights: Any
    ) -> tuple[Any, optax.OptState]:
        """The weights one step on, and the state of the rule."""
        with _optax_promotion():
            updates, state = self.transformation().update(gradient, state, weights)
            return optax.apply_updates(weights, updates), state

    def averaged(self, average: Any, weights: Any, count: Int[Array, ""]) -> Any:
        """The moving average with the weights after `count` + 1 steps; None if there is none."""
        if self.average is None:
            return None
        with _optax_promotion():
            # Short at first, or the initial weights would never leave it.
            decay = jnp.minimum(self.average, (1.0 + count) / (10.0 + count))

        def one(a: Array, w: Array) -> Array:
            share = decay.astype(a.dtype)
            return share * a + (1 - share) * w

        return jax.tree.map(one, average, weights)


def _matrices(weights: Any) -> Any:
    return jax.tree.map(lambda w: w.ndim >= 2, weights)


@contextmanager
def _optax_promotion() -> Iterator[None]:
    """Optax mixes step counts with floats, and scalars with arrays."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
