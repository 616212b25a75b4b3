"""What the network of a transform on a ring corrects, and the choice of it in cycles."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.ensemble.inflation import Inflated
from vardax_core.analysis.ensemble.letkf import LETKF
from vardax_core.methods.base import Problem
from vardax_core.methods.filters import finite_size_filter
from vardax_core.methods.letkf import LETKFMethod
from vardax_core.training.tuning import AllLostError, choose
from vardax_core.training.twin_cycles import TwinPlan, climate_range, twin_program
from vardax_core.training.twin_scores import errors_of_cycles

Kind = Literal["best", "filter", "letkf", "none"]
FINITE_SIZE = "finite-size filter"
ROUNDS = (TwinPlan(4, 120, 60), TwinPlan(16, 200, 100))
"""Twins of all candidates, and of those that are left."""


class Guess(NamedTuple):
    """The filter that erred least in cycles.

    Attributes:
        kind: of the filter; "none" where every one loses its truth.
        radius: half-width of the taper of a local one, in the grid's unit of distance.
        inflation: factor on the analysis anomalies of a local one.
        rmse: in cycles of twins that chose among the last candidates, unit of the state.
    """

    kind: Literal["filter", "letkf", "none"]
    radius: float | None = None
    inflation: float | None = None
    rmse: float | None = None

    @property
    def words(self) -> str:
        """What was found, for people."""
        if self.rmse is None:
            return "What the network corrects is the background: every filter lost its truth."
        found = "the finite-size ensemble transform filter"
        if self.radius is not None:
            found = f"the local filter of radius {self.radius:g} and inflation {self.inflation:g}"
        return (
            f"What the network corrects is the filter that erred least in cycles: {found}, RMSE "
            f"{self.rmse:.3g}."
        )

    def numbers(self) -> dict[str, Any]:
        """The same for metadata."""
        return self._asdict() | {"finished": True, "words": self.words}


def first_guess(
    problem: Problem, kind: Kind, found: Mapping[str, Any] | None
) -> AbstractAnalysisStep | None:
    """The analysis that the network corrects; None for the background itself.

    Arguments:
        problem: the network of observations, the grid, and the model.
        kind: of the analysis.
        found: what was chosen in cycles, as `Guess.numbers` gives it; None if nothing was.
    """
    if kind == "none" or (found is not None and found.get("kind") == "none"):
        return None
    # Weights from before there was a choice have only settings of a local filter.
    if found is None or found.get("kind") == "filter":
        return finite_size_filter(problem.operator)
    return local_filter(problem, found["radius"], found["inflation"])


def local_filter(problem: Problem, radius: float, inflation: float) -> LETKF:
    """The local filter with such settings."""
    step = LETKFMethod(radius=radius, inflation=inflation).build(problem, None).step
    assert isinstance(step, LETKF), "nothing wraps a filter of these settings alone"
    return step


def chosen_guess(
    problem: Problem,
    kind: Literal["best", "letkf"],
    start_sd: float,
    *,
    tell: Callable[[int], None] = lambda tried: None,
    key: PRNGKeyArray,
) -> Guess:
    """Find the filter that errs least in cycles of twins.

    The candidates are the local filters of `vardax tune` and, for the best of all, the finite-size
    filter; all see the same truths and observations in a round.

    Arguments:
        problem: the network of observations, the model, and the ensemble's size.
        kind: "best" of all, or "letkf" for the best of the local ones.
        start_sd: error of the first ensembles, unit of the state.
        tell: is called with the number of filters before each is tried.
        key: everything random follows from it.

    Raises:
        AllLostError: if every local filter loses its truth and one of them is asked for.
    """
    options = {
        f"radius {one['radius']:g}, inflation {one['inflation']:g}": one
        for one in LETKFMethod().candidates(problem.grid)
    }
    widest = local_filter(problem, max(one["radius"] for one in options.values()), 1.0)
    prior = problem.prior
    near, valid_range = prior.climatology.mean[0], climate_range(*prior.rough_climate)

    trials = itertools.count(1)

    def errors(name: str, number: int) -> Float[np.ndarray, "stream cycle"]:
        tell(next(trials))
        plan = ROUNDS[number]._replace(members=problem.members, start_sd=start_sd)
        step: AbstractAnalysisStep = finite_size_filter(problem.operator)
        factor = 1.0
        if name != FINITE_SIZE:
            factor = options[name]["inflation"]
            step = _as_wide(local_filter(problem, options[name]["radius"], 1.0), widest)
        inflated = Inflated(step, jnp.asarray(factor, near.dtype))  # type: ignore[call-arg]
        program = twin_program(prior.model, inflated, valid_range=valid_range, dtype=near.dtype)
        round_key = jax.random.fold_in(key, number)
        return np.asarray(errors_of_cycles(program, problem.observing, near, plan, key=round_key))

    candidates = (*([FINITE_SIZE] if kind == "best" else []), *options)
    try:
        best = choose(candidates, errors, prior.rough_climate[1])
    except AllLostError:
        if kind == "letkf":
            raise
        return Guess("none")
    found: Literal["filter", "letkf"] = "letkf" if best.name in options else "filter"
    return Guess(found, **options.get(best.name, {}), rmse=best.score)


def _as_wide(step: LETKF, widest: LETKF) -> LETKF:
    """The same filter with room for as many observations at a point as the widest has, so that
    one program serves all."""
    own, room = step.network, widest.network
    more = ((0, 0), (0, room.indices.shape[1] - own.indices.shape[1]))
    return eqx.tree_at(
        lambda one: (one.network.indices, one.network.weights),
        widest,
        (jnp.pad(own.indices, more), jnp.pad(own.weights, more)),
    )
