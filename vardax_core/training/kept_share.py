"""How much of a trained correction is kept, by what it is worth in cycles of its own."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.local_transform import LocalTransformStep
from vardax_core.models.base import AbstractForecastModel
from vardax_core.training.nature import Nature
from vardax_core.training.observing import AbstractObservingSystem
from vardax_core.training.root_finding import NORMAL_95
from vardax_core.training.twin_cycles import TwinPlan
from vardax_core.training.twin_scores import Twins

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the correction that are tried; with none of it an analysis is its first guess."""


@dataclass(frozen=True)
class KeptShare:
    """Which share of a correction was kept.

    Attributes:
        share: that of the lowest score, none where this is no lower than that of the first guess
            on twins that did not choose it.
        tried: each share with its CRPS, unit of the state.
        gain: by how much the CRPS of the share is lower than that of the first guess on further
            twins, as a fraction of the latter; 0 where none is kept.
        error: standard error of `gain`, from the differences among streams.
    """

    share: float
    tried: tuple[tuple[float, float], ...]
    gain: float
    error: float

    @property
    def words(self) -> str:
        """The outcome in a sentence."""
        if self.share == 0:
            return (
                "In cycles of its own the trained correction was worth no more than the filter "
                "that it corrects: the filter is used. Train longer."
            )
        return (
            f"In cycles of its own the correction lowers the CRPS of the filter by "
            f"{100 * self.gain:.1f} % +- {100 * NORMAL_95 * self.error:.1f} %; "
            f"{100 * self.share:g} % of it is kept."
        )

    def numbers(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return asdict(self) | {"finished": self.share > 0, "words": self.words}


def keep_best_share(
    step: LocalTransformStep,
    model: AbstractForecastModel,
    observing: AbstractObservingSystem,
    near: Float[Array, "*state"],
    plan: TwinPlan,
    *,
    nature: Nature | None = None,
    key: PRNGKeyArray,
) -> tuple[LocalTransformStep, KeptShare]:
    """Scale a network's correction of its first guess to what is best in long cycles.

    A training lowers the score of single cycles, and its last weights are not always those that
    cycle best; where the correction is worth less than nothing the first guess comes back, bit for
    bit. All shares see the same truths and observations. The best is then held against the first
    guess on new ones.

    Arguments:
        step: the trained analysis, with a first guess.
        model: of the forecast.
        observing: what each cycle observes.
        near: a state from whose surroundings the model finds its attractor.
        plan: twins of one measurement and how long they are cycled.
        nature: makes the truths; the forecast's own model, without error, if there is none.
        key: everything random follows from it.

    Raises:
        ValueError: if the step has no first guess.
    """
    if step.first_guess is None:
        raise ValueError(
            "keep_best_share: expected an analysis that corrects a first guess, got one without; "
            "keep the whole of it."
        )
    choice_key, check_key = jax.random.split(key)
    twins = Twins(model, observing, near, plan, nature)

    def crps(share: float, k: PRNGKeyArray) -> Float[np.ndarray, " stream"]:
        # A stream without a finite score has lost its truth, and is as good as the climate.
        found = twins.scores(_scaled(step, share), k).crps
        return np.where(np.isfinite(found), found, step.scale)

    tried = {share: float(np.mean(crps(share, choice_key))) for share in SHARES}
    best = min(SHARES, key=tried.__getitem__)
    gain = error = 0.0
    if best:
        before, after = (crps(share, check_key) for share in (0.0, best))
        saved = before - after
        gain = float(saved.mean() / before.mean())
        error = float(saved.std(ddof=1) / math.sqrt(len(saved)) / before.mean())
        if not gain > 0:
            best = gain = error = 0.0
    return _scaled(step, best), KeptShare(best, tuple(tried.items()), gain, error)


def _scaled(step: LocalTransformStep, share: float) -> LocalTransformStep:
    """The step with a share of its correction, which is linear in the network's last layer but for
    the bounds of inflation and mean."""
    last = step.network.last
    scaled = jax.tree.map(lambda w: jnp.asarray(share, w.dtype) * w, last)
    return eqx.tree_at(lambda s: s.network.last, step, scaled)
