"""Gates on the agreement of a posterior with an oracle that knows it."""

import equinox as eqx
import numpy as np
from jaxtyping import Float
from scipy.special import chdtr, chdtrc, ndtr

from vardax_core.calibration.gates.base import (
    FAMILY_LEVEL,
    AbstractGate,
    GateResult,
    Picture,
    StratumResult,
    unsaid,
)
from vardax_core.calibration.gates.context import GateContext
from vardax_core.calibration.gates.nulls import rank_null
from vardax_core.calibration.gates.sampling import strata_of


class OracleMarginalsGate(AbstractGate):
    """Every point's draws have the mean and the spread of an oracle's Gaussian posterior.

    With w = (draw - oracle mean) / oracle sd of N draws, the sum of w is N(0, N) and that of w^2
    chi-square with N degrees of freedom, exactly; Bonferroni's factor over points and strata makes
    the false-alarm rate independent of the size of the state.

    Attributes:
        name: what reports call it.
    """

    name: str = eqx.field(static=True, default="oracle marginals")

    @property
    def statistical(self) -> bool:
        return True

    def check(self, context: GateContext, *, level: float = FAMILY_LEVEL) -> GateResult:
        sums = context.oracle
        if sums is None or not sums.total.size:
            return unsaid(self.name, "no oracle gave its mean and spread", level=level)
        parts = {"all": np.ones(context.n, bool), **strata_of(context)}
        strata, smallest, tests = [], 1.0, 0
        z = ratio = np.zeros(0)
        for name, chosen in parts.items():
            count = float(chosen.sum() * sums.draws)
            weights = chosen.astype(sums.total.dtype)
            standard = (weights @ sums.total).astype(float) / np.sqrt(count)
            squares = (weights @ sums.squares).astype(float)
            p = np.minimum(2 * ndtr(-np.abs(standard)), _two_sided_chi2(squares, count))
            if name == "all":
                z, ratio = standard, np.sqrt(squares / count)
            worst = int(np.argmin(p))
            tests += 2 * len(p)
            smallest = min(smallest, float(p[worst]))
            corrected = min(1.0, 2 * len(p) * float(p[worst]))
            strata.append(StratumResult(name, int(chosen.sum()), corrected, f"point {worst}"))
        strata.sort(key=lambda stratum: stratum.p_value)
        p_value = min(1.0, tests * smallest)
        passed = p_value > level
        worst_part = strata[0]
        text = "agrees with the oracle" if passed else "differs from the oracle"
        return GateResult(
            name=self.name,
            passed=passed,
            statistic=smallest,
            threshold=level / tests,
            p_value=p_value,
            level=level,
            n=context.n,
            strata=tuple(strata),
            message=(
                f"the posterior {text} at {len(z)} points (p = {p_value:.2g}), most at "
                f"{worst_part.quantity} of {worst_part.name}; over all pairs the largest bias is "
                f"{np.max(np.abs(z)) / np.sqrt(context.n * sums.draws):.3f} sd, ratios of spreads "
                f"lie in {ratio.min():.3f} to {ratio.max():.3f}"
            ),
            picture=Picture(
                kind="normal_quantiles",
                title=f"{self.name}, from {context.n * sums.draws} draws at {len(z)} points",
                data={"z": np.sort(z), "ratio": np.sort(ratio), "n": context.n * sums.draws},
            ),
        )


def _two_sided_chi2(squares: Float[np.ndarray, " n"], count: float) -> Float[np.ndarray, " n"]:
    tails = np.minimum(chdtr(count, squares), chdtrc(count, squares))
    return np.minimum(2 * tails, 1.0)


class OracleSamplesGate(AbstractGate):
    """Model and oracle draw from one distribution, as quantiles of z, ratio of spreads and sliced
    Wasserstein distance see it.

    Every pair ranks its statistics among those of the same draws with labels exchanged at random.
    The ranks are uniform if the two distributions are one, whatever it is and however large.

    Attributes:
        name: what reports call it.

    Source: Bonneel et al. (2015), doi:10.1007/s10851-014-0506-3 (sliced Wasserstein distance)
    """

    name: str = eqx.field(static=True, default="oracle samples")

    @property
    def statistical(self) -> bool:
        return True

    def check(self, context: GateContext, *, level: float = FAMILY_LEVEL) -> GateResult:
        table = context.tables.get("agreement")
        if table is None or not table.ranks.size:
            return unsaid(self.name, "no oracle gave draws", level=level)
        parts = {"all": np.ones(context.n, bool), **strata_of(context)}
        strata = []
        for name, chosen in parts.items():
            null = rank_null(int(chosen.sum()), table.draws)
            p = null.location[table.ranks[chosen].sum(axis=0, dtype=np.int64)]
            worst = int(np.argmin(p))
            corrected = min(1.0, len(p) * float(p[worst]))
            strata.append(StratumResult(name, int(chosen.sum()), corrected, table.names[worst]))
        strata.sort(key=lambda stratum: stratum.p_value)
        p_value = min(1.0, len(parts) * strata[0].p_value)
        passed = p_value > level
        text = "agree" if passed else "differ"
        return GateResult(
            name=self.name,
            passed=passed,
            statistic=strata[0].p_value,
            threshold=level / len(parts),
            p_value=p_value,
            level=level,
            n=context.n,
            strata=tuple(strata),
            message=(
                f"draws of model and oracle {text} (p = {p_value:.2g}), most in "
                f"{strata[0].quantity} of {strata[0].name}"
            ),
        )
