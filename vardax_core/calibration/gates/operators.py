"""Gates on derivatives, with tolerances in place of p-values."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from vardax_core.calibration.gates.base import (
    FAMILY_LEVEL,
    AbstractGate,
    GateResult,
    StratumResult,
    unsaid,
)
from vardax_core.calibration.gates.context import GateContext

Analyse = Callable[[PyTree, Float[Array, "*obs"]], Float[Array, "*state"]]
"""From everything that stays fixed, and the observations, to the analysis mean."""


def iterations_for(size: int, *, miss: float = 1e-3, share: float = 0.5) -> int:
    """Power iterations after which the largest singular value is found to a share of itself.

    The random start has at least a part of miss / sqrt(size) along the direction sought, but with
    probability `miss`; each iteration gains 1 / share^2 on every singular value below the share.

    Source: Kuczynski and Wozniakowski (1992), doi:10.1137/0613066
    """
    return max(2, math.ceil(math.log(size / miss**2) / (-4 * math.log(share))) + 1)


@eqx.filter_jit
def operator_norm(
    linear: Callable[[Array], Array],
    adjoint: Callable[[Array], Array],
    start: Float[Array, "*obs"],
    iterations: int,
) -> Float[Array, ""]:
    """Largest singular value of a linear map, by power iteration on adjoint(linear(.))."""

    def body(_: Array, v: Array) -> Array:
        w = adjoint(linear(v))
        norm = jnp.linalg.norm(w.reshape(-1))
        return jnp.where(norm > 0, w / jnp.where(norm > 0, norm, 1.0), v)

    v = start / jnp.linalg.norm(start.reshape(-1))
    v = jax.lax.fori_loop(0, iterations, body, v)
    return jnp.linalg.norm(linear(v).reshape(-1))


class Derivatives(NamedTuple):
    """Norms of the derivative of an analysis with respect to the observations.

    Attributes:
        difference: operator norm of the model's derivative less the oracle's.
        oracle: operator norm of the oracle's derivative.
        size: number of observations.
    """

    difference: float
    oracle: float
    size: int


def derivatives(
    model: Analyse,
    oracle: Analyse,
    cases: PyTree,
    observations: Float[Array, "case *obs"],
    *,
    key: PRNGKeyArray,
) -> tuple[Derivatives, ...]:
    """Compare d(analysis)/d(observation) of model and oracle, case by case.

    Uses Jacobian-vector and vector-Jacobian products alone; no matrix is built. The norm of the
    difference finds an error in a single direction among any number of them.

    Arguments:
        model, oracle: the analyses; both are differentiated.
        cases: what each case holds fixed, such as its background; stacked.
        observations: where each case is differentiated.
        key: for the starts of the power iterations.
    """
    shape = observations.shape[1:]
    size = math.prod(shape)
    iterations = iterations_for(size)

    @eqx.filter_jit
    def norms(cases: PyTree, observations: Array, keys: Array) -> tuple[Array, Array]:
        def one(given: tuple[PyTree, Array, PRNGKeyArray]) -> tuple[Array, Array]:
            case, y, k = given
            start = jax.random.normal(k, shape, y.dtype)

            def difference(x: Array) -> Array:
                return model(case, x) - oracle(case, x)

            found = []
            for function in (difference, partial(oracle, case)):
                _, linear = jax.linearize(function, y)
                _, pull = jax.vjp(function, y)
                found.append(
                    operator_norm(linear, lambda w, pull=pull: pull(w)[0], start, iterations)
                )
            return found[0], found[1]

        return jax.lax.map(one, (cases, observations, keys))

    found = norms(cases, observations, jax.random.split(key, len(observations)))
    return tuple(
        Derivatives(float(difference), float(norm), size)
        for difference, norm in zip(*found, strict=True)
    )


class AdjointGate(AbstractGate):
    """The derivative of the analysis by the observations is the oracle's in every direction.

    Judged is the median over the cases, since a fault of an analysis is in all of them, while in a
    single one a good network, too, may depart from an oracle that knows the ensemble alone. In no
    case may it depart by more than the oracle's whole response.

    Attributes:
        measured: from `derivatives`, at one or several sets of observations.
        tolerance: largest operator norm of the difference in the median case, relative to the
            oracle's.
        largest: the same in any case.
        name: what reports call it.
    """

    measured: tuple[Derivatives, ...] = eqx.field(static=True)
    tolerance: float = eqx.field(static=True, default=0.2)
    largest: float = eqx.field(static=True, default=1.0)
    name: str = eqx.field(static=True, default="adjoint")

    @property
    def statistical(self) -> bool:
        return False

    def check(self, context: GateContext, *, level: float = FAMILY_LEVEL) -> GateResult:
        ratios = [
            one.difference / one.oracle if one.oracle > 0 else math.inf * one.difference
            for one in self.measured
        ]
        what = (
            "distance of the response to observations from the reference filter's, over the latter,"
        )
        fault = "the analysis answers to observations in a wrong direction"
        worst = _within(self.name, ratios, self.largest, f"{what} in the worst case", fault)
        if not worst.passed:
            return worst
        return _within(
            self.name, ratios, self.tolerance, f"{what} in the median case", fault, _middle
        )


def _worst(ascending: list[float]) -> float:
    return ascending[-1]


def _middle(ascending: list[float]) -> float:
    """The median, or the larger of the two middle values."""
    return ascending[len(ascending) // 2]


def _within(
    name: str,
    values: list[float],
    tolerance: float,
    what: str,
    fault: str,
    judged_by: Callable[[list[float]], float] = _worst,
) -> GateResult:
    if not values:
        return unsaid(name, "nothing was measured", level=tolerance)
    judged = judged_by(sorted(values, key=lambda v: math.inf if math.isnan(v) else v))
    passed = judged <= tolerance
    tail = "" if passed else f"; {fault}"
    message = f"{what}: {judged:.3g}, allowed {tolerance:.3g}{tail}"
    strata = tuple(
        StratumResult(f"case {k}", 1, float("nan"), f"{v:.3g}") for k, v in enumerate(values)
    )
    return GateResult(name, passed, judged, tolerance, None, len(values), strata, message)
