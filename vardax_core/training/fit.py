"""Training a posterior on batches of observations and states."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vardax_core.analysis.amortized.posterior import AmortizedPosterior
from vardax_core.training.convergence import Convergence, judged
from vardax_core.training.loop import Look, LoopSettings, train
from vardax_core.training.objective import AbstractObjective, AbstractPairs, Found
from vardax_core.training.optimizer import OptimizerSettings
from vardax_core.training.preparation import trainable
from vardax_core.training.sources import AbstractTrainingSource
from vardax_core.types import Batch


@dataclass(frozen=True)
class FitSettings:
    """How a posterior is trained.

    Attributes:
        n_steps: optimizer steps at most, unless `longest` allows for more.
        learning_rate: highest learning rate.
        warm_up: share of the steps in which the rate rises from zero; then it falls on a cosine.
        clip: largest norm of a gradient.
        weight_decay: decoupled decay of the matrices.
        ema: decay of the moving average of the weights, which is what is returned; it is shorter
            at the start.
        check_every: steps between two looks at the validation loss; also one compiled call, and
            the distance of checkpoints.
        patience: looks without a better validation loss after which training stops; None trains
            to the end.
        longest: how many times `n_steps` a training may take, see `LoopSettings`.
    """

    n_steps: int = 2000
    learning_rate: float = 1e-3
    warm_up: float = 0.05
    clip: float = 5.0
    weight_decay: float = 1e-4
    ema: float = 0.999
    check_every: int = 100
    patience: int | None = 10
    longest: int = 1

    def __post_init__(self):
        if self.n_steps < 1 or self.check_every < 1 or self.n_steps % self.check_every:
            raise ValueError(
                f"FitSettings: n_steps must be a positive multiple of check_every, got "
                f"{self.n_steps} and {self.check_every}."
            )
        if self.longest < 1:
            raise ValueError(f"FitSettings: longest must be at least 1, got {self.longest}.")
        if not (0 <= self.ema < 1 and 0 <= self.warm_up < 1 and self.learning_rate > 0):
            raise ValueError(
                f"FitSettings: 0 <= ema < 1, 0 <= warm_up < 1 and learning_rate > 0 are needed, "
                f"got {self.ema}, {self.warm_up} and {self.learning_rate}."
            )

    @property
    def loop(self) -> LoopSettings:
        """The same in the words of the training loop."""
        optimizer = OptimizerSettings(
            steps=self.n_steps,
            learning_rate=self.learning_rate,
            warm_up=min(max(1, math.ceil(self.warm_up * self.n_steps)), self.n_steps - 1),
            clip=self.clip,
            weight_decay=self.weight_decay,
            average=self.ema,
        )
        return LoopSettings(
            optimizer, chunk=self.check_every, patience=self.patience, longest=self.longest
        )


@dataclass(frozen=True)
class FitResult:
    """A trained posterior and how its losses went.

    Attributes:
        posterior: with the averaged weights of the best validation loss, or the initial ones.
        best_step: number of steps after which they were reached, 0 for the initial ones.
        best_loss: the validation loss there.
        steps: numbers of steps at which losses were looked at.
        training_loss: mean training loss since the look before.
        validation_loss: loss of the averaged weights on the validation batch.
        stopped: whether patience ended the training before its last step.
    """

    posterior: AmortizedPosterior
    best_step: int
    best_loss: float
    steps: list[int] = field(default_factory=list)
    training_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    stopped: bool = False

    @property
    def convergence(self) -> Convergence:
        """Whether the training came to its end."""
        return judged(self.steps, self.validation_loss, stopped=self.stopped)


class _Sample(NamedTuple):
    batch: Batch
    key: PRNGKeyArray


class PosteriorLoss(AbstractObjective):
    """The mean of the head's loss over a batch.

    Attributes:
        static: the posterior without its weights.
    """

    static: Any
    name: ClassVar[str] = "The posterior"
    repair: ClassVar[str] = (
        "look at that batch (source.recipe(step, 1)), lower the learning rate or the clip, or "
        "mend the simulator"
    )
    measures: ClassVar[tuple[str, ...]] = ()

    def loss(self, weights: Any, given: _Sample) -> tuple[Float[Array, ""], Found]:
        losses = eqx.combine(weights, self.static).loss(given.batch, given.key)
        return jnp.mean(losses), Found(losses)


class SampledPairs(AbstractPairs):
    """The batches of a training source, with a key for the noise of each loss. Carries nothing.

    Attributes:
        source: of the batches.
        key: folded with the step.
    """

    source: AbstractTrainingSource
    key: PRNGKeyArray

    def deal(self, state: None, first: int, count: int) -> tuple[None, Any]:
        steps = jnp.arange(first, first + count)
        keys = jax.vmap(lambda step: jax.random.fold_in(self.key, step))(steps)
        return None, (self.source.recipe(first, count), keys)

    def given(self, state: None, row: Any) -> _Sample:
        recipe, key = row
        return _Sample(self.source.batch(recipe), key)

    def follow(self, given: _Sample, outcome: None) -> None:
        return None


def fit(
    posterior: AmortizedPosterior,
    source: AbstractTrainingSource,
    validation: Batch,
    *,
    settings: FitSettings = FitSettings(),
    key: PRNGKeyArray,
    checkpoint: Path | None = None,
    progress: bool = False,
    on_check: Callable[[int, float, float], None] | None = None,
) -> FitResult:
    """Train the encoder and the head together on the head's loss.

    Arguments:
        posterior: standardised (see `standardised`).
        source: batches with targets.
        validation: samples apart from the training samples in time (see `block_split`).
        settings: how to train.
        key: for the noise of the losses; folded with the step.
        checkpoint: file to go on from if it exists, rewritten after every look at the validation
            loss. Training that was killed and started again ends with the same weights, bit for
            bit, on the same machine and software.
        progress: whether a progress bar is shown.
        on_check: called with step, training loss and validation loss after every look.

    Raises:
        NonFiniteLossError: at the first loss or gradient that is not finite, with the step and
            the position in the batch.
        CheckpointError: if the checkpoint is of another training.
        BatchValueError, MissingFieldError: see `AmortizedPosterior.loss`.
    """
    weights, static = eqx.partition(posterior, trainable(posterior))
    train_key, validation_key = jax.random.split(key)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not progress, transient=True) as bar:
        task = bar.add_task("training", total=settings.n_steps)

        def on_look(look: Look) -> None:
            if on_check is not None:
                on_check(look.done, look.loss, look.validation)
            text = f"loss {look.loss:.4g}, validation {look.validation:.4g}"
            bar.update(task, total=look.end, completed=look.done, description=text)

        trained = train(
            weights,
            PosteriorLoss(static),
            SampledPairs(source, train_key),
            settings.loop,
            validation=_Sample(validation, validation_key),
            checkpoint=checkpoint,
            identity={"settings": asdict(settings), "key": _key_words(key)},
            on_look=on_look,
        )
    return FitResult(
        posterior=eqx.combine(trained.weights, static),
        best_step=trained.best_step,
        best_loss=trained.best_loss,
        steps=trained.steps,
        training_loss=trained.curve[:, 0].tolist(),
        validation_loss=trained.validation.tolist(),
        stopped=trained.stopped,
    )


def _key_words(key: PRNGKeyArray) -> list[int]:
    data = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    return [int(x) for x in data.reshape(-1)]
