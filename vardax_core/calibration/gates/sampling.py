"""Gates on the ranks of held-out truths: calibration, coverage and TARP."""

from typing import NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Float

from vardax_core.calibration.gates.base import (
    FAMILY_LEVEL,
    SMALLEST_STRATUM,
    AbstractGate,
    GateResult,
    Picture,
    StratumResult,
    unsaid,
)
from vardax_core.calibration.gates.context import GateContext, RankTable
from vardax_core.calibration.gates.nulls import EXACT, Tolerance, ecdf_null, rank_null

LISTED = 3
"""Worst quantities that a message names."""
READING = (
    "Grey is what chance makes of a right ensemble. A curve above zero and then below: the members "
    "lie too close together; below and then above: too far apart. Above zero throughout: they lie "
    "too high; below throughout: too low."
)
FORGIVING = (
    "The gates forgive small faults (see 'forgiven' below), so that a curve may leave the grey a "
    "little and pass."
)


class _Tested(NamedTuple):
    """p-values of every quantity, uncorrected.

    Attributes:
        smallest: the smallest of the tests of each quantity.
        tests: how many tests each quantity had.
        location, scale: standardised mean rank and mean score of dispersion, for messages.
    """

    smallest: Float[np.ndarray, " quantity"]
    tests: int
    location: Float[np.ndarray, " quantity"]
    scale: Float[np.ndarray, " quantity"]


class RankGate(AbstractGate):
    """The ranks of the truth among the draws are uniform, for every quantity of one family.

    Of every quantity the mean rank (bias), the mean squared distance of the rank from the middle
    (spread) and the empirical distribution against its simultaneous band are tested, the first two
    also within every stratum. The p-values are exact; Bonferroni's factor over all tests makes the
    gate's false-alarm rate hold at any size of state and under any correlation.

    Attributes:
        name: what reports call it.
        family: the ranks that are tested, see `GateContext.tables`.
        tolerance: what is forgiven; with one, the empirical distribution is not tested.
        what: what the quantities are, in words.

    Source: Talts et al. (2018), arXiv:1804.06788; Sailynoja et al. (2022),
        doi:10.1007/s11222-022-10090-6; Lemos et al. (2023), arXiv:2302.03026 (TARP)
    """

    name: str = eqx.field(static=True)
    family: str = eqx.field(static=True)
    what: str = eqx.field(static=True)
    tolerance: Tolerance = eqx.field(static=True, default=EXACT)

    @property
    def statistical(self) -> bool:
        return True

    def check(self, context: GateContext, *, level: float = FAMILY_LEVEL) -> GateResult:
        table = context.tables.get(self.family)
        if table is None:
            return unsaid(self.name, f"the context has no ranks of {self.what}", level=level)
        if not table.ranks.size:
            return unsaid(self.name, "there are no pairs with a truth", level=level)
        parts = {"all": np.ones(context.n, bool), **strata_of(context)}
        tested = {
            name: self._test(table, table.ranks[chosen], whole=name == "all")
            for name, chosen in parts.items()
        }
        total = sum(t.tests * len(t.smallest) for t in tested.values())
        strata = []
        for name, found in tested.items():
            worst = int(np.argmin(found.smallest))
            p_value = min(1.0, float(found.smallest[worst]) * found.tests * len(found.smallest))
            chosen = int(parts[name].sum())
            strata.append(StratumResult(name, chosen, p_value, table.names[worst]))
        strata.sort(key=lambda stratum: stratum.p_value)
        smallest = min(float(t.smallest.min()) for t in tested.values())
        corrected = min(1.0, total * smallest)
        passed = corrected > level
        return GateResult(
            name=self.name,
            passed=passed,
            statistic=smallest,
            threshold=level / total,
            p_value=corrected,
            level=level,
            n=context.n,
            strata=tuple(strata),
            message=self._message(passed, strata[0], tested, table),
            picture=self._picture(table, tested["all"], level),
        )

    def _test(self, table: RankTable, ranks: np.ndarray, *, whole: bool) -> _Tested:
        n = len(ranks)
        null = rank_null(n, table.draws, self.tolerance)
        sums = ranks.sum(axis=0, dtype=np.int64)
        scores = null.scores.astype(np.uint8)[ranks].sum(axis=0, dtype=np.int64)
        smallest = np.minimum(null.location[sums], null.dispersion[scores])
        tests = 2
        if whole and self.tolerance.exact:
            tests = 3
            pointwise = np.ones(ranks.shape[1])
            ecdf = ecdf_null(n, table.draws)
            for row, threshold in enumerate(ecdf.thresholds):
                counts = np.count_nonzero(ranks <= threshold, axis=0)
                pointwise = np.minimum(pointwise, ecdf.pointwise[row][counts])
            smallest = np.minimum(smallest, ecdf.p_value(pointwise))
        uniform = np.arange(table.draws + 1)
        return _Tested(
            smallest=smallest,
            tests=tests,
            location=(sums / n - uniform.mean()) / (uniform.std() / np.sqrt(n)),
            scale=(scores / n - null.scores.mean()) / (max(null.scores.std(), 1e-9) / np.sqrt(n)),
        )

    def _message(
        self,
        passed: bool,
        worst: StratumResult,
        tested: dict[str, _Tested],
        table: RankTable,
    ) -> str:
        where = "" if worst.name == "all" else f" where {worst.name} ({worst.n} cases)"
        if passed:
            return (
                f"the truth falls evenly among the members in {len(table.names)} {self.what}; "
                f"least evenly in {worst.quantity}{where}"
            )
        found = tested[worst.name]
        order = np.argsort(found.smallest)[:LISTED]
        named = "; ".join(
            f"{table.names[k]}: {_words(found.location[k], found.scale[k])}" for k in order
        )
        return f"the truth does not fall evenly among the members, in {self.what}{where}: {named}"

    def _picture(self, table: RankTable, tested: _Tested, level: float) -> Picture:
        null = ecdf_null(len(table.ranks), table.draws)
        order = np.argsort(tested.smallest)[:LISTED]
        counts = np.stack(
            [[np.count_nonzero(table.ranks[:, k] <= t) for t in null.thresholds] for k in order]
        )
        lower, upper = null.band(level)
        adjusted = null.band(level / len(table.names))
        return Picture(
            kind="ecdf_difference",
            title=f"{self.name}: where the truth falls among the members",
            data={
                "levels": null.cumulative,
                "curves": {table.names[k]: c / null.n for k, c in zip(order, counts, strict=True)},
                "band": (lower / null.n, upper / null.n),
                "all_band": (adjusted[0] / null.n, adjusted[1] / null.n),
                "of": len(table.names),
                "n": null.n,
            },
            reading=READING if self.tolerance.exact else f"{READING} {FORGIVING}",
        )


