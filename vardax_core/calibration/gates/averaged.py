"""Gate: the average of all posteriors is the distribution of the truths."""

import equinox as eqx
import numpy as np

from vardax_core.calibration.gates.base import (
    FAMILY_LEVEL,
    AbstractGate,
    GateResult,
    Picture,
    StratumResult,
    unsaid,
)
from vardax_core.calibration.gates.context import GateContext

CUTS = np.linspace(0.1, 0.9, 9)


class AveragedPosteriorGate(AbstractGate):
    """The draws of all pairs together are distributed as the truths are.

    The statistic is the largest Kolmogorov-Smirnov distance, over the quantities of interest, of
    the truths from truths and draws together. Its distribution comes from exchanging every truth
    with one of its pair, drawn at random, which is exact whatever the quantities' dependence.

    Attributes:
        relabellings: exchanges behind the p-value.
        name: what reports call it.

    Source: Talts et al. (2018), arXiv:1804.06788, equation 1; Westfall and Young (1993), maximum
        over permutations
    """

    relabellings: int = eqx.field(static=True, default=999)
    name: str = eqx.field(static=True, default="averaged posterior")

    @property
    def statistical(self) -> bool:
        return True

    def check(self, context: GateContext, *, level: float = FAMILY_LEVEL) -> GateResult:
        values = context.values
        if values is None or not context.n:
            return unsaid(self.name, "there are no quantities of pairs", level=level)
        n, elements, quantities = values.shape
        # Where a value stands among all values of its quantity, truths and draws together.
        order = np.argsort(values.reshape(-1, quantities), axis=0, kind="stable")
        places = np.empty_like(order)
        np.put_along_axis(places, order, np.arange(n * elements)[:, None], axis=0)
        above = (places[..., None] / (n * elements) >= CUTS).reshape(n, elements, quantities, -1)
        expected = above.mean(axis=1).sum(axis=0)
        variance = (above.mean(axis=1) * (1 - above.mean(axis=1))).sum(axis=0)
        sd = np.sqrt(np.maximum(variance, 0.5))
        generator = np.random.default_rng(n)

        def largest(counts: np.ndarray) -> np.ndarray:
            return np.abs(counts - expected) / sd

        # The truth comes first; every other labelling takes another element of each pair for it.
        observed = largest(above[:, 0].sum(axis=0))
        exceeded = 0
        rows = np.arange(n)
        for _ in range(self.relabellings):
            chosen = generator.integers(0, elements, n)
            found = largest(above[rows, chosen].sum(axis=0, dtype=np.int32)).max()
            exceeded += bool(found >= observed.max())
        p_value = (1 + exceeded) / (1 + self.relabellings)
        worst = int(np.argmax(observed.max(axis=-1)))
        name = context.value_names[worst]
        passed = p_value > level
        how = "agree in" if passed else "differ most in"
        return GateResult(
            name=self.name,
            passed=passed,
            statistic=float(observed.max()),
            threshold=level,
            p_value=p_value,
            level=level,
            n=n,
            strata=(StratumResult("all", n, p_value, name),),
            message=f"truths and draws {how} {name} (p = {p_value:.2g})",
            picture=Picture(
                kind="two_distributions",
                title=f"averaged posterior: {name}",
                data={
                    "truths": values[:, 0, worst],
                    "draws": values[:, 1:, worst].ravel(),
                    "label": name,
                },
            ),
        )
