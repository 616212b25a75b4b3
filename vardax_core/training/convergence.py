"""Whether a training came to its end, said by the losses that it left."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from vardax_core.words import counted

WINDOW = 8
"""A loss is averaged over this fraction of a training, to tell it from noise."""
WORTHWHILE = 0.01
"""Share of the whole fall that the second half of a training must bring to be worth going on."""
CERTAIN = 2.0
"""Standard errors from which on a fall is believed."""
WILD = 2.0
"""Whole falls above the last loss from which on a loss is wild: as bad as if nothing were learned,
and once more."""
NORMAL_MAD = 1.4826
VERDICTS = ("first_guess", "convergence", "share", "spread")
"""Names of verdicts in the metadata of a model version."""
SETTLED = 5
"""What a loss does in this fraction of a training at its start says nothing about it."""


@dataclass(frozen=True)
class Convergence:
    """A verdict on a training.

    Attributes:
        steps: gradient steps done.
        best_step: after which the loss was lowest.
        brought: fall of the loss over the second half of the steps.
        noise: standard error of that fall.
        whole: fall of the loss over all steps.
        wild: steps and losses that were not finite or as if nothing were learned, after the start.
        stopped: whether the training stopped by itself, since it no longer improved.
    """

    steps: int
    best_step: int
    brought: float
    noise: float
    whole: float
    wild: tuple[tuple[int, float], ...]
    stopped: bool

    @property
    def finished(self) -> bool:
        """Whether more steps have little to bring, and no loss was wild."""
        return not self.falling and not self.wild

    @property
    def falling(self) -> bool:
        """Whether the loss still fell at the end, by more than noise and little things."""
        enough = max(CERTAIN * self.noise, WORTHWHILE * self.whole)
        return not self.stopped and not self.brought <= enough

    @property
    def words(self) -> str:
        """The verdict in a sentence or two."""
        if self.stopped:
            said = f"Training is done: no better loss since step {self.best_step} of {self.steps}."
        elif np.isnan(self.brought):
            said = (
                f"Training of {self.steps} steps is too short to tell whether it is done; give it "
                "more steps."
            )
        elif self.falling:
            said = (
                f"Training is not done: the second half of its {self.steps} steps lowered the loss "
                f"by {self.brought:.3g} of {self.whole:.3g} in all; give it more steps."
            )
        elif self.brought > WORTHWHILE * self.whole:
            said = (
                f"Training is done as far as its noise lets tell: the second half of its "
                f"{self.steps} steps lowered the loss by {self.brought:.2g} +- "
                f"{CERTAIN * self.noise:.2g}."
            )
        elif self.brought > 0:
            said = (
                f"Training is done: the second half of its {self.steps} steps lowered the loss by "
                f"{self.brought:.3g} of {self.whole:.3g} in all."
            )
        else:
            said = (
                f"Training is done: the loss no longer fell in the second half of its {self.steps} "
                "steps."
            )
        if self.wild:
            step, loss = self.wild[0]
            stretches = counted(len(self.wild), "such stretch", "such stretches")
            said += (
                f" It was unsteady: around step {step} the loss was {loss:.3g} "
                f"({stretches}); lower the learning rate, or look at what it was given there."
            )
        return said

    def numbers(self) -> dict[str, Any]:
        """All of it as JSON values, None for what is not finite."""
        wild = [list(pair) for pair in self.wild]
        said = {"wild": wild, "finished": self.finished, "words": self.words}
        return _finite_or_none(asdict(self) | said)


def judged(
    steps: Sequence[int] | Int[np.ndarray, " look"],
    losses: Sequence[float] | Float[np.ndarray, " look"],
    *,
    stopped: bool = False,
) -> Convergence:
    """Judge a training by its curve of losses.

    What the second half of the steps brought is the difference of the mean losses of the last
    eighth of either half, so that trainings whose learning rate rises and falls again in every
    half are judged where it is low.

    Arguments:
        steps: numbers of steps at which there are losses, rising.
        losses: validation losses, or training losses averaged since the one before.
        stopped: whether the training stopped by itself, since it no longer improved.

    Raises:
        ValueError: if there are no losses, or not one for each number of steps.
    """
    if not len(losses) or len(steps) != len(losses):
        raise ValueError(
            f"judged: expected a loss for each of one or more numbers of steps, got {len(losses)} "
            f"losses and {len(steps)} numbers of steps."
        )
    numbers, curve = np.asarray(steps), np.asarray(losses, float)
    usable = np.isfinite(curve)
    best = numbers[np.argmin(np.where(usable, curve, np.inf))] if usable.any() else 0
    count = len(curve)
    brought = noise = whole = np.nan
    wild = ~usable
    if count >= 4:
        length = max(1, count // (2 * WINDOW))
        middle, end = curve[: count // 2][-length:], curve[-length:]
        brought = float(np.median(middle) - np.median(end))
        scatter = np.nanmedian(np.abs(np.diff(np.where(usable, curve, np.nan), n=2)))
        noise = float(NORMAL_MAD * scatter / np.sqrt(6) * np.sqrt(2 / length))
        last = float(np.median(end))
        whole = float(curve[0] - last)
        level = last + WILD * max(whole, 0.0) + 10 * noise * np.sqrt(length)
        late = np.arange(count) >= count // SETTLED
        wild |= late & (curve > level)
    return Convergence(
        steps=int(numbers[-1]),
        best_step=int(best),
        brought=brought,
        noise=noise,
        whole=whole,
        wild=tuple((int(numbers[i]), float(curve[i])) for i in np.flatnonzero(wild)),
        stopped=stopped,
    )


def verdicts_of(metadata: dict[str, Any]) -> list[tuple[bool, str]]:
    """The verdicts that a training left beside its weights: whether all is well, and the words.

    Arguments:
        metadata: of a model version; that of weights made before there were verdicts has none.
    """
    found = [metadata[name] for name in VERDICTS if name in metadata]
    return [(verdict["finished"], verdict["words"]) for verdict in found]


def _finite_or_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite_or_none(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite_or_none(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
