"""Biases that are carried: found again with their intervals, anchored and forgotten; steps."""

import dataclasses
import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.cycling.biases import BiasCorrection
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.departures import Departures
from vardax_core.observations.operators import sampling
from vardax_core.types import Analysis, Observations, ResultCode

UNITS, INTERVAL, MEMORY = 24, 1440, 40.0


class Mean(AbstractAnalysisStep):
    """The mean of all observations at every point."""

    operator: AbstractObservationOperator

    def analyse(self, background, observations, *, key):
        weight = observations.mask.astype(background.dtype)
        mean = jnp.sum(jnp.where(observations.mask, observations.values, 0.0)) / jnp.sum(weight)
        ensemble = jnp.full_like(background, 0.0) + mean
        return Analysis(
            ensemble=ensemble,
            mean=ensemble[0],
            spread=jnp.zeros_like(ensemble[0]),
            result=jnp.asarray(int(ResultCode.OK), jnp.int32),
            diagnostics={},
        )


KEEP = math.exp(-1 / MEMORY)


def correction(*, anchor=None, usual_sd=1.0, streams=1, stream=None, **changes):
    """Every platform a unit of its own, and every record of a platform of its own."""
    zeros = jnp.zeros(UNITS)
    return dataclasses.replace(
        BiasCorrection(
            unit_of=jnp.arange(UNITS, dtype=jnp.int32),
            stream=jnp.zeros(UNITS, jnp.int32) if stream is None else jnp.asarray(stream),
            anchor=jnp.ones(UNITS, bool) if anchor is None else jnp.asarray(anchor),
            fixed=zeros,
            carried=jnp.ones(UNITS, bool),
            keep=jnp.full(UNITS, KEEP),
            usual_sd=jnp.full(UNITS, usual_sd),
            first_mean=zeros,
            correlation=jnp.asarray(0.0),
            first_variance=jnp.full(UNITS, jnp.inf),
            platforms=jnp.arange(UNITS, dtype=jnp.int32),
            streams=streams,
            learns=True,
        ),
        **changes,
    )


def departures(innovation):
    """Of records whose background and observation errors have a variance of one half each."""
    there = jnp.isfinite(innovation)
    half = jnp.full(innovation.shape, 0.5)
    none = jnp.zeros_like(there)
    return Departures(
        values=innovation,
        error_sd=jnp.sqrt(half),
        used=there,
        rejected=none,
        withheld=none,
        quality=jnp.where(there, 0, 8).astype(jnp.int8),
        mean=jnp.zeros_like(innovation),
        variance=half,
        innovation=innovation,
        mean_variance=jnp.zeros(()),
    )


@eqx.filter_jit
def followed(made, state, reported):
    """The state after every cycle, of what was reported minus the background."""

    def body(state, one):
        time, values = one
        taken = made.correction(state, values.dtype)
        after = made.update(state, departures(values - taken), taken, time, INTERVAL)
        return after, (after, after.bias, after.sd)

    times = INTERVAL * jnp.arange(1, len(reported) + 1, dtype=jnp.int32)
    return jax.lax.scan(body, state, (times, jnp.asarray(reported)))[1]


