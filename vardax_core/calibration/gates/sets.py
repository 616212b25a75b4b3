"""Sets of gates that are checked together."""

import equinox as eqx

from vardax_core.calibration.gates.averaged import AveragedPosteriorGate
from vardax_core.calibration.gates.base import (
    FAMILY_LEVEL,
    AbstractGate,
    GateResult,
    StratumResult,
    unsaid,
)
from vardax_core.calibration.gates.context import GateContext
from vardax_core.calibration.gates.nulls import EXACT, Tolerance
from vardax_core.calibration.gates.oracle import OracleMarginalsGate, OracleSamplesGate
from vardax_core.calibration.gates.sampling import (
    coordinate_gate,
    density_gate,
    projection_gate,
    quantity_gate,
    tarp_gate,
)


class FiniteGate(AbstractGate):
    """Every draw is finite wherever there is a truth.

    Attributes:
        name: what reports call it.
    """

    name: str = eqx.field(static=True, default="finite draws")

    @property
    def statistical(self) -> bool:
        return False

    def check(self, context: GateContext, *, level: float = FAMILY_LEVEL) -> GateResult:
        if not context.n:
            return unsaid(self.name, "there are no pairs")
        bad = context.not_finite
        passed = bad == 0
        message = (
            "every member of every case is a finite number"
            if passed
            else f"at {bad} points of cases a member is not finite; look for overflow"
        )
        if context.without_truth:
            message += f"; {context.without_truth} points of cases have no truth and say nothing"
        part = StratumResult("all", context.n, float("nan"), "")
        return GateResult(self.name, passed, float(bad), 0.0, None, context.n, (part,), message)


def gates_for(context: GateContext, tolerance: Tolerance = EXACT) -> tuple[AbstractGate, ...]:
    """All gates that a context has the data for.

    With a tolerance the gates on quantities that add up over the whole state, whose sensitivity
    grows with its size without bound, are left out.
    """
    offered: list[tuple[bool, AbstractGate]] = [
        (True, FiniteGate()),
        ("coordinates" in context.tables, coordinate_gate(tolerance)),
        ("projections" in context.tables, projection_gate(tolerance)),
    ]
    if tolerance.exact:
        offered += [
            ("quantities" in context.tables, quantity_gate()),
            ("quantities" in context.tables, AveragedPosteriorGate()),
            ("tarp" in context.tables, tarp_gate()),
            ("density" in context.tables, density_gate()),
            (context.oracle is not None, OracleMarginalsGate()),
            ("agreement" in context.tables, OracleSamplesGate()),
        ]
    return tuple(gate for offer, gate in offered if offer)
