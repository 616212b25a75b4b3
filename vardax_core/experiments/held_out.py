"""Held-out pairs of a twin: truths that no training met, and the analyses of the cycle there."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.calibration.gates.context import Pairs
from vardax_core.calibration.statistics import HALF_WIDTHS, LEVEL_90, gaussian_crps
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.passed import CycleInput, CycleOutput
from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.climatology import Climatology
from vardax_core.training.observing import FixedNetwork
from vardax_core.training.twin_cycles import cycle_twin
from vardax_core.types import Observations, ensemble_mean, ensemble_spread

CASES = 8
"""Backgrounds at which the derivatives of an analysis are looked at."""
LARGE = 1024
"""Numbers of a state beyond which a cycle is no matter of microseconds."""


def compiled_once(model: AbstractForecastModel) -> dict[str, Any]:
    """Options of `filter_jit`, which hands them to JAX, for twins that are cycled once.

    For small states it takes longer than the cycles. With fewer optimisations it takes two thirds
    of the time, and the cycles up to a fifth more.
    """
    small = math.prod(model.state_shape) <= LARGE and jax.default_backend() == "cpu"
    fewer_already = jax.config.read("jax_disable_most_optimizations")
    if not small or fewer_already:
        return {}
    return {"compiler_options": {"xla_backend_optimization_level": 1}}


class HeldOutPlan(NamedTuple):
    """How held-out pairs are made.

    Attributes:
        streams: independent twins run in parallel.
        per_stream: pairs taken from each.
        settle: cycles before the first pair, from an ensemble of climatology.
        gap: cycles between two pairs of a stream, some correlation times of the error.
        members: ensemble size.
    """

    streams: int = 64
    per_stream: int = 8
    settle: int = 100
    gap: int = 25
    members: int = 24

    @classmethod
    def usual(cls, size: int) -> "HeldOutPlan":
        """The plan for states of so many numbers: of large ones fewer cycles, since each pair has
        many places that tell of the spread."""
        return cls() if size <= LARGE else cls(streams=16, settle=40, gap=8)


class HeldOut(NamedTuple):
    """What the gates of a twin look at.

    Attributes:
        pairs: truth and analysis members of every pair.
        strata: labels of the pairs by what is known before the truth is.
        backgrounds: one of each of `CASES` streams.
        windows: its observations.
    """

    pairs: Pairs
    strata: dict[str, np.ndarray]
    backgrounds: Float[Array, "case member *state"]
    windows: Observations


def twin_pairs(
    program: CycleProgram,
    climatology: Climatology,
    error_sd: float,
    plan: HeldOutPlan,
    *,
    key: PRNGKeyArray,
) -> HeldOut:
    """Run independent twins with the analysis in their cycle, and take pairs far apart.

    The truths start from draws of climatology of their own, so that training never met them. The
    cycle is the operational one but for its guard, which would hide what the analysis gets wrong.

    Returns:
        The pairs, and the third of each in three quantities that are known before the truth is:
        how certain the background was, how far from climatology, and how far the observations were
        from it. Given such knowledge, too, a right posterior is calibrated.
    """
    start_key, key = jax.random.split(key)
    dtype = climatology.mean.dtype
    shape = (plan.streams, plan.members + 1, *program.model.state_shape)
    drawn = climatology.forecast(
        jnp.zeros((shape[0] * shape[1], *shape[2:]), dtype),
        jnp.zeros((), jnp.int32),
        key=start_key,
    ).reshape(shape)
    unguarded = replace(program, guard=None, smoother=None)
    cycles = (-(-plan.settle // plan.gap) + plan.per_stream) * plan.gap

    def look(
        memory: tuple, truth: Array, given: CycleInput, output: CycleOutput
    ) -> tuple[tuple, dict]:
        departure = ensemble_mean(output.background) - climatology.mean[0]
        sums = output.statistics
        known = {
            "background spread": jnp.mean(ensemble_spread(output.background)),
            "background's distance from climate": jnp.sqrt(jnp.mean(departure**2)),
            "innovations (O-B)": sums["chi2"] / jnp.maximum(sums["observations"], 1.0),
        }
        return memory, {
            "truth": truth,
            "draws": output.analysis.ensemble,
            "known": known,
            "background": output.background,
            "window": given.observations,
        }

    def run(program: CycleProgram, drawn: Array, keys: Array) -> dict:
        def one(drawn: Array, key: PRNGKeyArray) -> dict:
            observing = FixedNetwork(error_sd)
            return cycle_twin(
                program, observing, drawn[0], drawn[1:], cycles, look, every=plan.gap, key=key
            )

        return jax.vmap(one)(drawn, keys)

    compiled = eqx.filter_jit(run, **compiled_once(program.model))
    taken = compiled(unguarded, drawn, jax.random.split(key, plan.streams))
    cases = np.unique(np.linspace(0, plan.streams - 1, CASES).astype(int))
    backgrounds, windows = jax.tree.map(
        lambda part: part[cases, -1], (taken["background"], taken["window"])
    )
    truth, draws, known = jax.tree.map(
        lambda part: part[:, -plan.per_stream :].reshape(-1, *part.shape[2:]),
        (taken["truth"], taken["draws"], taken["known"]),
    )
    strata = {name: _thirds(values) for name, values in known.items()}
    return HeldOut(Pairs(truth=truth, draws=draws), strata, backgrounds, windows)


def _thirds(values: Array) -> np.ndarray:
    series = np.asarray(values)
    thirds = np.searchsorted(np.quantile(series, [1 / 3, 2 / 3]), series)
    return np.array(["smallest third", "middle third", "largest third"])[thirds]


def pair_scores(pairs: Pairs) -> dict[str, float]:
    """Scores of the pairs by the names of the calibration report, all points weighing the same."""
    truth, draws = jnp.asarray(pairs.truth), jnp.asarray(pairs.draws)
    mean, spread = jnp.mean(draws, axis=1), jnp.std(draws, axis=1, ddof=1)
    axes = tuple(range(1, truth.ndim))
    error = mean - truth
    found = {
        "rmse": jnp.mean(jnp.sqrt(jnp.mean(error**2, axis=axes))),
        "spread_over_rmse": jnp.sqrt(jnp.mean(spread**2) / jnp.mean(error**2)),
        "coverage_90": jnp.mean(jnp.abs(error) <= HALF_WIDTHS[LEVEL_90] * spread),
        "crps_gaussian": jnp.mean(gaussian_crps(truth, mean, spread)),
    }
    return {name: float(value) for name, value in found.items()}
