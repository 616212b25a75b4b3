"""What a method gains over those beside it, in one sentence."""

import math
from collections.abc import Mapping

from vardax_core.calibration.scores import Score, Scores
from vardax_core.words import counted

COMPARED = (("crps_gaussian", "CRPS"), ("rmse", "RMSE"))
"""Scores that a sentence names; the first says which of the others is best."""
REPORTED = (
    ("withheld_crps", "CRPS of withheld observations"),
    ("withheld_rms", "RMS difference from them"),
)
"""Those of real observations."""
WITHHELD = (("withheld_rms", "RMS difference from withheld observations"),)
"""Those where no truth is known."""


def gain(scores: Mapping[str, Scores], primary: str) -> str:
    """Say what a method gains over the best of the others, and whether chance explains it.

    A difference counts as clear if it exceeds the root of the sum of squares of half the two 95 %
    intervals, which is conservative for methods that saw the same observations.

    Arguments:
        scores: by method, on the same cycles.
        primary: the method.

    Returns:
        One sentence; an empty text if there is no other method, or nothing to compare them by.
    """
    others = [name for name in scores if name != primary]
    for compared in (COMPARED, REPORTED, WITHHELD):
        first = compared[0][0]
        known = [name for name in others if _known(scores[name], first)]
        if known and _known(scores[primary], first):
            break
    else:
        return ""
    best = min(known, key=lambda name: scores[name][first])
    said = [
        f"{words} {_change(scores[primary].values[name], scores[best].values[name])}"
        for name, words in compared
    ]
    beside = f", the best of {counted(len(known), 'method')} beside it" if len(known) > 1 else ""
    return f"**{primary}** over **{best}**{beside}: {', '.join(said)}."


def _known(scores: Scores, name: str) -> bool:
    return name in scores.values and math.isfinite(scores[name])


def _change(own: Score, other: Score) -> str:
    change = own.value / other.value - 1
    chance = math.hypot(own.upper - own.lower, other.upper - other.lower) / 2
    if math.isfinite(chance) and abs(own.value - other.value) <= chance:
        return f"not clearly different ({100 * change:+.0f} %)"
    return f"{100 * abs(change):.0f} % {'lower' if change < 0 else 'higher'}"
