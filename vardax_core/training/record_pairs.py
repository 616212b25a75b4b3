"""Pairs of records around a target and the target's value, real and simulated, and the training
of a network on them."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from vardax_core.analysis.amortized.local_views import LocalViews, local_views, reshaped
from vardax_core.analysis.amortized.record_network import RecordNetwork, correction
from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.analysis.local.interpolation import (
    LocalRecords,
    LocalTargets,
    in_blocks,
    local_system,
)
from vardax_core.calibration.statistics import gaussian_crps
from vardax_core.training.loop import LoopSettings, Trained, train
from vardax_core.training.objective import AbstractObjective, AbstractPairs, Found
from vardax_core.training.optimizer import OptimizerSettings

UNKNOWN = (0.35, 0.4, 0.4, 0.25)
"""Standard deviations of the logarithms of local spread, length, timescale and error about the
fitted ones, in simulations."""
JITTER = 1e-5
BATCH = 512
RATE = 2e-3
DECAY = 1e-2
HALVINGS = 30
LOOK = 50


Neighbours = tuple[Int[Array, "target near"], Bool[Array, "target near"]]
"""Numbers of the records around each target, and which of them are there."""


class Given(NamedTuple):
    """The part of a state that a field gives, and the covariance of the part that it lacks.

    Attributes:
        seen: at the neighbours of each target.
        value: at the targets.
        missing: covariance of what has to be drawn beside it.
    """

    seen: Float[Array, "target near"]
    value: Float[Array, " target"]
    missing: SpaceTimeCovariance


class RecordPairs(eqx.Module):
    """What a network is shown, and what it should have said.

    Attributes:
        views: of the records around each target.
        place: what is known of each target's place.
        value: of the target, as an innovation.
        error_variance: with which the value was observed; 0 where it is the state itself.
    """

    views: LocalViews
    place: Float[Array, " target"]
    value: Float[Array, " target"]
    error_variance: Float[Array, " target"]

    def take(self, index: Int[Array, " taken"]) -> "RecordPairs":
        """Some of them."""
        return jax.tree.map(lambda x: x[index], self)

    @property
    def size(self) -> int:
        return self.value.shape[0]


def joined(parts: list[RecordPairs]) -> RecordPairs:
    """Pairs of several sources."""
    return jax.tree.map(lambda *xs: jnp.concatenate(xs), *parts)


@eqx.filter_jit
def real_pairs(
    records: LocalRecords,
    chosen: Int[Array, " target"],
    targets: LocalTargets,
    neighbours: Neighbours,
    covariance: SpaceTimeCovariance,
    place: Float[Array, " obs"],
) -> RecordPairs:
    """Withheld records and the others around them.

    Arguments:
        records: with the errors of a fit.
        chosen: numbers of the records that are withheld.
        targets: where and when the state is looked at for them.
        neighbours: none of their own group.
        covariance: of the state.
        place: what is known of each record's place.
    """
    views = local_views(targets, records, *neighbours, covariance)
    error = records.error_sd[chosen] ** 2 + records.shared_sd[chosen] ** 2
    return RecordPairs(views, place[chosen], records.innovations[chosen], error)


@eqx.filter_jit
def simulated_pairs(
    records: LocalRecords,
    targets: LocalTargets,
    neighbours: Neighbours,
    covariance: SpaceTimeCovariance,
    place: Float[Array, " target"],
    given: Given | None = None,
    *,
    key: PRNGKeyArray,
) -> RecordPairs:
    """Draw a state at each target and what its neighbours would have seen of it.

    They are drawn from the joint distribution of the target and its neighbours, errors included,
    with spread, lengths, timescales and errors that differ from the fitted ones by factors drawn
    for each target: what is fitted holds on average over all places and days, and nowhere exactly.

    Arguments:
        records, targets, neighbours, covariance: as of `interpolate`; of the records, all but the
            innovations.
        place: what is known of each target's place.
        given: what a field says of the state; None to draw all of it.
        key: everything random follows from it.
    """
    size, dtype = targets.scale.size, targets.scale.dtype
    indices, near = neighbours
    factor_key, draw_key = jax.random.split(key)
    sd = jnp.asarray(UNKNOWN, dtype)
    factors = jnp.exp(sd[None] * jax.random.normal(factor_key, (size, 4), dtype))
    noise = jax.random.normal(draw_key, (size, indices.shape[1] + 1), dtype)
    drawn_from = covariance if given is None else given.missing

    def at_target(row: tuple[Array, ...]) -> tuple[Array, Array]:
        place, minutes, scale, index, there, factor, normal = row
        used = there & records.mask[index]
        errors = (records.error_sd * factor[3], records.shared_sd * factor[3])
        own = eqx.tree_at(lambda r: (r.error_sd, r.shared_sd), records, errors)
        by = reshaped(drawn_from, factor[:3])
        system = local_system(place, minutes, scale, index, used, own, by)
        prior = by.variance().astype(scale.dtype) * scale**2
        top = jnp.concatenate([system.matrix, system.to_target[:, None]], axis=1)
        last = jnp.append(system.to_target, prior)
        whole = jnp.concatenate([top, last[None]])
        root = jnp.sqrt(jnp.maximum(jnp.diagonal(whole), jnp.finfo(scale.dtype).tiny))
        correlation = whole / (root[:, None] * root[None, :])
        lower = jnp.linalg.cholesky(correlation + JITTER * jnp.eye(root.size, dtype=scale.dtype))
        drawn = root * (lower @ normal)
        return jnp.where(used, drawn[:-1], 0.0), drawn[-1]

    rows = (targets.straight, targets.minutes, targets.scale, indices, near, factors, noise)
    seen, value = in_blocks(at_target, rows, 256)
    if given is not None:
        seen, value = seen + given.seen, value + given.value
    views = local_views(targets, records, *neighbours, covariance, seen)
    return RecordPairs(views, place, value, jnp.zeros_like(value))


def predicted(
    network: RecordNetwork, pairs: RecordPairs
) -> tuple[Float[Array, " target"], Float[Array, " target"]]:
    """Mean and standard deviation of the values by a corrected interpolation, their own error
    included."""
    shift, factor = correction(network, pairs.views, pairs.place)
    variance = pairs.views.variance * factor**2 + pairs.error_variance
    return pairs.views.increment + shift, jnp.sqrt(variance)


class RecordObjective(AbstractObjective):
    """Mean CRPS of Gaussian predictions of the targets, and a share of their log score.

    The first is forgiving of rare large departures; the second keeps the spread what their root
    mean square is.

    Attributes:
        unit: in which the CRPS counts.
        share: of the log score.

    Source: Gneiting and Raftery (2007), doi:10.1198/016214506000001437
    """

    name: ClassVar[str] = "corrected interpolation"
    repair: ClassVar[str] = "look for impossible values among the observations"
    measures: ClassVar[tuple[str, ...]] = ()

    unit: Float[Array, ""]
    share: float = eqx.field(static=True, default=0.3)

    def loss(self, weights: Any, given: RecordPairs) -> tuple[Float[Array, ""], Found]:
        mean, sd = predicted(weights, given)
        crps = gaussian_crps(given.value, mean, sd) / self.unit
        z = (given.value - mean) / sd
        each = crps + self.share * (jnp.log(sd / self.unit) + 0.5 * z**2)
        return jnp.mean(each), Found(each)


class DrawnPairs(AbstractPairs):
    """Batches drawn from tables, so many of each.

    Attributes:
        tables: of pairs.
        key: folded with the number of the step.
        counts: pairs of a batch that come from each table.
    """

    tables: tuple[RecordPairs, ...]
    key: PRNGKeyArray
    counts: tuple[int, ...] = eqx.field(static=True)

    def deal(self, state: Any, first: int, count: int) -> tuple[Any, Any]:
        return state, jnp.arange(first, first + count)

    def given(self, state: Any, row: Int[Array, ""]) -> RecordPairs:
        keys = jax.random.split(jax.random.fold_in(self.key, row), len(self.tables))
        return joined(
            [
                table.take(jax.random.randint(key, (count,), 0, table.size))
                for key, table, count in zip(keys, self.tables, self.counts, strict=True)
            ]
        )

    def follow(self, given: Any, outcome: Any) -> Any:
        return None


def calibrated(network: RecordNetwork, pairs: RecordPairs) -> RecordNetwork:
    """The network with the bias of its spread such that the mean of squared standardised departures
    is one, or as near to it as its bounds allow.

    Arguments:
        network: trained.
        pairs: real ones.
    """

    return _with_bias(network, _bias(network, pairs))


def _with_bias(network: RecordNetwork, more: Float[Array, ""]) -> RecordNetwork:
    matrix, bias = network.layers[-1]
    return eqx.tree_at(lambda n: n.layers[-1], network, (matrix, bias.at[0].add(more)))


@eqx.filter_jit
def _bias(network: RecordNetwork, pairs: RecordPairs) -> Float[Array, ""]:
    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = (ends[0] + ends[1]) / 2
        mean, sd = predicted(_with_bias(network, middle), pairs)
        narrow = jnp.mean(((pairs.value - mean) / sd) ** 2) > 1
        return jnp.where(narrow, middle, ends[0]), jnp.where(narrow, ends[1], middle)

    ends = (jnp.asarray(-2.0, jnp.float32), jnp.asarray(2.0, jnp.float32))
    low, high = jax.lax.fori_loop(0, HALVINGS, halve, ends)
    return (low + high) / 2


def train_network(tables: tuple[RecordPairs, ...], steps: int, *, key: PRNGKeyArray) -> Trained:
    """Train a network on tables of pairs, each giving as much of every batch, and calibrate its
    spread on the first.

    The loss counts departures in the spread that the interpolation predicts for the first table.

    Arguments:
        tables: what it is trained on, real pairs first; none may be empty.
        steps: gradient steps.
        key: of the weights and the batches.
    """
    start_key, draw_key = jax.random.split(key)
    first = tables[0]
    unit = jnp.sqrt(jnp.mean(first.views.variance + first.error_variance))
    counts = tuple(BATCH // len(tables) for _ in tables)
    settings = LoopSettings(
        OptimizerSettings(
            steps, RATE, warm_up=min(20, steps - 1), clip=1.0, weight_decay=DECAY, average=0.98
        ),
        chunk=min(LOOK, steps),
    )
    made = train(
        RecordNetwork(key=start_key),
        RecordObjective(unit),
        DrawnPairs(tables, draw_key, counts),
        settings,
    )
    return dataclasses.replace(made, weights=calibrated(made.weights, first))
