"""One training loop for every posterior."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vardax_core.analysis.amortized.posterior import AmortizedPosterior
from vardax_core.training.checkpoint import load_checkpoint, save_checkpoint
from vardax_core.training.convergence import Convergence, judged
from vardax_core.training.preparation import trainable
from vardax_core.training.sources import AbstractTrainingSource
from vardax_core.types import Batch


class NonFiniteLossError(ValueError):
    """Training met a loss or a gradient that is not finite."""


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
        longest: how many times `n_steps` a training may take. As long as the validation loss
            still falls, the steps are doubled, with a learning rate that rises and falls anew and
            without patience.
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


class _State(eqx.Module):
    """All that changes in training."""

    weights: Any
    average: Any
    best: Any
    optimizer: Any
    best_loss: Array
    best_step: Array
    stale: Array
    losses: Array


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
    every = settings.check_every
    real = jax.tree.leaves(weights)[0].dtype
    state = _State(
        weights=weights,
        average=weights,
        best=weights,
        optimizer=_start(_optimizer(settings, settings.n_steps), weights),
        best_loss=jnp.asarray(jnp.inf, real),
        best_step=jnp.zeros((), jnp.int32),
        stale=jnp.zeros((), jnp.int32),
        losses=jnp.full((settings.longest * settings.n_steps // every, 2), jnp.nan, real),
    )
    identity = {"settings": asdict(settings), "key": _key_words(key)}
    done = 0
    if checkpoint is not None and checkpoint.exists():
        done, state = _resumed(checkpoint, state, identity)
    train_key, validation_key = jax.random.split(key)
    if done == 0:
        start_loss = eqx.filter_jit(_loss_of)(weights, static, validation, validation_key)[0]
        state = eqx.tree_at(lambda s: s.best_loss, state, start_loss.astype(real))

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not progress, transient=True) as bar:
        task = bar.add_task("training", total=settings.n_steps, completed=done)
        first, end = 0, settings.n_steps
        while True:
            optimizer = _optimizer(settings, end - first)
            run = _compiled(optimizer, settings)
            if done == first:
                fresh = _start(optimizer, state.weights), jnp.zeros((), jnp.int32)
                state = eqx.tree_at(lambda s: (s.optimizer, s.stale), state, fresh)
            patience = math.inf
            if first == 0 and settings.patience is not None:
                patience = settings.patience
            while done < end and int(state.stale) < patience:
                recipe, number = source.recipe(done, every), jnp.asarray(done, jnp.int32)
                state, bad = run(
                    state, static, source, recipe, validation, number, train_key, validation_key
                )
                _refuse_non_finite(bad, done)
                done += every
                if checkpoint is not None:
                    save_checkpoint(checkpoint, (jnp.asarray(done), state), identity)
                training_loss, validation_loss = (float(x) for x in state.losses[done // every - 1])
                if on_check is not None:
                    on_check(done, training_loss, validation_loss)
                text = f"loss {training_loss:.4g}, validation {validation_loss:.4g}"
                bar.update(task, completed=done, description=text)
            result = _result(state, static, min(done, end), every, stopped=done < end)
            if 2 * end > settings.longest * settings.n_steps or not result.convergence.falling:
                return result
            first, end = end, 2 * end
            bar.update(task, total=end)


def _result(state: _State, static: Any, done: int, every: int, *, stopped: bool) -> FitResult:
    losses = state.losses[: done // every].tolist()
    return FitResult(
        posterior=eqx.combine(state.best, static),
        best_step=int(state.best_step),
        best_loss=float(state.best_loss),
        steps=[(i + 1) * every for i in range(len(losses))],
        training_loss=[row[0] for row in losses],
        validation_loss=[row[1] for row in losses],
        stopped=stopped,
    )


def _optimizer(settings: FitSettings, n_steps: int) -> optax.GradientTransformation:
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=settings.learning_rate,
        warmup_steps=max(1, math.ceil(settings.warm_up * n_steps)),
        decay_steps=n_steps,
    )

    def matrices(weights: Any) -> Any:
        return jax.tree.map(lambda w: w.ndim >= 2, weights)

    return optax.chain(
        optax.clip_by_global_norm(settings.clip),
        optax.adamw(schedule, weight_decay=settings.weight_decay, mask=matrices),
    )


def _start(optimizer: optax.GradientTransformation, weights: Any) -> Any:
    with jax.numpy_dtype_promotion("standard"):
        return optimizer.init(weights)


def _loss_of(weights: Any, static: Any, batch: Batch, key: PRNGKeyArray) -> tuple[Array, Array]:
    losses = eqx.combine(weights, static).loss(batch, key)
    return jnp.mean(losses), losses


def _compiled(optimizer: optax.GradientTransformation, settings: FitSettings) -> Callable:
    @eqx.filter_jit
    def run(state, static, source, recipe, validation, first, train_key, validation_key):
        def step(carry: Any, row: Any) -> tuple[Any, Array]:
            weights, average, optimizer_state, count, bad = carry
            batch = source.batch(row)
            key = jax.random.fold_in(train_key, count)
            (loss, losses), grads = jax.value_and_grad(_loss_of, has_aux=True)(
                weights, static, batch, key
            )
            with jax.numpy_dtype_promotion("standard"):
                updates, new_optimizer_state = optimizer.update(grads, optimizer_state, weights)
                # The average is short at first, or the initial weights would never leave it.
                decay = jnp.minimum(settings.ema, (1.0 + count) / (10.0 + count))
            new_weights = optax.apply_updates(weights, updates)
            decay = decay.astype(loss.dtype)
            new_average = jax.tree.map(
                lambda a, w: decay.astype(a.dtype) * a + (1 - decay.astype(a.dtype)) * w,
                average,
                new_weights,
            )
            finite = jnp.all(
                jnp.stack([jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(grads)])
            ) & jnp.isfinite(loss)
            where = jnp.argmax(~jnp.isfinite(losses)).astype(jnp.int32)
            good = finite & (bad[0] < 0)
            found = jnp.stack([count.astype(jnp.int32), where])
            bad = jnp.where((bad[0] < 0) & ~finite, found, bad)
            new = (new_weights, new_average, new_optimizer_state)
            old = (weights, average, optimizer_state)
            kept = jax.tree.map(lambda a, b: jnp.where(good, a, b), new, old)
            return (*kept, count + 1, bad), loss

        bad = jnp.full((2,), -1, jnp.int32)
        carry = (state.weights, state.average, state.optimizer, first, bad)
        (weights, average, optimizer_state, count, bad), losses = jax.lax.scan(step, carry, recipe)
        validation_loss, _ = _loss_of(average, static, validation, validation_key)
        better = validation_loss < state.best_loss
        look = first // settings.check_every
        row = jnp.stack([jnp.mean(losses), validation_loss]).astype(state.losses.dtype)
        return (
            _State(
                weights=weights,
                average=average,
                best=jax.tree.map(lambda a, b: jnp.where(better, a, b), average, state.best),
                optimizer=optimizer_state,
                best_loss=jnp.where(better, validation_loss, state.best_loss),
                best_step=jnp.where(better, count, state.best_step),
                stale=jnp.where(better, 0, state.stale + 1),
                losses=state.losses.at[look].set(row),
            ),
            bad,
        )

    return run


def _resumed(checkpoint: Path, state: _State, identity: dict) -> tuple[int, _State]:
    done, state = load_checkpoint(checkpoint, (jnp.asarray(0), state), identity)
    return int(done), state


def _refuse_non_finite(bad: Array, first: int) -> None:
    step, sample = (int(x) for x in bad)
    if step >= 0:
        raise NonFiniteLossError(
            f"fit: the loss or a gradient of step {step} is not finite, first at sample {sample} "
            "of its batch; look at that batch (source.recipe(step, 1)), lower the learning rate "
            "or the clip, or mend the simulator."
        )


def _key_words(key: PRNGKeyArray) -> list[int]:
    data = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    return [int(x) for x in data.reshape(-1)]