def _words(location: float, scale: float) -> str:
    if abs(location) > abs(scale):
        side = "low" if location > 0 else "high"
        return f"ensemble too {side} (by {abs(location):.1f} standard errors)"
    side = "narrow" if scale > 0 else "wide"
    return f"ensemble too {side} (by {abs(scale):.1f} standard errors)"


def strata_of(context: GateContext) -> dict[str, np.ndarray]:
    """The pairs of every stratum that has enough of them and is not all of them."""
    found = {}
    for name, labels in context.strata.items():
        for label in np.unique(labels):
            chosen = labels == label
            if SMALLEST_STRATUM <= chosen.sum() < context.n:
                found[f"{name} = {label}"] = chosen
    return found


def coordinate_gate(tolerance: Tolerance = EXACT) -> RankGate:
    """Simulation-based calibration of every point of the state."""
    return RankGate("coordinates", "coordinates", "points of the state", tolerance)


def projection_gate(tolerance: Tolerance = EXACT) -> RankGate:
    """Simulation-based calibration of means and differences at all scales, and of random
    directions; what is wrong with the correlations shows here."""
    return RankGate("projections", "projections", "means and differences of points", tolerance)


def quantity_gate(tolerance: Tolerance = EXACT) -> RankGate:
    """Simulation-based calibration of the quantities of interest."""
    return RankGate("quantities", "quantities", "quantities of interest", tolerance)


def density_gate() -> RankGate:
    """Expected coverage of highest-density regions, through the log-density.

    Source: Hermans et al. (2022), arXiv:2110.06581
    """
    return RankGate("density coverage", "density", "levels of highest density")


def tarp_gate() -> RankGate:
    """Expected coverage of balls around random points."""
    return RankGate("TARP coverage", "tarp", "balls around random points")
