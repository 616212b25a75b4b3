"""The training loop: gradient steps in compiled chunks, looked at in between."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vardax_core.training.checkpoint import load_checkpoint, save_checkpoint
from vardax_core.training.convergence import Convergence, judged
from vardax_core.training.objective import AbstractObjective, AbstractPairs
from vardax_core.training.optimizer import OptimizerSettings

LAYOUT = 2
"""Of a checkpoint; one of another layout is refused."""


class NonFiniteLossError(ValueError):
    """Training met losses or gradients that are not finite, more in a row than it may skip."""


@dataclass(frozen=True)
class LoopSettings:
    """How long is trained, and how often looked.

    Attributes:
        optimizer: the update rule; its `steps` are those of the training, unless `longest`
            allows for more.
        chunk: steps between two looks: of one compiled call, and between two checkpoints.
        settle: steps at the start of a chunk that its mean loss leaves out, such as those in
            which a new start is not yet like the rest.
        patience: looks without a better validation loss after which training stops; None trains
            to the end.
        longest: how many times the steps a training may take. As long as its loss still falls,
            the steps are doubled, with a learning rate that rises and falls anew and without
            patience.
    """

    optimizer: OptimizerSettings
    chunk: int
    settle: int = 0
    patience: int | None = None
    longest: int = 1

    def __post_init__(self):
        if self.chunk < 1 or self.longest < 1 or self.settle < 0:
            raise ValueError(
                f"LoopSettings: chunk >= 1, longest >= 1 and settle >= 0 are needed, got "
                f"{self.chunk}, {self.longest} and {self.settle}."
            )
        if self.longest > 1 and self.optimizer.steps % self.chunk:
            raise ValueError(
                f"LoopSettings: a training that may be prolonged needs steps that are a multiple "
                f"of its chunk, got {self.optimizer.steps} and {self.chunk}."
            )

    @property
    def looks(self) -> list[int]:
        """Numbers of steps after which there is a loss, unless the training stops or goes on."""
        return looks_of(self.optimizer.steps, self.chunk)


def looks_of(steps: int, chunk: int) -> list[int]:
    """Ends of the chunks of a training; the last may be shorter."""
    return [*range(chunk, steps, chunk), steps]


class Look(NamedTuple):
    """What is known after a chunk.

    Attributes:
        done: gradient steps.
        end: steps that there will be, unless the training stops or goes on.
        loss: mean over the chunk.
        measures: means over the chunk of the objective's measures.
        validation: loss of the averaged weights on the validation pairs; NaN if there are none.
    """

    done: int
    end: int
    loss: float
    measures: tuple[float, ...]
    validation: float


@dataclass(frozen=True)
class Trained:
    """Trained weights and how their losses went.

    Attributes:
        weights: of the best validation loss, which may be the initial ones; without a validation
            the last ones. Averaged if there is an average.
        steps: numbers of steps at which was looked.
        curve: mean loss and measures of the chunk before.
        validation: loss of the averaged weights; NaN without a validation.
        validated: whether there was one.
        best_step, best_loss: where the validation loss was lowest; without, the last step.
        stopped: whether patience ended the training before its last step.
        skipped: steps left out since their loss or gradient was not finite.
    """

    weights: Any
    steps: list[int]
    curve: Float[np.ndarray, "look measure"]
    validation: Float[np.ndarray, " look"]
    validated: bool
    best_step: int
    best_loss: float
    stopped: bool
    skipped: int

    @property
    def convergence(self) -> Convergence:
        """Whether the training came to its end, by the validation loss if there is one."""
        losses = self.validation if self.validated else self.curve[:, 0]
        return judged(self.steps, losses.tolist(), stopped=self.stopped)


class _Now(eqx.Module):
    """All on the device that changes in training.

    `in_a_row` and `skipped` count steps that were not finite. `bad` holds the step at which they
    were too many, and the first sample there whose loss is not finite, both -1 if there is none.
    """

    weights: Any
    average: Any
    best: Any
    optimizer: Any
    pairs: Any
    best_loss: Array
    best_step: Int[Array, ""]
    stale: Int[Array, ""]
    in_a_row: Int[Array, ""]
    skipped: Int[Array, ""]
    bad: Int[Array, "2"]

    @property
    def shown(self) -> Any:
        """The weights that are validated, and kept."""
        return self.weights if self.average is None else self.average


def train(
    weights: Any,
    objective: AbstractObjective,
    pairs: AbstractPairs,
    settings: LoopSettings,
    *,
    state: Any = None,
    validation: Any = None,
    checkpoint: Path | None = None,
    identity: dict[str, Any] | None = None,
    on_look: Callable[[Look], None] = lambda look: None,
) -> Trained:
    """Lower an objective on what a source of pairs gives.

    Arguments:
        weights: tree of arrays, the starting point.
        objective: what is lowered.
        pairs: what it is lowered on.
        settings: how long.
        state: what the source of pairs carries into the first step; None for one that carries
            nothing, or that makes a new start of its own for every chunk.
        validation: what the objective is given for the validation loss, the same at every look.
        checkpoint: file to go on from if it exists, rewritten after every chunk. A training that
            was killed and started again ends with the same weights, bit for bit, on the same
            machine and software.
        identity: by which a checkpoint is known to be of this training, JSON values.
        on_look: called after every chunk, and after its checkpoint.

    Raises:
        NonFiniteLossError: at one loss or gradient in a row too many that is not finite.
        CheckpointError: if the checkpoint is of another training.
    """
    rule, chunk = settings.optimizer, settings.chunk
    now = _start(weights, rule, state, validated=validation is not None)
    looks = len(looks_of(settings.longest * rule.steps, chunk))
    curve = np.full((looks, 2 + len(objective.measures)), np.nan, now.best_loss.dtype)
    done = 0
    identity = {"layout": LAYOUT, **(identity or {})}
    if checkpoint is not None and checkpoint.exists():
        like = (jnp.asarray(0), now, curve)
        number, now, curve = load_checkpoint(checkpoint, like, identity)
        done = int(number)
    if done == 0 and validation is not None:
        start = eqx.filter_jit(objective.loss)(weights, validation)[0]
        now = dataclasses.replace(now, best_loss=start.astype(now.best_loss.dtype))

    first, end = 0, rule.steps
    while True:
        over = rule.over(end - first)
        if done == first:
            stale = jnp.zeros_like(now.stale)
            now = dataclasses.replace(now, optimizer=over.start(now.weights), stale=stale)
        patience = math.inf
        if first == 0 and settings.patience is not None:
            patience = settings.patience
        while done < end and int(now.stale) < patience:
            count, number = min(chunk, end - done), jnp.asarray(done, jnp.int32)
            carried, rows = pairs.deal(now.pairs, done, count)
            now = dataclasses.replace(now, pairs=carried)
            now, means = _run_chunk(
                now, objective, pairs, rows, validation, number, over, settings.settle
            )
            _refuse_non_finite(now.bad, objective)
            done += count
            curve[-(-done // chunk) - 1] = row = np.asarray(means)
            if checkpoint is not None:
                kept = now if state is not None else dataclasses.replace(now, pairs=None)
                save_checkpoint(checkpoint, (jnp.asarray(done), kept, curve), identity)
            loss, *measures, validation_loss = (float(x) for x in row)
            on_look(Look(done, end, loss, tuple(measures), validation_loss))
        trained = _trained(now, curve, min(done, end), settings, validated=validation is not None)
        if 2 * end > settings.longest * rule.steps or not trained.convergence.falling:
            return trained
        first, end = end, 2 * end


def _start(weights: Any, rule: OptimizerSettings, state: Any, *, validated: bool) -> _Now:
    zero = jnp.zeros((), jnp.int32)
    return _Now(
        weights=weights,
        average=None if rule.average is None else weights,
        best=weights if validated else None,
        optimizer=rule.start(weights),
        pairs=state,
        best_loss=jnp.asarray(jnp.inf, jax.tree.leaves(weights)[0].dtype),
        best_step=zero,
        stale=zero,
        in_a_row=zero,
        skipped=zero,
        bad=jnp.full((2,), -1, jnp.int32),
    )


def _trained(
    now: _Now, curve: np.ndarray, done: int, settings: LoopSettings, *, validated: bool
) -> Trained:
    steps = looks_of(done, settings.chunk)
    rows = curve[: len(steps)]
    return Trained(
        weights=now.best if validated else now.shown,
        steps=steps,
        curve=rows[:, :-1],
        validation=rows[:, -1],
        validated=validated,
        best_step=int(now.best_step) if validated else done,
        best_loss=float(now.best_loss) if validated else float(rows[-1, 0]),
        stopped=done < settings.optimizer.steps,
        skipped=int(now.skipped),
    )


@eqx.filter_jit
def _run_chunk(
    now: _Now,
    objective: AbstractObjective,
    pairs: AbstractPairs,
    rows: Any,
    validation: Any,
    first: Int[Array, ""],
    rule: OptimizerSettings,
    settle: int,
) -> tuple[_Now, Float[Array, " mean"]]:
    """The steps of one chunk, and the means of loss and measures, and the validation loss."""

    def step(carry: tuple, row: Any) -> tuple[tuple, Array]:
        trained, state, count, in_a_row, skipped, bad = carry
        weights, average, optimizer = trained
        given = pairs.given(state, row)
        (loss, found), gradient = jax.value_and_grad(objective.loss, has_aux=True)(weights, given)
        changed, optimizer = rule.update(gradient, optimizer, weights)
        after = (changed, rule.averaged(average, changed, count), optimizer)
        good = _finite(loss, gradient)
        trained = jax.tree.map(lambda a, b: jnp.where(good, a, b), after, trained)
        in_a_row = jnp.where(good, 0, in_a_row + 1)
        skipped = jnp.where(good, skipped, skipped + 1)
        where = jnp.stack([count, _first_bad(found.samples)])
        bad = jnp.where((in_a_row > rule.skip) & (bad[0] < 0), where, bad)
        state = pairs.follow(given, found.outcome)
        return (trained, state, count + 1, in_a_row, skipped, bad), jnp.stack(
            [loss, *found.measures]
        )

    trained = (now.weights, now.average, now.optimizer)
    carry = (trained, now.pairs, first, now.in_a_row, now.skipped, now.bad)
    (trained, state, count, in_a_row, skipped, bad), each = jax.lax.scan(step, carry, rows)
    weights, average, optimizer = trained
    now = dataclasses.replace(
        now,
        weights=weights,
        average=average,
        optimizer=optimizer,
        pairs=state,
        in_a_row=in_a_row,
        skipped=skipped,
        bad=bad,
    )
    means = jnp.mean(each[settle:], axis=0)
    if validation is None:
        return now, jnp.append(means, jnp.nan)
    loss, _ = objective.loss(now.shown, validation)
    better = loss < now.best_loss
    now = dataclasses.replace(
        now,
        best=jax.tree.map(lambda a, b: jnp.where(better, a, b), now.shown, now.best),
        best_loss=jnp.where(better, loss, now.best_loss),
        best_step=jnp.where(better, count, now.best_step),
        stale=jnp.where(better, 0, now.stale + 1),
    )
    return now, jnp.append(means, loss)


def _finite(loss: Array, gradient: Any) -> Array:
    parts = [jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(gradient)]
    return jnp.all(jnp.stack(parts)) & jnp.isfinite(loss)


def _first_bad(samples: Float[Array, " sample"]) -> Int[Array, ""]:
    wrong = ~jnp.isfinite(samples)
    return jnp.where(jnp.any(wrong), jnp.argmax(wrong), -1).astype(jnp.int32)


def _refuse_non_finite(bad: Int[Array, "2"], objective: AbstractObjective) -> None:
    step, sample = (int(x) for x in bad)
    if step < 0:
        return
    which = f"the loss of step {step} is not finite, first at sample {sample} of its batch"
    if sample < 0:
        which = f"a gradient of step {step} is not finite, though all its losses are"
    raise NonFiniteLossError(f"{objective.name}: {which}; {objective.repair}.")
