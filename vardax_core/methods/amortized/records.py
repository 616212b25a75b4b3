"""The amortized analysis where observations are real: a network corrects their interpolation."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vardax_core.analysis.amortized.record_network import RecordNetwork
from vardax_core.analysis.amortized.record_step import corrected
from vardax_core.analysis.local.interpolation import LocalRecords, LocalTargets
from vardax_core.analysis.local.step import GROSS
from vardax_core.cycling.keys import Purpose, cycle_key
from vardax_core.data.observed_period import ObservedPeriod
from vardax_core.data.recipe import Recipe
from vardax_core.data.reports import OBSERVED_AT, seconds_of
from vardax_core.data.timeaxis import to_minutes
from vardax_core.methods.base import Assembly, Problem, Trained, TrainingSettings
from vardax_core.methods.interpolation import InterpolationMethod, local_interpolation
from vardax_core.methods.priors import Learned, Progress
from vardax_core.methods.reported_biases import biases_of
from vardax_core.methods.reported_prior import (
    ReportedPrior,
    ReportedReference,
    reference_like,
    training_records,
    withheld_groups,
)
from vardax_core.observations.placement import ReportedErrors
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.state.grids import AbstractGrid
from vardax_core.training.convergence import judged
from vardax_core.training.record_fields import PriorFields
from vardax_core.training.record_pairs import (
    Given,
    RecordPairs,
    real_pairs,
    simulated_pairs,
    train_network,
)
from vardax_core.training.record_scores import HeldOut, held_out_scores
from vardax_core.training.record_set import (
    LeakError,
    Reach,
    RecordSet,
    blocks_of,
    check_apart,
)
from vardax_core.training.slots import UnfitPeriodError

FACTORY = "record-correction"
USUAL_STEPS = 300
REAL, SIMULATED = 3000, 2000
"""Withheld records, and simulated targets, that are trained on."""
BLOCKS = 2
"""Of the observation times, of which each is held out once."""


class RecordCorrection(eqx.Module):
    """All that real observations leave behind for cycling.

    Attributes:
        reference: what is learned for every method.
        network: that corrects the interpolation.
        place: what is known of each point: the logarithm of the standard deviation of the fields
            of the prior over its typical value; 0 without fields.
    """

    reference: ReportedReference
    network: RecordNetwork
    place: Float[Array, "*state"]


class _Sources(NamedTuple):
    """What pairs are made of."""

    given: RecordSet
    grid: AbstractGrid
    coordinates: Float[np.ndarray, "obs coordinate"]
    fields: PriorFields | None
    place: Float[np.ndarray, " point"]


def learn(problem: Problem, training: TrainingSettings, progress: Progress) -> Learned:
    """Learn what every method needs, and train the network on withheld and simulated records.

    The observation times are divided into blocks. A sibling of the network, trained without a
    block, is scored on withheld records there; if all siblings together are not surely as good as
    the interpolation, the network that is kept changes nothing, and the notes say so.

    Raises:
        UnfitPeriodError: if there are too few observations, or too few observation times.
        LeakError: if what is withheld is there under another name.
    """
    prior = problem.prior
    assert isinstance(prior, ReportedPrior), "what learns from records has them"
    assert prior.period is not None, "while training, the observations are at hand"
    steps, parts = training.steps, BLOCKS + 1
    _refuse_copies(prior.recipe, prior.period)
    base = prior.learn(lambda *_: progress(0, steps, {}))
    known = base.module
    assert isinstance(known, ReportedReference)
    sources = _sources(prior, known, problem)
    given = sources.given
    seed = training.seed
    key = cycle_key(jax.random.key(seed), 0, Purpose.TRAINING)
    simulated = _simulated(sources, seed, key=jax.random.fold_in(key, 1))
    chosen = given.drawn(REAL, seed=seed)
    pairs, _ = _real(given, chosen)
    siblings = []
    for number, block in enumerate(blocks_of(given.minutes.size, BLOCKS)):
        held = np.flatnonzero(block[given.times[chosen]])
        other = chosen[~block[given.times[chosen]]]
        if not held.size or not other.size:
            continue
        # As many as in the whole, some twice, so that one program serves all trainings.
        mine, seen = _real(given, np.resize(other, chosen.size), without=block)
        check_apart(other, chosen[held], seen, given.times)
        made = train_network((mine, simulated), steps, key=jax.random.fold_in(key, 2 + number))
        siblings.append((held, made.weights))
        progress((number + 1) * steps // parts, steps, {"loss": float(made.curve[-1, 0])})
    if not siblings:
        raise UnfitPeriodError(
            f"{prior.recipe.name}: the observations of the training period are of one observation "
            "time, expected two at least, so that one can be held out; choose a longer period."
        )
    found = held_out_scores(
        pairs, siblings, np.asarray(given.records.platform)[chosen], given.times[chosen]
    )
    made = train_network((pairs, simulated), steps, key=jax.random.fold_in(key, 0))
    progress(steps, steps, {"loss": float(made.curve[-1, 0])})
    verdict = judged(made.steps, made.curve[:, 0].tolist())
    place = jnp.asarray(sources.place.reshape(known.scale.shape), jnp.float32)
    network = made.weights if found.better else jax.tree.map(jnp.zeros_like, made.weights)
    return Learned(
        RecordCorrection(known, network, place),
        FACTORY,
        base.hyperparameters,
        {
            **base.metadata,
            "notes": [*base.metadata["notes"], said_of(found)],
            "loss_curve": [
                [n, float(x)] for n, x in zip(made.steps, made.curve[:, 0], strict=True)
            ],
            "convergence": verdict.numbers(),
            "held_out": found._asdict() | {"kept": found.better},
        },
    )


def said_of(found: HeldOut) -> str:
    """What came of the siblings, in a sentence."""
    if found.better:
        return f"the network corrects the interpolation: {found.words}."
    return (
        f"the interpolation is kept as it is, since the network is not surely as good: "
        f"{found.words}. A longer training period may help."
    )


def build(problem: Problem, trained: Trained, spacing: int | None) -> Assembly:
    """Assemble the correction of the interpolation.

    Arguments:
        spacing: setting of the interpolation.
    """
    learned, prior = trained.module, problem.prior
    assert isinstance(learned, RecordCorrection), "what `learn` gave"
    method = InterpolationMethod(spacing=spacing)
    first = local_interpolation(problem, learned.reference, method)
    step = corrected(first, learned.network, learned.place)
    return Assembly.of(prior, step, learned.reference.climatology)


def correction_like(**reference: Any) -> eqx.Module:
    """The factory that the model registry calls: a correction of zeros.

    Arguments:
        reference: of `reference_like`.
    """
    known = reference_like(**reference)
    return RecordCorrection(
        known, RecordNetwork(key=jax.random.key(0)), jnp.zeros(known.scale.shape, jnp.float32)
    )


def _refuse_copies(recipe: Recipe, period: ObservedPeriod) -> None:
    if not period.copies:
        return
    withheld, other, count = period.copies[0]
    raise LeakError(
        f"{recipe.name}: {count} values of {withheld}, which is withheld, are there a second time "
        f"as {other}, at the same places and times, so that what is scored would be known; remove "
        "one of the two from the files, or give both the same platform name."
    )


def _sources(prior: ReportedPrior, known: ReportedReference, problem: Problem) -> _Sources:
    """The records of the training period as innovations with their errors, and the fields."""
    recipe, period, grid = prior.recipe, prior.period, problem.grid
    assert period is not None
    records = training_records(recipe, period, grid, np.asarray(known.climatology.mean))
    codes = period.observations[QUALITY_CONTROL].transpose("time", "station").to_numpy()
    times, columns = np.nonzero(codes == QualityCode.KEPT)
    coordinates = np.stack(
        [
            period.observations[dim].transpose("time", "station").to_numpy()[times, columns]
            for dim in recipe.state_dims
        ],
        axis=1,
    )
    start = to_minutes(period.observations["time"].values)
    fields, place = _fields(recipe, period, grid)
    corners = grid.stencil(coordinates)
    # What is corrected is the method interpolation as it usually is.
    first = local_interpolation(problem, known, InterpolationMethod())
    wanted, window = first.wanted, recipe.window
    about = recipe.forecast_files is not None
    biases = biases_of(
        recipe,
        period.platforms,
        known.units,
        np.asarray(known.biases),
        np.asarray(records.platform),
    )
    given = RecordSet(
        records=_with_errors(records, known, biases),
        times=times,
        minutes=(start - float(_first_minute(period, codes))).astype(np.float64),
        groups=withheld_groups(records),
        place=np.sum(corners.weights * place[corners.indices], axis=1),
        covariance=known.covariance,
        reach=Reach(
            wanted.radius,
            wanted.most,
            wanted.pace or 0.0,
            wanted.thinned,
            before=0 if about else window.times - 1,
            after=0 if about else window.after or 0,
        ),
    )
    return _Sources(given, grid, coordinates, fields, place)


def _first_minute(period: ObservedPeriod, codes: np.ndarray) -> float:
    """What the minutes of `training_records` are counted from."""
    seconds = period.observations[OBSERVED_AT].transpose("time", "station").to_numpy()
    return float((seconds_of(seconds)[codes == QualityCode.KEPT] / 60.0).min())


def _with_errors(
    records: LocalRecords, known: ReportedReference, biases: Float[np.ndarray, " obs"]
) -> LocalRecords:
    """The records without the biases of their platforms, with the errors of the fit, and without
    gross departures."""
    errors = ReportedErrors(*map(float, known.errors[:3]))  # type: ignore[arg-type]
    departures = records.innovations - jnp.asarray(biases, records.innovations.dtype)
    own = jnp.hypot(errors.factor * records.error_sd, jnp.asarray(errors.nugget_sd, jnp.float32))
    shared = jnp.full_like(own, errors.shared_sd)
    expected = jnp.sqrt(known.covariance.variance() + own**2 + shared**2)
    mask = records.mask & (jnp.abs(departures) <= GROSS * expected)
    return eqx.tree_at(
        lambda r: (r.innovations, r.error_sd, r.shared_sd, r.mask),
        records,
        (departures, own, shared, mask),
    )


def _fields(
    recipe: Recipe, period: ObservedPeriod, grid: AbstractGrid
) -> tuple[PriorFields | None, Float[np.ndarray, " point"]]:
    """The fields of the prior, and the logarithm of their local standard deviation over its
    typical value."""
    if period.fields is None:
        return None, np.zeros(grid.size)
    fields = period.fields[recipe.variable.name].transpose("time", *recipe.state_dims)
    values = fields.to_numpy().reshape(fields.sizes["time"], -1).astype(np.float64)
    inside = np.ones(grid.size, bool) if grid.mask is None else np.asarray(grid.mask).reshape(-1)
    inside &= np.isfinite(values).all(axis=0)
    values = np.where(inside, values, 0.0)
    anomalies = values - values.mean(axis=0)
    sd = anomalies.std(axis=0)
    typical = np.median(sd[inside & (sd > 0)]) if (inside & (sd > 0)).any() else 1.0
    place = np.where(inside & (sd > 0), np.log(np.maximum(sd, 0.1 * typical) / typical), 0.0)
    minutes = to_minutes(fields["time"].values).astype(np.float64)
    straight = grid.embedded(grid.points())
    return PriorFields(anomalies, minutes, straight, np.flatnonzero(inside)), place


def _real(
    given: RecordSet,
    chosen: Int[np.ndarray, " target"],
    without: np.ndarray | None = None,
) -> tuple[RecordPairs, Int[np.ndarray, " seen"]]:
    """Pairs of withheld records, and the numbers of the records that they were predicted from."""
    targets, times = given.targets(chosen), given.times[chosen]
    around = given.around(targets, times, withheld=given.groups[chosen], without=without)
    pairs = real_pairs(
        given.records,
        jnp.asarray(chosen),
        targets,
        (jnp.asarray(around.indices), jnp.asarray(around.near)),
        given.covariance,
        jnp.asarray(given.place, jnp.float32),
    )
    return pairs, np.unique(around.indices[around.near])


def _simulated(sources: _Sources, seed: int, *, key: Array) -> RecordPairs:
    """Pairs at points of the grid and observation times at random, with the real places of the
    records; drawn about fields of the prior where there are any."""
    given, grid = sources.given, sources.grid
    rng = np.random.default_rng([seed, 1])
    inside = np.flatnonzero(np.ones(grid.size, bool) if grid.mask is None else grid.mask)
    points = inside[rng.integers(0, inside.size, SIMULATED)]
    times = rng.choice(np.unique(given.times[given.usable]), SIMULATED)
    straight = jnp.asarray(grid.embedded(grid.points()[points]), jnp.float32)
    targets = LocalTargets.at(straight, jnp.asarray(given.minutes[times], jnp.float32))
    around = given.around(targets, times)
    indices, near = around.indices, around.near
    field = None
    if sources.fields is not None:
        factor, missing = sources.fields.missing(given.covariance, seed=seed)
        corners = grid.stencil(sources.coordinates)
        before = np.asarray(given.records.minutes)[indices] - given.minutes[times][:, None]
        begun = sources.fields.starts(np.abs(before[near]).max(initial=0.0), SIMULATED, seed=seed)
        seen = sources.fields.at(
            corners.indices[indices], corners.weights[indices], begun[:, None] + before
        )
        value = sources.fields.at(points[:, None], np.ones((SIMULATED, 1)), begun)
        field = Given(
            jnp.asarray(factor * np.where(near, seen, 0.0), jnp.float32),
            jnp.asarray(factor * value, jnp.float32),
            missing,
        )
    return simulated_pairs(
        given.records,
        targets,
        (jnp.asarray(indices), jnp.asarray(near)),
        given.covariance,
        jnp.asarray(sources.place[points], jnp.float32),
        field,
        key=key,
    )
