"""What the network of a transform on a ring corrects, and the filter that is tuned for it."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.ensemble.inflation import Inflated
from vardax_core.methods.base import Problem
from vardax_core.methods.filters import finite_size_filter
from vardax_core.methods.letkf import LETKFMethod
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.training.tuning import choose
from vardax_core.training.twin_cycles import TwinPlan, climate_range, twin_program
from vardax_core.training.twin_scores import errors_of_cycles

Kind = Literal["filter", "letkf", "none"]
ROUNDS = (TwinPlan(4, 120, 60), TwinPlan(16, 200, 100))
"""Twins of all candidates, and of those that are left."""


class TunedGuess(NamedTuple):
    """A local filter with the settings that erred least in cycles.

    Attributes:
        radius: half-width of its taper, in the grid's unit of distance.
        inflation: factor on its analysis anomalies.
        rmse: in cycles of twins that chose among the last candidates, unit of the state.
    """

    radius: float
    inflation: float
    rmse: float

    @property
    def words(self) -> str:
        """What was found, for people."""
        return (
            f"What the network corrects is the local filter that erred least in cycles: radius "
            f"{self.radius:g}, inflation {self.inflation:g}, RMSE {self.rmse:.3g}."
        )

    def numbers(self) -> dict[str, Any]:
        """The same for metadata."""
        return self._asdict() | {"finished": True, "words": self.words}


def first_guess(
    operator: AbstractObservationOperator, kind: Kind, local: AbstractAnalysisStep | None
) -> AbstractAnalysisStep | None:
    """The analysis that the network corrects; None for the background itself.

    Arguments:
        operator: observation operator H.
        kind: of the analysis.
        local: the local filter, where it is that.
    """
    if kind == "none":
        return None
    return local if kind == "letkf" else finite_size_filter(operator)


def local_filter(problem: Problem, found: Mapping[str, Any]) -> AbstractAnalysisStep:
    """The local filter with settings that were found, as `TunedGuess.numbers` gives them."""
    method = LETKFMethod(radius=found["radius"], inflation=found["inflation"])
    return method.build(problem, None).step


def tuned_guess(problem: Problem, start_sd: float, *, key: PRNGKeyArray) -> TunedGuess:
    """Find radius and inflation of the local filter by their errors in cycles of twins.

    The candidates are those of `vardax tune`; all see the same truths and observations in a round.

    Arguments:
        problem: the network, the model, and the ensemble's size.
        start_sd: error of the first ensembles, unit of the state.
        key: everything random follows from it.

    Raises:
        ValueError: if every candidate loses its truth.
    """
    candidates = {
        f"radius {options['radius']:g}, inflation {options['inflation']:g}": options
        for options in LETKFMethod().candidates(problem.grid)
    }
    _, climate_sd = problem.prior.rough_climate

    @functools.cache
    def cycled(radius: float, number: int) -> Callable[[Array], Array]:
        plan = ROUNDS[number]._replace(members=problem.members, start_sd=start_sd)
        return _cycled(problem, radius, plan, key=jax.random.fold_in(key, number))

    def errors(name: str, number: int) -> Float[np.ndarray, "stream cycle"]:
        options = candidates[name]
        inflation = jnp.asarray(options["inflation"], problem.prior.climatology.mean.dtype)
        return np.asarray(cycled(options["radius"], number)(inflation))

    best = choose(tuple(candidates), errors, climate_sd)
    return TunedGuess(**candidates[best.name], rmse=best.score)


def _cycled(
    problem: Problem, radius: float, plan: TwinPlan, *, key: PRNGKeyArray
) -> Callable[[Array], Array]:
    """Give the function from an inflation to the RMSE of every cycle; all share a program."""
    prior = problem.prior
    step = LETKFMethod(radius=radius, inflation=1.0).build(problem, None).step
    near, valid_range = prior.climatology.mean[0], climate_range(*prior.rough_climate)

    @eqx.filter_jit
    def run(inflation: Float[Array, ""]) -> Float[Array, "stream cycle"]:
        inflated = Inflated(step, inflation)  # type: ignore[call-arg]
        program = twin_program(prior.model, inflated, valid_range=valid_range, dtype=near.dtype)
        return errors_of_cycles(program, problem.observing, near, plan, key=key)

    return run
