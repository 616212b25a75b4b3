"""The choice of a filter's settings by its errors on several streams."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Errors = Callable[[str, int], Float[np.ndarray, "stream cycle"]]
"""(candidate, round) -> its RMSE in every cycle; each round has streams of its own."""


class AllLostError(ValueError):
    """Every candidate loses its truth."""


class Choice(NamedTuple):
    """The best of some candidates.

    Attributes:
        name: of the candidate.
        score: its `pooled_error` on the streams of the last round.
        streams: how many those were.
        scores: of every candidate, each on the streams of the last round that it was in.
    """

    name: str
    score: float
    streams: int
    scores: Mapping[str, float]


def pooled_error(errors: Float[np.ndarray, "stream cycle"], climate_sd: float) -> float:
    """Root mean square of errors over all streams and cycles.

    A stream that loses its truth costs more than a mean of RMSEs would show: 1 % of the cycles at
    the climate's standard deviation make .10 of it .14. A cycle without a finite error, or with
    one beyond that of a state drawn from the climate, sqrt(2) `climate_sd`, counts as such.

    Arguments:
        errors: RMSE of each cycle.
        climate_sd: standard deviation of the climate, same unit.
    """
    worst = np.sqrt(2) * climate_sd
    capped = np.minimum(np.where(np.isfinite(errors), errors, worst), worst)
    return float(np.sqrt(np.mean(capped**2)))


def choose(
    candidates: Sequence[str],
    errors: Errors,
    climate_sd: float,
    *,
    finalists: int = 4,
    say: Callable[[str], None] = lambda text: None,
) -> Choice:
    """Choose the candidate of least `pooled_error`, in two rounds.

    All candidates are cycled in round 0 and the best of them again in round 1, so that the many
    streams that a rare loss needs to show are only spent on those that may win.

    Arguments:
        candidates: names, one at least.
        errors: gives the RMSE of every cycle of a candidate in a round.
        climate_sd: see `pooled_error`.
        finalists: candidates of the second round.
        say: called with each score in words.

    Raises:
        ValueError: if there is no candidate.
        AllLostError: if the best is no better than the climate.
    """
    if not candidates:
        raise ValueError("choose: expected one or more candidates, got none.")
    scores: dict[str, float] = {}
    left, streams = list(candidates), 0
    for number, kept in enumerate((finalists, 1)):
        for name in left:
            found = errors(name, number)
            scores[name], streams = pooled_error(found, climate_sd), len(found)
            say(f"{name}: {scores[name]:.3f} on {streams} streams")
        left = sorted(left, key=scores.__getitem__)[:kept]
    (best,) = left
    if scores[best] >= climate_sd:
        raise AllLostError(
            f"choose: the best of {len(candidates)} candidates, {best!r}, has an error of "
            f"{scores[best]:.3g}, no less than the climate's standard deviation {climate_sd:.3g}; "
            "every one loses its truth: widen the candidates."
        )
    return Choice(best, scores[best], streams, scores)