def reports(seed, cycles, biases=0.0, *, correlation=0.0, missing=0.2):
    """O - B with a level that wanders, of which a share is missing."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(cycles, UNITS))
    for t in range(1, cycles):
        noise[t] = correlation * noise[t - 1] + math.sqrt(1 - correlation**2) * noise[t]
    level = np.cumsum(rng.normal(0, 0.3, cycles))
    found = level[:, None] + biases + noise
    return np.where(rng.random(found.shape) < missing, np.nan, found)


def centred(biases):
    return biases - biases.mean()


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_biases_are_found_within_their_intervals(correlation):
    # Half of the variance is the analysis', which is to account for all of the correlation.
    lasting = 2 * (1 + correlation) / (1 - correlation) - 1
    lasting = jnp.asarray((lasting - 1) / (lasting + 1))
    made, found = dataclasses.replace(correction(), correlation=lasting), []
    for seed in range(4):
        truth = centred(np.random.default_rng(100 + seed).normal(0, 1.0, UNITS))
        given = reports(seed, 200, truth, correlation=correlation)
        _, bias, sd = followed(made, made.init(jnp.float64), given)
        found.append((np.asarray(bias[-1]) - truth) / np.asarray(sd[-1]))
        assert np.mean((np.asarray(bias[-1]) - truth) ** 2) < 0.2 * np.mean(truth**2)
    z = np.concatenate(found)
    assert np.mean(np.abs(z) < 1.96) > 0.9
    # Not so wide that they say nothing.
    assert np.sqrt(np.mean(z**2)) > 0.4


def test_what_all_platforms_are_off_by_is_left_to_the_analysis():
    made, given = correction(), reports(3, 60, centred(np.linspace(-1, 1, UNITS)))
    _, bias, _ = followed(made, made.init(jnp.float64), given)
    _, shifted, _ = followed(made, made.init(jnp.float64), given + 2.5)
    np.testing.assert_allclose(shifted, bias, atol=1e-10)
    np.testing.assert_allclose(np.mean(bias[20:], axis=1), 0.0, atol=1e-10)


def test_the_biases_of_others_are_relative_to_the_anchors():
    anchor = np.arange(UNITS) < UNITS // 2
    truth = np.where(anchor, 0.0, 1.5)
    made = correction(anchor=anchor, usual_sd=2.0)
    _, bias, sd = followed(made, made.init(jnp.float64), reports(5, 150, truth))
    assert abs(float(jnp.mean(bias[-1][anchor]))) < 1e-10
    assert float(jnp.mean(bias[-1][~anchor])) == pytest.approx(1.5, abs=0.15)
    assert np.all(np.asarray(sd[-1]) < 0.5)


@pytest.mark.parametrize("size", [3.0, -12.0])
def test_a_step_is_found_with_its_time_and_size(size):
    made, given, when = correction(), reports(7, 160), 100
    given[when:, 4] += size
    after, bias, _ = followed(made, made.init(jnp.float64), given)
    count, onset, found = (np.asarray(after.steps[-1][k]) for k in range(3))
    np.testing.assert_array_equal(count, np.arange(UNITS) == 4)
    assert found[4] <= (when + 1 + 16) * INTERVAL
    assert abs(onset[4] - (when + 1) * INTERVAL) <= 3 * INTERVAL
    # Of a step in one of several anchors, the others take a share of the opposite sign.
    assert float(after.size[-1][4]) == pytest.approx(size, rel=0.3)
    assert float(bias[-1][4]) == pytest.approx(size, rel=0.25)


def test_no_step_is_found_where_there_is_none():
    made = correction()
    given = np.stack([reports(20 + n, 150, correlation=0.3 * (n % 3)) for n in range(20)])
    given[:, 70, 3] += 30.0
    after, *_ = jax.vmap(lambda one: followed(made, made.init(jnp.float64), one))(given)
    assert int(np.sum(after.steps[:, -1, 0])) == 0


def test_a_gap_of_a_month_leaves_less_certain_and_no_other_biases():
    made, truth = correction(), centred(np.linspace(-2, 2, UNITS))
    given = reports(9, 130, truth)
    given[80:110] = np.nan
    after, bias, sd = followed(made, made.init(jnp.float64), given)
    bias, sd = np.asarray(bias), np.asarray(sd)
    assert np.isfinite(bias).all()
    assert np.all(np.diff(np.abs(bias[79:110]), axis=0) <= 1e-12)
    assert np.all(np.diff(sd[79:110], axis=0) > 0)
    np.testing.assert_array_equal(np.sign(bias[109]), np.sign(bias[79]))
    assert int(np.sum(after.steps[-1][0])) == 0
    assert np.mean((bias[-1] - truth) ** 2) < 0.2 * np.mean(truth**2)


def test_what_an_analysis_is_off_by_for_long_is_not_told_from_a_bias():
    """However often a departure is seen, the doubt of an analysis that hardly changes stays."""
    truth = centred(np.linspace(-1, 1, UNITS))
    slow = correction(usual_sd=1.0, correlation=jnp.asarray(0.99))
    _, bias, sd = followed(slow, slow.init(jnp.float64), reports(4, 60, truth))
    np.testing.assert_allclose(sd[-1], math.sqrt(0.5 / 1.5), rtol=0.15)
    assert np.mean(np.abs(np.asarray(bias[-1])) < np.abs(truth)) > 0.8


def test_one_anchor_alone_teaches_nothing():
    made = correction()
    given = np.full((5, UNITS), np.nan)
    given[:, 2] = 4.0
    _, bias, _ = followed(made, made.init(jnp.float64), given)
    np.testing.assert_array_equal(bias, 0.0)


def test_a_stored_state_grows_with_the_platforms():
    made = correction()
    whole = made.init(jnp.float64)
    state = jax.tree.map(lambda leaf: leaf[-1], followed(made, whole, reports(2, 30))[0])
    fewer = functools.partial(jax.tree.map, lambda leaf: leaf[..., : UNITS - 5])
    old = dataclasses.replace(fewer(state), pooled=state.pooled)
    grown = made.fitted(old, jnp.float64)
    np.testing.assert_array_equal(grown.mean[: UNITS - 5], state.mean[: UNITS - 5])
    np.testing.assert_array_equal(grown.cycles[UNITS - 5 :], 0.0)
    np.testing.assert_array_equal(grown.pooled, state.pooled)
    assert jax.tree.map(jnp.shape, grown) == jax.tree.map(jnp.shape, whole)


def test_a_platform_is_compared_with_an_analysis_that_has_not_seen_it(key):
    """With one grid point, and the mean of all for an analysis, it is the mean of the others."""
    made = correction()
    # Two records of each of twelve platforms.
    platforms = jnp.arange(UNITS, dtype=jnp.int32) // 2
    made = eqx.tree_at(lambda b: b.platforms, made, platforms)
    values = jnp.arange(float(UNITS))
    step = Mean(sampling(np.zeros(UNITS, int), (1,)))
    background = jnp.zeros((3, 1))
    window = Observations.from_values(values[None], jnp.ones((1, UNITS)), jnp.zeros(1, jnp.int32))
    before = Departures.of(step.operator, background, window)
    found = made.without_own(step, background, window, before, key=key)
    expected = np.asarray(values - found.innovation)
    # Both records of a platform are left out together, with those of its group.
    np.testing.assert_array_equal(expected[::2], expected[1::2])
    groups = {round(float(e), 6): np.flatnonzero(np.isclose(expected, e)) for e in expected}
    assert len(groups) == 4
    for mean, members in groups.items():
        rest = np.setdiff1d(np.arange(UNITS), members)
        assert mean == pytest.approx(np.mean(rest))


def test_what_is_not_carried_is_taken_off_as_it_is():
    fixed = jnp.asarray(np.linspace(-1, 1, UNITS))
    made = correction(fixed=fixed, carried=jnp.zeros(UNITS, bool), learns=False)
    platforms = jnp.array([3, -1, UNITS + 7, 0], jnp.int32)
    made = eqx.tree_at(lambda b: b.platforms, made, platforms)
    assert made.init() is None
    taken = made.correction(None, jnp.float64)
    np.testing.assert_allclose(taken, [float(fixed[3]), 0.0, 0.0, -1.0])
