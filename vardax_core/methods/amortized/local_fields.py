"""The amortized analysis where fields of the past are known on a large grid: a network corrects
the local interpolation of stations."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.record_network import RecordNetwork
from vardax_core.analysis.amortized.record_step import corrected
from vardax_core.analysis.local.step import LocalInterpolation
from vardax_core.cycling.adaptation import SpreadAdaptation
from vardax_core.cycling.keys import Purpose, cycle_key
from vardax_core.methods.base import Assembly, Problem, TrainingSettings
from vardax_core.methods.field_inputs import observing_network
from vardax_core.methods.field_references import FACTORIES, LOCAL_REFERENCE, LocalFieldReference
from vardax_core.methods.fields_prior import FieldsPrior
from vardax_core.methods.interpolation import (
    InterpolationMethod,
    station_interpolation,
    window_offsets,
)
from vardax_core.methods.priors import Learned, Progress
from vardax_core.training.convergence import judged
from vardax_core.training.loop import Trained as TrainedWeights
from vardax_core.training.record_pairs import train_network
from vardax_core.training.record_scores import HeldOut, held_out_scores
from vardax_core.training.record_set import blocks_of
from vardax_core.training.slots import UnfitPeriodError
from vardax_core.training.station_pairs import (
    UNUSUAL,
    PastFields,
    StationPairs,
    Windows,
    station_pairs,
)

FACTORY = "station-correction"
BLOCKS = 2
"""Of the states, of which each is held out once."""
FOLDS = 3
"""Groups of stations that are withheld in turn; each is one more analysis of a cycle."""


class StationCorrection(eqx.Module):
    """All that fields of the past leave behind for cycling on a large grid.

    Attributes:
        reference: what is learned for every method.
        network: that corrects the interpolation.
        place: what is known of each point, see `PastFields.place`.
    """

    reference: LocalFieldReference
    network: RecordNetwork
    place: Float[Array, "*state"]


def learn(
    problem: Problem, prior: FieldsPrior, training: TrainingSettings, progress: Progress
) -> Learned:
    """Learn what every method needs, and train the network on stations that see the fields.

    The states are divided into blocks. A sibling of the network, trained without a block, is
    scored there; if all siblings together are not surely as good as the interpolation, the network
    that is kept changes nothing, and the notes say so. Nothing is held that grows faster than the
    fields.

    Raises:
        UnfitPeriodError: if nothing can be learned from the period.
    """
    steps, parts, recipe = training.steps, BLOCKS + 1, prior.recipe
    base = prior.learn_locally(lambda *_: progress(0, steps, {}))
    known = base.module
    assert isinstance(known, LocalFieldReference), "what is learned without a dense covariance"
    assert known.local is not None, "fields of one variable have a covariance by distance"
    past = PastFields(
        prior.fields,
        prior.times,
        problem.grid,
        known.climatology,
        known.local.covariance,
        np.asarray(known.local.scale),
    )
    key = cycle_key(jax.random.key(training.seed), 0, Purpose.TRAINING)
    windows, seed = _windows(problem, prior, known), training.seed
    drawn = station_pairs(past, windows, seed=seed)
    unusual = station_pairs(past, windows, seed=seed + 1, unusual=UNUSUAL)
    pairs = (drawn, unusual)
    siblings = []
    for number, (held, made) in enumerate(_siblings(past, pairs, problem, steps, key=key), 1):
        siblings.append((held, made.weights))
        progress(number * steps // parts, steps, {"loss": float(made.curve[-1, 0])})
    if not siblings:
        raise UnfitPeriodError(
            f"{recipe.name}: the training period has {len(past.times)} states, too few for some to "
            "be held out; choose a longer one."
        )
    found = held_out_scores(drawn.pairs, siblings, drawn.points, drawn.rows)
    made = train_network(tuple(each.pairs for each in pairs), steps, key=jax.random.fold_in(key, 0))
    progress(steps, steps, {"loss": float(made.curve[-1, 0])})
    network = made.weights if found.better else jax.tree.map(jnp.zeros_like, made.weights)
    return Learned(
        StationCorrection(known, network, jnp.asarray(past.place, jnp.float32)),
        FACTORY,
        base.hyperparameters,
        {
            **base.metadata,
            "notes": [*base.metadata["notes"], said_of(found)],
            "loss_curve": [
                [n, float(x)] for n, x in zip(made.steps, made.curve[:, 0], strict=True)
            ],
            "convergence": judged(made.steps, made.curve[:, 0].tolist()).numbers(),
            "held_out": found._asdict() | {"kept": found.better},
        },
    )


def said_of(found: HeldOut) -> str:
    """What came of the siblings, in a sentence."""
    what = (
        f"at {found.number} points and times that were not trained on, CRPS is {found.gain:.3f} "
        f"({found.low:.3f} to {found.high:.3f}) times that of the interpolation, spread/RMSE "
        f"{found.spread_over_rmse:.2f} (interpolation {found.first_spread_over_rmse:.2f}), 90 % "
        f"coverage {found.coverage_90:.2f}"
    )
    if found.better:
        return f"the network corrects the interpolation: {what}."
    return (
        f"the interpolation is kept as it is, since the network is not surely as good: {what}. A "
        "longer training period may help."
    )


def build(
    problem: Problem, prior: FieldsPrior, learned: StationCorrection, spacing: int | None
) -> Assembly:
    """Assemble the correction of the interpolation of a network of stations.

    Arguments:
        spacing: setting of the interpolation.
    """
    step = station_interpolation(problem, prior, InterpolationMethod(spacing=spacing))
    assert isinstance(step.inner, LocalInterpolation), "before it is corrected"
    inner = corrected(step.inner, learned.network, learned.place)
    made = eqx.tree_at(lambda s: s.inner, step, inner)
    assembly = Assembly.of(prior, made, prior.climatology)
    return assembly._replace(adaptation=SpreadAdaptation(folds=FOLDS))


def correction_like(**sizes: Any) -> eqx.Module:
    """The factory that the model registry calls: a correction of zeros.

    Arguments:
        sizes: of what is learned for every method.
    """
    known = FACTORIES[LOCAL_REFERENCE](**sizes)
    assert isinstance(known, LocalFieldReference), "what its factory makes"
    place = jnp.zeros(known.climatology.state_shape, jnp.float32)
    return StationCorrection(known, RecordNetwork(key=jax.random.key(0)), place)


def _windows(problem: Problem, prior: FieldsPrior, known: LocalFieldReference) -> Windows:
    """How the interpolation looks at the stations of a recipe."""
    usual, recipe = InterpolationMethod(), prior.recipe
    assert prior.nature_run is not None, "what is learned from fields has them"
    assert known.local is not None, "fields of one variable have a covariance by distance"
    network = observing_network(recipe, prior.nature_run)
    search = usual.search(problem.grid, known.local.covariance)
    return Windows(
        offsets=window_offsets(recipe),
        radius=search.radius,
        most=search.most,
        pace=search.pace or 0.0,
        stations=network.stations,
        error_sd=network.error_sd,
        error_factor=float(known.local.error_factor),
    )


def _siblings(
    past: PastFields,
    pairs: tuple[StationPairs, ...],
    problem: Problem,
    steps: int,
    *,
    key: PRNGKeyArray,
) -> list[tuple[np.ndarray, TrainedWeights]]:
    """For each block of states, the first pairs there, and weights that were trained without it."""
    earliest = past.times + int(window_offsets(problem.recipe)[0])
    made = []
    for number, block in enumerate(blocks_of(len(past.times), BLOCKS)):
        inside = past.times[block]
        # A window that begins in the block has seen it.
        met = block | ((earliest <= inside[-1]) & (past.times >= inside[0]))
        held = np.flatnonzero(block[pairs[0].rows])
        others = [np.flatnonzero(~met[each.rows]) for each in pairs]
        if not held.size or not all(other.size for other in others):
            continue
        # As many as in the whole, some twice, so that one program serves all trainings.
        mine = tuple(
            each.pairs.take(jnp.asarray(np.resize(other, each.rows.size)))
            for each, other in zip(pairs, others, strict=True)
        )
        made.append((held, train_network(mine, steps, key=jax.random.fold_in(key, 1 + number))))
    return made
