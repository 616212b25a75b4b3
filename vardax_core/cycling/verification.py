"""The verification of cycles that are made, on which no cycle depends."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray, PyTree

from vardax_core.calibration.statistics import CycleView, Smoothed, cycle_statistics
from vardax_core.cycling.passed import CycleOutput
from vardax_core.observations.departures import Departures, Residuals

MOST_CYCLES, MOST_VALUES = 64, 2**20
"""Cycles, and values of their members, that are verified at once: small states cost what their many
small operations do, large ones the memory."""


class Made(NamedTuple):
    """What a verification looks at, of one cycle or stacked; alike for all methods, which so share
    one compiled program.

    Attributes:
        truth: true state, NaN where not known.
        background: members.
        members, mean, spread: of the analysis.
        departures, residuals: of the analysis time.
        smoothed: what is known by now of an earlier cycle, or None without a smoother.
    """

    truth: Float[Array, "*state"]
    background: Float[Array, "member *state"]
    members: Float[Array, "member *state"]
    mean: Float[Array, "*state"]
    spread: Float[Array, "*state"]
    departures: Departures
    residuals: Residuals
    smoothed: Smoothed | None

    @classmethod
    def of(cls, output: CycleOutput, truth: Array) -> "Made":
        """Take it from the output of one cycle, or of many."""
        analysis = output.analysis
        return cls(
            truth,
            output.background,
            analysis.ensemble,
            analysis.mean,
            analysis.spread,
            output.departures,
            output.residuals,
            output.smoothed,
        )


class Verification(eqx.Module):
    """How the cycles of an experiment are verified.

    Attributes:
        weights: weight of every point; 0 where not scored.
        spread_scale: unit of the bins of the spread-error diagram.
        channels: whether the first axis of a state is the channel, so that each is scored apart.
        reported: whether the observations are real.
    """

    weights: Float[Array, "*state"]
    spread_scale: float = eqx.field(static=True)
    channels: bool = eqx.field(static=True)
    reported: bool = eqx.field(static=True)

    def sums(self, made: Made, *, key: PRNGKeyArray) -> dict[str, Array]:
        """The sums of one cycle by the names of `SUMS`.

        Arguments:
            made: the cycle.
            key: breaks ties in the rank histogram.
        """
        view = CycleView.of(
            **made._asdict(),
            weights=self.weights,
            key=key,
            spread_scale=self.spread_scale,
            channels=self.channels,
            reported=self.reported,
        )
        return cycle_statistics(view)


def verify_cycles(
    verification: Verification,
    made: Made,
    valid: Bool[Array, " cycle"],
    *,
    keys: Key[Array, " cycle"],
    skips: bool = False,
) -> dict[str, Array]:
    """The sums of the cycles of a segment, stacked, some cycles at a time.

    Arguments:
        verification: how.
        made: the cycles, stacked, padding included.
        valid: False for padding.
        keys: of each cycle for this purpose.
        skips: whether groups that are padding alone are passed over and give zero.
    """

    def sums(some: tuple[Made, Array]) -> dict[str, Array]:
        return jax.vmap(lambda one, key: verification.sums(one, key=key))(*some)

    def of_group(at: tuple[tuple[Made, Array], Array]) -> dict[str, Array]:
        some, valid = at
        if not skips:
            return sums(some)
        none = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(sums, some))
        return jax.lax.cond(jnp.any(valid), sums, lambda _: none, some)

    length = len(valid)
    group = _group(length, made.background[0].size)
    cut = jax.tree.map(lambda x: x.reshape(-1, group, *x.shape[1:]), ((made, keys), valid))
    found: PyTree = jax.lax.map(of_group, cut)
    return jax.tree.map(lambda x: x.reshape(length, *x.shape[2:]), found)


def _group(cycles: int, size: int) -> int:
    """How many cycles are verified at once: as many as divide a segment and are small enough."""
    most = max(1, min(MOST_CYCLES, MOST_VALUES // size))
    return max(n for n in range(1, min(most, cycles) + 1) if cycles % n == 0)


def with_sums(output: CycleOutput, sums: dict[str, Array]) -> CycleOutput:
    """The output of one cycle, or of many, with its verification."""
    return eqx.tree_at(lambda made: made.statistics, output, sums, is_leaf=_is_empty)


def _is_empty(tree: PyTree) -> bool:
    return isinstance(tree, dict) and not tree
