"""The chain of fallbacks: who makes the analysis, and what the result says."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.ensemble.etkf import ETKF
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.guard import Guard
from vardax_core.cycling.keys import cycle_keys
from vardax_core.cycling.passed import CycleInput
from vardax_core.cycling.trust import CHECKS, DepartureMonitor
from vardax_core.models.lorenz96 import Lorenz96
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.departures import Departures
from vardax_core.observations.operators import Identity
from vardax_core.types import Analysis, Observations, ResultCode

N, MEMBERS = 8, 6
OPERATOR = Identity((N,))
STEP, FALLBACK = ETKF(OPERATOR, 1.05), ETKF(OPERATOR, 1.3)


class Broken(AbstractAnalysisStep):
    """An analysis that is never finite."""

    operator: AbstractObservationOperator

    def analyse(self, background, observations, *, key) -> Analysis:
        good = STEP.analyse(background, observations, key=key)
        return eqx.tree_at(lambda a: a.ensemble, good, good.ensemble * jnp.nan)


def guard(threshold, *fallbacks):
    shape = (1, len(CHECKS))
    monitor = DepartureMonitor(
        jnp.zeros(shape), jnp.ones(shape), jnp.asarray(threshold), memories=(5.0,)
    )
    return Guard(monitor, fallbacks)


@pytest.fixture
def case(key):
    member_key, value_key = jax.random.split(key)
    background = 2 + jax.random.normal(member_key, (MEMBERS, N))
    values = 2 + jax.random.normal(value_key, (1, N))
    one = jnp.ones((1, N))
    return background, Observations(values, one > 0, one, jnp.zeros(1, jnp.int32))


def judged(which, step, case, key):
    trust = which.monitor.init(N, case[0].dtype)
    departures = Departures.of(OPERATOR, *case)
    return eqx.filter_jit(which.judge)(step, *case, departures, trust, key=key)


def same(verdict, analysis):
    """Equal but for the rounding of two compiled programs."""
    for name in ("ensemble", "mean", "spread"):
        found, expected = getattr(verdict.analysis, name), getattr(analysis, name)
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_a_trusted_analysis_is_the_method_s_own(case, key):
    verdict = judged(guard(1e6, FALLBACK), STEP, case, key)
    same(verdict, eqx.filter_jit(STEP)(*case, key=key))
    assert (int(verdict.method), int(verdict.analysis.result)) == (0, ResultCode.OK)


def test_an_analysis_out_of_its_depth_is_replaced_and_says_why(case, key):
    verdict = judged(guard(0.0, FALLBACK), STEP, case, key)
    same(verdict, eqx.filter_jit(FALLBACK)(*case, key=key))
    assert int(verdict.method) == 1
    assert int(verdict.analysis.result) == ResultCode.OUT_OF_DISTRIBUTION
    assert float(verdict.score) > 0


def test_the_chain_goes_on_where_a_fallback_fails(case, key):
    verdict = judged(guard(1e6, Broken(OPERATOR), FALLBACK), Broken(OPERATOR), case, key)
    same(verdict, eqx.filter_jit(FALLBACK)(*case, key=key))
    assert (int(verdict.method), int(verdict.analysis.result)) == (2, ResultCode.NON_FINITE)


def test_the_background_is_the_last_resort(case, key):
    verdict = judged(guard(0.0, Broken(OPERATOR)), STEP, case, key)
    assert np.array_equal(verdict.analysis.ensemble, case[0])
    assert int(verdict.method) == 2
    assert int(verdict.analysis.result) == ResultCode.OUT_OF_DISTRIBUTION


@pytest.mark.parametrize(("better", "method"), [((False, False), 0), ((False, True), 2)])
def test_only_a_fallback_that_is_better_replaces_what_is_not_trusted(case, key, better, method):
    other = ETKF(OPERATOR, 1.1)
    which = dataclasses.replace(guard(0.0, FALLBACK, other), better=jnp.asarray(better))
    verdict = judged(which, STEP, case, key)
    same(verdict, eqx.filter_jit((STEP, FALLBACK, other)[method])(*case, key=key))
    assert int(verdict.method) == method
    assert int(verdict.analysis.result) == ResultCode.OUT_OF_DISTRIBUTION


def test_what_failed_falls_back_even_if_no_fallback_is_better(case, key):
    which = dataclasses.replace(guard(0.0, FALLBACK), better=jnp.asarray([False]))
    verdict = judged(which, Broken(OPERATOR), case, key)
    same(verdict, eqx.filter_jit(FALLBACK)(*case, key=key))
    assert (int(verdict.method), int(verdict.analysis.result)) == (1, ResultCode.NON_FINITE)


def test_a_cycle_without_observations_needs_no_fallback(case, key):
    background, window = case
    empty = eqx.tree_at(lambda o: o.mask, window, jnp.zeros_like(window.mask))
    verdict = judged(guard(0.0, FALLBACK), STEP, (background, empty), key)
    assert np.array_equal(verdict.analysis.ensemble, background)
    assert (int(verdict.method), int(verdict.analysis.result)) == (0, ResultCode.NO_OBSERVATIONS)
    assert float(verdict.score) == 0.0


@pytest.mark.slow
def test_a_guarded_cycle_that_trusts_itself_is_the_cycle_without_a_guard(case, key):
    background, window = case
    plain = CycleProgram(
        model=Lorenz96(state_shape=(N,)),
        step=STEP,
        adaptation=None,
        score_weights=jnp.ones(N),
        spread_scale=1.0,
    )
    guarded = dataclasses.replace(plain, guard=guard(1e6, FALLBACK))
    given = CycleInput(window, jnp.zeros(N, jnp.int8), jnp.ones(N), jnp.asarray(True))
    outputs = []
    for program in (plain, guarded):
        state = program.initial_state(background, jnp.zeros((), jnp.int32))
        outputs.append(
            eqx.filter_jit(program.run)(state, given, keys=cycle_keys(key, state.cycle))[1]
        )
    ensembles = [o.analysis.ensemble for o in outputs]
    np.testing.assert_allclose(*ensembles, rtol=1e-10)
    assert np.isnan(outputs[0].trust_score)
    assert np.isfinite(outputs[1].trust_score)


@pytest.mark.slow
def test_streams_side_by_side_are_judged_as_each_alone(case, key):
    background, observations = case
    # Without an observation nothing is to be replaced; with threshold 0 all else is.
    streams = [
        eqx.tree_at(lambda o: o.mask, observations, jnp.full((1, N), seen))
        for seen in (False, True, False)
    ]
    which = guard(0.0, Broken(OPERATOR), FALLBACK)
    trust = which.monitor.init(N, background.dtype)

    def judge(observations):
        departures = Departures.of(OPERATOR, background, observations)
        return which.judge(STEP, background, observations, departures, trust, key=key)

    together = jax.jit(jax.vmap(judge))(jax.tree.map(lambda *x: jnp.stack(x), *streams))
    assert together.method.tolist() == [0, 2, 0]
    for number, stream in enumerate(streams):
        alone = eqx.filter_jit(judge)(stream)
        for name in ("ensemble", "mean", "spread", "result"):
            found, expected = (
                getattr(together.analysis, name)[number],
                getattr(alone.analysis, name),
            )
            np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_a_fallback_that_no_stream_wants_is_not_computed(case, key):
    calls = []

    class Counted(AbstractAnalysisStep):
        operator: AbstractObservationOperator

        def analyse(self, background, observations, *, key) -> Analysis:
            jax.debug.callback(lambda: calls.append(1))
            return STEP.analyse(background, observations, key=key)

    trust = guard(0.0).monitor.init(N, case[0].dtype)
    both = jax.tree.map(lambda x: jnp.stack([x, x]), case)
    for threshold, expected in ((1e6, False), (0.0, True)):
        which = guard(threshold, Counted(OPERATOR))
        jax.jit(
            jax.vmap(
                lambda b, o, which=which: which.judge(
                    STEP, b, o, Departures.of(OPERATOR, b, o), trust, key=key
                )
            )
        )(*both)
        jax.effects_barrier()
        assert bool(calls) is expected
