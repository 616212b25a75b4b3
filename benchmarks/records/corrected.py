"""The network that corrects a local interpolation, scored beside it on withheld records."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from vardax_core.analysis.local.interpolation import LocalTargets
from vardax_core.training.record_pairs import real_pairs, simulated_pairs, train_network
from vardax_core.training.record_scores import HeldOut, held_out_scores
from vardax_core.training.record_set import Reach, RecordSet

SHOWN, STEPS = 2500, 300
"""Withheld and simulated targets of a training, each, and gradient steps."""


def corrected_scores(fit, records, groups, times, test, points, *, most, seed=0) -> HeldOut:
    """Train on the usable records and score on others, all predicted from the usable ones.

    Arguments:
        fit, records: as of the interpolation; those to be scored are masked or of other times.
        groups: what is withheld together.
        times: number of the time of each record, in the order of time.
        test: numbers of the records to be scored.
        points: straight coordinates where states are simulated.

    Returns:
        Scores, with the gain over the interpolation of the same records.
    """
    _, times = np.unique(times, return_inverse=True)
    minutes = np.bincount(times, np.asarray(records.minutes)) / np.bincount(times)
    covariance = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), fit.covariance)
    reach = Reach(np.inf, most, fit.speed, (), len(minutes), len(minutes))
    shown = np.asarray(records.mask).copy()
    shown[test] = False
    trained = eqx.tree_at(lambda r: r.mask, records, jnp.asarray(shown))
    place = np.zeros(len(times))
    given, whole = (
        RecordSet(some, times, minutes, groups, place, covariance, reach)
        for some in (trained, records)
    )
    rng = np.random.default_rng(seed)

    def pairs(of, chosen):
        targets = of.targets(chosen)
        around = of.around(targets, times[chosen], withheld=groups[chosen])
        near = (jnp.asarray(around.indices), jnp.asarray(around.near))
        nowhere = jnp.asarray(place, jnp.float32)
        return real_pairs(of.records, jnp.asarray(chosen), targets, near, covariance, nowhere)

    real = pairs(given, given.drawn(SHOWN, seed=seed))
    when = rng.choice(times[shown], SHOWN)
    where = points[rng.integers(0, len(points), SHOWN)]
    targets = LocalTargets.at(
        jnp.asarray(where, jnp.float32), jnp.asarray(minutes[when], jnp.float32)
    )
    around = given.around(targets, when)
    near = (jnp.asarray(around.indices), jnp.asarray(around.near))
    nothing = jnp.zeros(SHOWN, jnp.float32)
    drawn = simulated_pairs(trained, targets, near, covariance, nothing, key=jax.random.key(seed))
    network = train_network((real, drawn), STEPS, key=jax.random.key(seed)).weights
    every = [(np.arange(len(test)), network)]
    return held_out_scores(pairs(whole, test), every, groups[test], times[test])
