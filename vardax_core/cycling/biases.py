"""Biases of platforms and streams, carried from cycle to cycle and forgotten in a stated time."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.observations.departures import Departures, Residuals
from vardax_core.observations.placement import AbstractPlaced, Placement
from vardax_core.types import Observations

SETTLED = 10.0
"""Cycles after which the bias of a unit is known well enough for a step of it to be seen."""
FEWEST_ANCHORS = 2
"""That must report in a cycle, or nothing is learned of it: with one, its bias and that of the
background are the same."""
FOLDS = 4
"""Analyses in every cycle, each without a part of the units."""
PRIOR = 30.0
"""Departures as which the stated errors and their independence count when these are estimated."""
CLIPPED = 4.0
"""Standard deviations as which any departure counts, so that one gross error is no step."""
SLACK, THRESHOLD = 0.5, 15.0
"""Of the cumulative sums, in standard deviations: independent normal departures cross the threshold
once in some ten million, and a step of two is found in ten cycles."""
MOST_CORRELATED = 0.9


class BiasState(eqx.Module):
    """What is known of the biases; part of the state of a cycle.

    Attributes:
        bias, sd: of each unit, and its standard deviation.
        mean: forgetting mean of each unit's departures from the anchors' level.
        cycles: forgetting number of these.
        noise, doubt: forgetting means of what is expected of their squares: from the errors of
            the observations, and from those of the analyses without the unit.
        centre: what the bias is drawn to: zero, or what the last step led to.
        last: standardised departure of the last cycle, zero where there was none.
        pooled: of every stream, forgetting sums of departures: their number, their squares over
            what is expected, pairs of cycles that follow each other, and their products.
        runs: of the cumulative sums upwards and downwards: the sum, cycles since it was zero, the
            sum of departures in these, and the bias when they began.
        steps: of each unit, how many were found, when the last began, and when it was found; in
            minutes since `MINUTES_EPOCH`.
        size: of the last step.
    """

    bias: Float[Array, " unit"]
    sd: Float[Array, " unit"]
    mean: Float[Array, " unit"]
    cycles: Float[Array, " unit"]
    noise: Float[Array, " unit"]
    doubt: Float[Array, " unit"]
    centre: Float[Array, " unit"]
    last: Float[Array, " unit"]
    pooled: Float[Array, "4 stream"]
    runs: Float[Array, "2 4 unit"]
    steps: Int[Array, "3 unit"]
    size: Float[Array, " unit"]


class BiasCorrection(AbstractPlaced):
    """Takes off what platforms or streams are off by, and learns it anew in every cycle.

    A unit is what has a bias of its own: a platform, or a stream. Its departure is the mean of
    what its records, as reported, differ by from an analysis without it, minus the level that the
    anchors have in common. The bias is the mean of the departures, each
    forgotten with the unit's memory, and drawn to its centre as the usual size of a bias asks. The
    mean of the anchors' biases is held at zero: what all are off by is left to the analysis.

    A step of a bias is found by cumulative sums of departures that are standardised with what is
    expected of them and freed of the correlation of one cycle with the next; the bias is then what
    the departures have been since the step.

    Attributes:
        unit_of: number of the unit of every platform, -1 for none.
        stream: number of the stream of every unit.
        anchor: whether the unit is an anchor.
        fixed: correction of units that are not carried.
        carried: whether the correction is what is learned in the cycles.
        keep: what is left of a cycle's weight after another one.
        usual_sd: usual size of a bias.
        correlation: of the errors of two analyses that follow each other: what an analysis is off
            by at one place is a bias to whoever looks no longer than that lasts.
        first_mean, first_variance: what the training period says, infinite where it says nothing.
        platforms: of the records, by number; -1 for none.
        streams: how many there are.

    Source: Dee (2005), doi:10.1256/qj.05.137; anchors as in Auligne, McNally and Dee (2007),
    doi:10.1002/qj.56; Page (1954), doi:10.1093/biomet/41.1-2.100
    """

    unit_of: Int[Array, " platform"]
    stream: Int[Array, " unit"]
    anchor: Bool[Array, " unit"]
    fixed: Float[Array, " unit"]
    carried: Bool[Array, " unit"]
    keep: Float[Array, " unit"]
    usual_sd: Float[Array, " unit"]
    correlation: Float[Array, ""]
    first_mean: Float[Array, " unit"]
    first_variance: Float[Array, " unit"]
    platforms: Int[Array, " obs"]
    streams: int = eqx.field(static=True)
    learns: bool = eqx.field(static=True)

    def placed(self, placement: Placement) -> "BiasCorrection":
        return eqx.tree_at(lambda b: b.platforms, self, jnp.asarray(placement.platforms))

    def init(self, dtype: DTypeLike = jnp.float32) -> BiasState | None:
        """The state before the first cycle; None where nothing is carried."""
        if not self.learns:
            return None
        nothing = jnp.zeros(self.fixed.shape, dtype)
        state = BiasState(
            bias=nothing,
            sd=nothing,
            mean=self.first_mean.astype(dtype),
            cycles=(self.usual_sd**2 / self.first_variance).astype(dtype),
            noise=(self.usual_sd**2).astype(dtype),
            doubt=nothing,
            centre=nothing,
            last=nothing,
            pooled=jnp.zeros((4, self.streams), dtype),
            runs=jnp.zeros((2, 4, nothing.size), dtype),
            steps=jnp.zeros((3, nothing.size), jnp.int32),
            size=nothing,
        )
        return self._estimated(state)

    def fitted(self, state: BiasState | None, dtype: DTypeLike) -> BiasState | None:
        """A stored state with room for the platforms that have come since."""
        new = self.init(dtype)
        if state is None or new is None:
            return new
        old = state.mean.size
        grown = jax.tree.map(lambda a, b: jnp.concatenate([a, b[..., old:]], axis=-1), state, new)
        return dataclasses.replace(grown, pooled=state.pooled)

    def correction(self, state: BiasState | None, dtype: DTypeLike) -> Float[Array, " obs"]:
        """What is taken off every record."""
        found = self.fixed.astype(dtype)
        if state is not None:
            found = jnp.where(self.carried, state.bias.astype(dtype), found)
        unit = self._units()
        return jnp.where(unit >= 0, found[jnp.maximum(unit, 0)], 0.0)

    def without_own(
        self,
        step: AbstractAnalysisStep,
        background: Float[Array, "member *state"],
        observations: Observations,
        departures: Departures,
        *,
        key: PRNGKeyArray,
    ) -> Departures:
        """The departures of every record from an analysis that has none of its unit.

        The units are drawn into `FOLDS` groups, each of which is left out once.

        Arguments:
            step: analysis.
            background, observations, departures: of the cycle.
            key: of the draw and of the analyses.
        """
        fold_key, step_key = jax.random.split(key)
        unit = self._units()
        drawn = jax.random.permutation(fold_key, jnp.arange(self.fixed.size)) % FOLDS
        fold = jnp.where(unit >= 0, drawn[jnp.maximum(unit, 0)], -1)

        def without(index: Int[Array, ""]) -> Residuals:
            mask = observations.mask & (fold != index)[None]
            rest = dataclasses.replace(observations, mask=mask)
            analysis = step(background, rest, key=step_key)
            return departures.residuals(step.operator, analysis.mean, analysis.ensemble)

        parts = jax.lax.map(without, jnp.arange(FOLDS))
        own = jnp.maximum(fold, 0)[None]
        residual, variance = (
            jnp.take_along_axis(part, own, axis=0)[0] for part in (parts.residual, parts.variance)
        )
        residual = jnp.where(fold >= 0, residual, jnp.nan)
        return dataclasses.replace(departures, innovation=residual, variance=variance)

    def update(
        self,
        state: BiasState,
        departures: Departures,
        correction: Float[Array, " obs"],
        time: Int[Array, ""],
        interval: int,
    ) -> BiasState:
        """Learn from the departures of a cycle.

        What the first-guess check refused counts too, as `CLIPPED` standard deviations at most:
        that of a platform with a large step is all refused. Withheld records do not.

        Arguments:
            departures: of the records, the correction taken off; see `without_own`.
            correction: see there.
            time: analysis time.
            interval: minutes from one cycle to the next.
        """
        departure, noise, doubt, reports = self._of_units(departures, correction)
        bias, expected = state.bias, noise + doubt
        scale, correlation = self._found(state)
        total = scale * expected + state.sd**2
        level, enough = self._level(departure - bias, total, reports)
        reports &= enough
        rest = jnp.where(reports, departure - level - bias, 0.0)
        z = jnp.clip(rest / jnp.sqrt(total), -CLIPPED, CLIPPED)
        settled = reports & (state.cycles >= SETTLED)

        before = self.keep.astype(z.dtype) * state.cycles
        cycles = before + reports.astype(z.dtype)

        def averaged(mean: Float[Array, " unit"], new: Float[Array, " unit"]) -> Array:
            total = before * mean + jnp.where(reports, new, 0.0)
            return jnp.where(cycles > 0, total / jnp.where(cycles > 0, cycles, 1.0), mean)

        learned = dataclasses.replace(
            state,
            mean=averaged(state.mean, bias + z * jnp.sqrt(total)),
            cycles=cycles,
            noise=averaged(state.noise, noise),
            doubt=averaged(state.doubt, doubt),
            last=jnp.where(settled, z, 0.0),
            pooled=self._pooled(state, z, rest, expected, settled),
        )
        correlation = jnp.where(state.last != 0, correlation, 0.0)
        whitened = (z - correlation * state.last) / jnp.sqrt(1 - correlation**2)
        since = jnp.where(reports, departure - level, 0.0)
        runs = _runs(state.runs, jnp.where(settled, whitened, jnp.nan), since, bias)
        return self._anchored(_with_steps(learned, runs, bias, time, interval))

    def _units(self) -> Int[Array, " obs"]:
        known = (self.platforms >= 0) & (self.platforms < self.unit_of.size)
        unit = self.unit_of[jnp.clip(self.platforms, 0, self.unit_of.size - 1)]
        return jnp.where(known, unit, -1)

    def _of_units(
        self, departures: Departures, correction: Float[Array, " obs"]
    ) -> tuple[Array, Array, Array, Bool[Array, " unit"]]:
        """The mean departure of every unit, what is expected of its square from observations and
        from analyses, and which report."""
        unit, count = self._units(), self.fixed.size
        used = departures.used | departures.rejected
        used &= jnp.isfinite(departures.innovation) & (unit >= 0)
        used &= jnp.isfinite(departures.expected_variance)
        columns = (
            jnp.ones_like(departures.innovation),
            departures.innovation + correction,
            departures.error_sd**2,
            departures.variance,
        )
        kept = jnp.stack([jnp.where(used, column, 0.0) for column in columns], axis=1)
        sums = jax.ops.segment_sum(kept, jnp.where(used, unit, count), count + 1)[:count].T
        there = sums[0] > 0
        number = jnp.where(there, sums[0], 1.0)
        value, noise, doubt = (part / number for part in sums[1:])
        # Records of one unit in one cycle share the error of the analysis.
        return value, jnp.where(there, noise / number, 1.0), doubt, there

    def _shares(self, state: BiasState) -> tuple[Float[Array, " unit"], Float[Array, " unit"]]:
        """How far every bias is from its centre to its mean, and its variance."""
        lasting = self.correlation.astype(state.mean.dtype)
        many = jnp.where(state.cycles > 0, state.cycles, 1.0)
        averaged = jnp.minimum(1.0, (1 + lasting) / (1 - lasting) / many)
        variance = self._found(state)[0] * (state.noise / many + state.doubt * averaged)
        prior = (self.usual_sd**2).astype(variance.dtype)
        share = jnp.where(state.cycles > 0, prior / (prior + variance), 0.0)
        return share, prior * (1 - share)

    def _estimated(self, state: BiasState) -> BiasState:
        """The same with the biases that its means say."""
        share, variance = self._shares(state)
        bias = state.centre + share * (state.mean - state.centre)
        return dataclasses.replace(state, bias=bias, sd=jnp.sqrt(variance))

    def _found(self, state: BiasState) -> tuple[Float[Array, " unit"], Float[Array, " unit"]]:
        """Factor on what is expected of squared departures, and their correlation from one cycle
        to the next, of the stream of every unit."""
        number, squares, pairs, products = state.pooled
        scale = (PRIOR + squares) / (PRIOR + number)
        correlation = jnp.clip(products / (PRIOR + pairs), 0.0, MOST_CORRELATED)
        return scale[self.stream], correlation[self.stream]

    def _level(
        self,
        rest: Float[Array, " unit"],
        variance: Float[Array, " unit"],
        reports: Bool[Array, " unit"],
    ) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        """What the anchors have in common, none of which moves it far, and whether it is known."""
        anchors = self.anchor & reports
        enough = jnp.sum(anchors) >= FEWEST_ANCHORS
        middle = jnp.nanmedian(jnp.where(anchors, rest, jnp.nan))
        middle = jnp.where(enough, middle, 0.0)
        most = CLIPPED * jnp.sqrt(variance)
        weight = jnp.where(anchors, 1 / variance, 0.0)
        apart = jnp.clip(rest - middle, -most, most)
        total = jnp.where(enough, jnp.sum(weight), 1.0)
        return middle + jnp.sum(jnp.where(anchors, weight * apart, 0.0)) / total, enough

    def _pooled(
        self,
        state: BiasState,
        z: Float[Array, " unit"],
        rest: Float[Array, " unit"],
        expected: Float[Array, " unit"],
        settled: Bool[Array, " unit"],
    ) -> Float[Array, "4 stream"]:
        squares = jnp.clip(rest**2 / expected, 0.0, CLIPPED**2)
        paired = settled & (state.last != 0)
        one = jnp.ones_like(z)
        columns = [
            jnp.where(settled, one, 0.0),
            jnp.where(settled, squares, 0.0),
            jnp.where(paired, one, 0.0),
            jnp.where(paired, z * state.last, 0.0),
        ]
        new = jax.ops.segment_sum(jnp.stack(columns, axis=1), self.stream, self.streams).T
        keep = jax.ops.segment_max(self.keep.astype(z.dtype), self.stream, self.streams)
        return jnp.clip(keep, 0.0, 1.0)[None] * state.pooled + new

    def _anchored(self, state: BiasState) -> BiasState:
        """The same with means of which the anchors' biases have a mean of zero."""
        anchors = self.anchor & (state.cycles > 0)
        some = jnp.sum(jnp.where(anchors, self._shares(state)[0], 0.0))
        bias = jnp.where(anchors, self._estimated(state).bias, 0.0)
        shift = jnp.sum(bias) / jnp.where(some > 0, some, 1.0)
        mean = jnp.where(state.cycles > 0, state.mean - shift, state.mean)
        return self._estimated(dataclasses.replace(state, mean=mean))


