"""The spread of a trained analysis, made to match its errors in cycles of its own."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.local_transform import LocalTransformStep
from vardax_core.models.base import AbstractForecastModel
from vardax_core.training.nature import Nature
from vardax_core.training.observing import AbstractObservingSystem
from vardax_core.training.root_finding import NORMAL_95, find_root
from vardax_core.training.twin_cycles import TwinPlan
from vardax_core.training.twin_scores import Twins
from vardax_core.words import counted

LEAST_SHARE = 0.75
"""Of the streams that must stay near their truths."""
TOLERANCE = 0.02
"""Distance of spread / RMSE from 1 that is left alone."""


class LostStreamsError(ValueError):
    """Too many streams do not stay near their truths."""


class SpreadRatio(NamedTuple):
    """Spread over RMSE of one ensemble size, over all streams and cycles together.

    Attributes:
        members: ensemble size.
        ratio: root of the mean variance over the mean squared error; 1 if calibrated, since the
            members are laid out about the mean and are no draws from a common distribution.
        error: standard error of its logarithm, from the differences among streams.
    """

    members: int
    ratio: float
    error: float

    @property
    def log(self) -> float:
        """Logarithm of the ratio; its absolute value is the departure from a calibrated spread."""
        return math.log(self.ratio)

    def __str__(self) -> str:
        return f"{self.ratio:.3f} +- {NORMAL_95 * self.error * self.ratio:.3f}"


@dataclass(frozen=True)
class SpreadCalibration:
    """What the correction of a spread did.

    Attributes:
        before, after: of each ensemble size, of the analysis as given and as returned, on streams
            that decided nothing but which of the two it is.
        moved: what was added to the bias of the inflation; 0 if the analysis is as given.
        trials: moves tried, with the largest departure of the ratios there, NaN where too many
            streams were lost.
        converged: whether every size is calibrated to `TOLERANCE` or to the noise.
    """

    before: tuple[SpreadRatio, ...]
    after: tuple[SpreadRatio, ...]
    moved: float
    trials: tuple[tuple[float, float], ...]
    converged: bool

    @property
    def words(self) -> str:
        """The outcome in a sentence."""
        sizes = "; ".join(
            f"{b.members} members {b} before, {a} now"
            for b, a in zip(self.before, self.after, strict=True)
        )
        if self.converged:
            clear = all(NORMAL_95 * ratio.error <= TOLERANCE for ratio in self.after)
            known = "" if clear else " as far as the noise lets tell"
            return f"Spread over RMSE is 1, as it should be{known}: {sizes}."
        kept = "the best correction was kept" if self.moved else "no correction was any better"
        apart = ", or on each number of members by itself" if len(self.after) > 1 else ""
        return (
            f"Spread over RMSE did not come within {100 * TOLERANCE:g} % of 1, where the spread "
            f"tells the error, in {counted(len(self.trials), 'trial')}; {kept}: {sizes}. Train "
            f"longer{apart}."
        )

    def numbers(self) -> dict[str, Any]:
        """All of it as JSON values, none of them NaN."""
        trials = [[moved, None if math.isnan(at) else at] for moved, at in self.trials]
        return asdict(self) | {
            "before": [r._asdict() for r in self.before],
            "after": [r._asdict() for r in self.after],
            "trials": trials,
            "finished": self.converged,
            "words": self.words,
        }


def calibrate_spread(
    step: LocalTransformStep,
    model: AbstractForecastModel,
    observing: AbstractObservingSystem,
    near: Float[Array, "*state"],
    plan: TwinPlan,
    *,
    sizes: Sequence[int] = (),
    trials: int = 8,
    repeats: int = 4,
    nature: Nature | None = None,
    key: PRNGKeyArray,
) -> tuple[LocalTransformStep, SpreadCalibration]:
    """Move the inflation of an analysis until its spread is its error, over long cycles.

    The training's score weighs streams far from their truth less, and a rare large error counts
    little in a log-density, so that the variance of all cycles together may fall short of their
    squared error. One number, the bias of the network's inflation, is moved to the root of the
    ratio's logarithm; how strongly a cycle responds to it is found on the way, see `find_root`.
    With several sizes it is the middle of the largest and the smallest logarithm, so that the
    worst of them is as good as one number can make it. Where nothing is observed in reach the
    bias has no effect. Streams whose cold start the analysis did not survive are left out.

    All trials see the same truths and observations. The best of them is then held against the
    analysis as given on new ones, and only returned if its worst size is better there.

    Arguments:
        step: the trained analysis.
        model: of the forecast.
        observing: what each cycle observes.
        near: a state from whose surroundings the model finds its attractor.
        plan: twins of one measurement and how long they are cycled.
        sizes: ensemble sizes that the analysis is to serve; that of the plan by default.
        trials: moves tried at most.
        repeats: how often a measurement is repeated on further twins at most, until a ratio near
            1 is known to `TOLERANCE`.
        nature: makes the truths; the forecast's own model, without error, if there is none.
        key: everything random follows from it.

    Raises:
        LostStreamsError: if too many streams lose their truth with the analysis as given.

    Source: Fortin et al. (2014), doi:10.1175/JHM-D-14-0008.1, on which spread is to match which
    error.
    """
    search_key, check_key = jax.random.split(key)
    sizes = tuple(sizes) or (plan.members,)
    twins = Twins(model, observing, near, plan, nature)
    worst: dict[float, float] = {}

    def shifted(moved: float) -> LocalTransformStep:
        bias = step.network.last.bias
        return eqx.tree_at(lambda s: s.network.last.bias, step, bias.at[-2].add(moved))

    def ratios(moved: float, k: PRNGKeyArray) -> tuple[SpreadRatio, ...]:
        return tuple(_measured(twins, shifted(moved), n, repeats, k) for n in sizes)

    def middle(moved: float) -> tuple[float, float]:
        worst[moved] = math.nan
        try:
            found = ratios(moved, search_key)
        except LostStreamsError:
            if moved == 0:
                raise
            return math.nan, math.nan
        worst[moved] = _worst(found)
        logs = [r.log for r in found]
        return 0.5 * (max(logs) + min(logs)), max(r.error for r in found)

    find_root(middle, tolerance=TOLERANCE, trials=trials)
    best = min((at for at in worst if math.isfinite(worst[at])), key=worst.__getitem__)
    before = after = ratios(0.0, check_key)
    if best != 0:
        try:
            after = ratios(best, check_key)
        except LostStreamsError:
            best = 0.0
        if not _worst(after) < _worst(before):
            best, after = 0.0, before
    return shifted(best), SpreadCalibration(
        before=before,
        after=after,
        moved=best,
        trials=tuple(worst.items()),
        converged=all(abs(r.log) <= max(TOLERANCE, NORMAL_95 * r.error) for r in after),
    )


def _worst(ratios: tuple[SpreadRatio, ...]) -> float:
    return max(abs(r.log) for r in ratios)


def _measured(
    twins: Twins, step: LocalTransformStep, members: int, repeats: int, key: PRNGKeyArray
) -> SpreadRatio:
    """The ratio of an analysis, repeated as often as its noise needs.

    Raises:
        LostStreamsError: if too many streams lose their truth.
    """
    twins = twins._replace(plan=twins.plan._replace(members=members))
    found = np.empty((0, 2))
    for number in range(repeats):
        new = twins.scores(step, jax.random.fold_in(key, number))
        found = np.concatenate([found, np.stack([new.variance, new.squared_error], axis=1)])
        near_truth = np.isfinite(found).all(axis=1) & (found[:, 1] < step.scale**2)
        if near_truth.sum() < LEAST_SHARE * len(found):
            raise LostStreamsError(
                f"calibrate_spread: {near_truth.sum()} of {len(found)} streams stayed within "
                f"the climate's standard deviation of their truth with {members} members, "
                f"{LEAST_SHARE:.0%} are needed; train the analysis longer."
            )
        ratio = _ratio(members, found[near_truth])
        if NORMAL_95 * ratio.error <= max(TOLERANCE, 0.5 * abs(ratio.log)):
            break
    return ratio


def _ratio(members: int, streams: Float[np.ndarray, "stream 2"]) -> SpreadRatio:
    """Of mean variances and mean squared errors of streams; the error by the delta method."""
    means = np.maximum(streams.mean(axis=0), np.finfo(float).tiny)
    each = 0.5 * (streams[:, 0] / means[0] - streams[:, 1] / means[1])
    error = float(each.std(ddof=1) / np.sqrt(len(each)))
    return SpreadRatio(members, float(np.sqrt(means[0] / means[1])), error)
