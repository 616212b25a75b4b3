"""Gates on what a correction of an interpolation of real observations is worth."""

import math

from vardax_core.calibration.gates.base import run_gates, unsaid
from vardax_core.calibration.gates.context import GateContext
from vardax_core.calibration.gates.report import Judgement
from vardax_core.calibration.gates.trial import SCORES, SPREAD_FAULT, Interval, ScoreGate
from vardax_core.training.record_scores import COVERAGE, RATIO, HeldOut
from vardax_core.training.registry import ModelVersion
from vardax_core.words import counted

EXPLAINED = (
    f"{SCORES} The scores are of withheld values at times that were held out: predicted by the "
    "same training without these times, beside the interpolation that it corrects; spread and "
    "interval hold the errors of the observations, too."
)
KEPT = (
    "The network was not surely better than the interpolation that it corrects, so that these "
    "weights are the interpolation as it is and have nothing to prove."
)
HELD_OUT = "held_out"
"""Under which a training records the scores of its siblings."""


def judge_withheld(version: ModelVersion) -> Judgement:
    """Run the gates on withheld observations of days that siblings of the weights did not see.

    Weights that change nothing are the interpolation itself and have nothing to prove.

    Arguments:
        version: with what its training recorded.
    """
    kept = version.manifest["metadata"].get(HELD_OUT)
    if kept is None:
        why = "the training recorded no scores of withheld observations; train again"
        return Judgement((unsaid("withheld", why),), {}, {"trial": "none"}, EXPLAINED)
    found = HeldOut(**{name: kept[name] for name in HeldOut._fields})
    gain = Interval(found.gain, found.low, found.high)
    spread = Interval(found.spread_over_rmse, math.nan, math.nan)
    coverage = Interval(found.coverage_90, math.nan, math.nan)
    gates: tuple[ScoreGate, ...] = ()
    explained = EXPLAINED
    provenance = {"trial": f"{counted(found.number, 'withheld observation')} of held-out days"}
    if not kept["kept"]:
        gain = Interval(1.0, 1.0, 1.0)
        provenance["trial"] += "; the interpolation is kept as it is"
        explained = KEPT
    else:
        gates = (
            _gate("spread", "spread/RMSE", spread, found, RATIO, SPREAD_FAULT),
            _gate(
                "coverage",
                "share of observations in the 90 % interval",
                coverage,
                found,
                COVERAGE,
                SPREAD_FAULT,
            ),
        )
    skill = _gate(
        "skill",
        "CRPS over that of the interpolation",
        gain,
        found,
        (-math.inf, 1.0),
        "the interpolation alone is better",
    )
    results = run_gates((skill, *gates), GateContext(tables={}))
    scores = {
        "crps_gaussian": found.crps,
        "spread_over_rmse": found.spread_over_rmse,
        "coverage_90": found.coverage_90,
    }
    return Judgement(results, scores, provenance, explained)


def _gate(
    name: str,
    score: str,
    value: Interval,
    found: HeldOut,
    allowed: tuple[float, float],
    fault: str,
) -> ScoreGate:
    return ScoreGate(name, score, {"withheld observations": value}, found.number, *allowed, fault)