def _runs(
    runs: Float[Array, "2 4 unit"],
    z: Float[Array, " unit"],
    since: Float[Array, " unit"],
    bias: Float[Array, " unit"],
) -> Float[Array, "2 4 unit"]:
    """The cumulative sums after a cycle; a unit whose z is not finite keeps its own."""
    signs = jnp.asarray([[1.0], [-1.0]], z.dtype)
    value, length, total, began = (runs[:, k] for k in range(4))
    more = signs * z[None] - SLACK
    risen = jnp.maximum(value + more, 0.0)
    # A departure that says more than all before it is where a step began.
    first = (length == 0) | (more > value)
    new = jnp.stack(
        [
            risen,
            jnp.where(first, 1.0, length + 1),
            jnp.where(first, since[None], total + since[None]),
            jnp.where(first, bias[None], began),
        ],
        axis=1,
    )
    new = jnp.where(risen[:, None] > 0, new, 0.0)
    return jnp.where(jnp.isfinite(z)[None, None], new, runs)


def _with_steps(
    state: BiasState,
    runs: Float[Array, "2 4 unit"],
    bias: Float[Array, " unit"],
    time: Int[Array, ""],
    interval: int,
) -> BiasState:
    """The state after what the cumulative sums say: a bias that has had a step begins with it."""
    crossed = runs[:, 0] > THRESHOLD
    found = jnp.any(crossed, axis=0)
    side = jnp.where(crossed[0], 0, 1)
    _, length, total, began = jnp.take_along_axis(runs, side[None, None], axis=0)[0]
    several = jnp.maximum(length, 1.0)
    after = total / several
    onset = (time - interval * (several.astype(jnp.int32) - 1)).astype(jnp.int32)
    now = jnp.broadcast_to(time, onset.shape).astype(jnp.int32)
    steps = jnp.stack([state.steps[0] + 1, onset, now])
    return dataclasses.replace(
        state,
        mean=jnp.where(found, after, state.mean),
        cycles=jnp.where(found, several, state.cycles),
        centre=jnp.where(found, after, state.centre),
        runs=jnp.where(found[None, None], 0.0, runs),
        steps=jnp.where(found[None], steps, state.steps),
        size=jnp.where(found, after - began, state.size),
    )
