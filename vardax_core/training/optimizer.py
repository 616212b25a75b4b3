"""How gradients become steps of the weights, for every training."""

import dataclasses
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

    Attributes:
        steps: gradient steps until the rate is zero.
        learning_rate: highest rate.
        warm_up: steps in which the rate rises; without any it starts at its highest.
        clip: largest norm of a gradient; None for any.
        weight_decay: decoupled decay of the weights.
        decay_vectors: whether biases and scales decay too, or matrices alone.
        average: decay of the moving average of the weights, which is shorter at the start; None
            for no average.
        skip: losses or gradients in a row that may be not finite, and are left out; one more
            ends the training.
    """

    steps: int
    learning_rate: float
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
        if self.learning_rate < 0 or self.weight_decay < 0 or self.skip < 0:
            raise ValueError(
                f"OptimizerSettings: learning_rate, weight_decay and skip must not be negative, "
                f"got {self.learning_rate}, {self.weight_decay} and {self.skip}."
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
        with _optax_promotion():
            return optax.warmup_cosine_decay_schedule(
                0.0, self.learning_rate, self.warm_up, self.steps, 0.0
            )(count)

    def transformation(self) -> optax.GradientTransformation:
        """The update rule."""
        adam = optax.adamw(
            self.rate,
            weight_decay=self.weight_decay,
            mask=None if self.decay_vectors else _matrices,
        )
        if self.clip is None:
            return adam
        return optax.chain(optax.clip_by_global_norm(self.clip), adam)

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
