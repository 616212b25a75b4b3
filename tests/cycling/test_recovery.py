"""Whatever state a cycle left, the chain comes back by itself, and nothing impossible is kept."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from vardax_core.analysis.amortized.local_transform import LocalTransformStep
from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
from vardax_core.analysis.ensemble.iterative import IterativeETKF
from vardax_core.analysis.history import DepartureHistory
from vardax_core.analysis.possible import Climate, Possible, largest_spread
from vardax_core.analysis.variational.covariance import DenseCovariance
from vardax_core.analysis.variational.optimal_interpolation import OptimalInterpolation
from vardax_core.cycling.adaptation import SpreadAdaptation
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.guard import Guard
from vardax_core.cycling.keys import cycle_keys
from vardax_core.cycling.passed import CycleInput
from vardax_core.cycling.scan import run_segment
from vardax_core.cycling.trust import CHECKS, DepartureMonitor
from vardax_core.methods.priors import free_run_climatology
from vardax_core.models.lorenz96 import Lorenz96, Lorenz96Settings
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.operators import Identity, PointSampling
from vardax_core.observations.placement import ReportedErrors
from vardax_core.types import Analysis, Observations, ResultCode

N, MEMBERS, CYCLES, SETTLED = 12, 14, 160, 100
RANGE = (-50.0, 50.0)
MODEL = Lorenz96(state_shape=(N,))
OPERATOR = Identity((N,))
KEY = jax.random.key(11)


@functools.cache
def climatology():
    return free_run_climatology(Lorenz96Settings(size=N), MODEL.interval)


def program_of(method: str) -> CycleProgram:
    """The cycle of a method, as an experiment assembles it."""
    root = climatology().square_root
    covariance = DenseCovariance.from_matrix(root @ root.T, (N,))
    interpolation = OptimalInterpolation(OPERATOR, covariance)
    finite_size = FiniteSizeETKF(OPERATOR, certainty=2.0)
    guard = adaptation = None
    match method:
        case "oi":
            model, step = climatology(), interpolation
            adaptation = SpreadAdaptation()
        case "etkf":
            model, step = MODEL, finite_size
        case "iterative":
            model, step = MODEL, IterativeETKF(OPERATOR)
        case "amortized":
            model = MODEL
            step = LocalTransformStep.create(
                OPERATOR,
                finite_size,
                centre=2.4,
                scale=3.6,
                reach=2,
                width=8,
                history=DepartureHistory((5.0, 20.0)),
                key=KEY,
            )
            shape = (1, len(CHECKS))
            monitor = DepartureMonitor(
                jnp.zeros(shape), 3 * jnp.ones(shape), jnp.asarray(20.0), memories=(5.0,)
            )
            guard = Guard(monitor, (finite_size, interpolation), jnp.asarray([True, False]))
    return CycleProgram(
        model=model,
        step=step,
        adaptation=adaptation,
        score_weights=jnp.ones(N, jnp.float32),
        spread_scale=1.0,
        guard=guard,
        valid_range=RANGE,
        climate=Climate.of(climatology()),
    )


def nature():
    """True states from the attractor, and observations of all of them with error 1."""
    start = 8 + jax.random.normal(KEY, (N,), jnp.float32)
    truth = MODEL.trajectory(start, jnp.zeros((), jnp.int32), 500 + CYCLES, key=KEY)[-CYCLES:]
    values = truth + jax.random.normal(jax.random.key(2), truth.shape, truth.dtype)
    return truth, values


def given(truth, values, error_sd=1.0) -> CycleInput:
    count = values.shape[0]
    minutes = (1 + jnp.arange(count, dtype=jnp.int32))[:, None] * MODEL.interval
    windows = jax.vmap(Observations.from_values)(
        values[:, None], jnp.full((count, 1, values.shape[1]), error_sd, values.dtype), minutes
    )
    quality = jnp.zeros(values.shape, jnp.int8)
    return jax.vmap(CycleInput)(windows, quality, truth, jnp.ones(count, bool))


def climatological(seed, members=MEMBERS):
    shape = (members, N)
    return climatology().forecast(
        jnp.zeros(shape, jnp.float32), jnp.zeros((), jnp.int32), key=jax.random.key(seed)
    )


ENSEMBLES = {
    "as at the start": lambda e: e,
    "not a number": lambda e: e * jnp.nan,
    "infinite": lambda e: e + jnp.inf,
    "huge": lambda e: e * 1e30,
    "beyond the range": lambda e: e + 100.0,
    "at the bound": lambda e: jnp.full_like(e, RANGE[1]),
    "one possible member": lambda e: e.at[1:].set(jnp.nan),
    "identical members": lambda e: jnp.broadcast_to(e[:1], e.shape),
    "zero": jnp.zeros_like,
    "all but collapsed": lambda e: e[:1] + 1e-6 * (e - e[:1]),
    "sure of another state": lambda e: e[:1] + 0.02 * (e - e[:1]),
}


@pytest.mark.parametrize(
    "method",
    ["etkf", *(pytest.param(m, marks=pytest.mark.slow) for m in ("iterative", "oi", "amortized"))],
)
def test_from_any_state_the_chain_comes_back_within_100_cycles(method):
    """The RMSE of the cycles after is that of a chain that began from climatology, within a fifth
    of the observation error; a filter that has lost its truth has four of them."""
    program, (truth, values) = program_of(method), nature()
    inputs = given(truth, values)

    def cycled(ensemble):
        state = program.initial_state(ensemble, jnp.zeros((), jnp.int32))
        return run_segment(program, state, inputs, key=KEY)[1]

    starts = [spoil(climatological(5)) for spoil in ENSEMBLES.values()]
    output = eqx.filter_jit(jax.vmap(cycled))(jnp.stack(starts))
    rmse = np.asarray(output.statistics["rmse"])[:, SETTLED:].mean(axis=1)
    found = dict(zip(ENSEMBLES, rmse, strict=True))
    own = found["as at the start"]
    worst = max(found, key=found.get)
    assert found[worst] < own + 0.2, found
    assert np.isfinite(output.analysis.ensemble).all()
    assert (np.abs(output.analysis.ensemble) <= RANGE[1]).all()


class Runaway(AbstractAnalysisStep):
    """A filter that is too wide by a factor of ten at a point that it does not observe."""

    operator: PointSampling

    def analyse(self, background, observations, *, key) -> Analysis:
        made = FiniteSizeETKF(self.operator).analyse(background, observations, key=key)
        widened = made.ensemble.at[:, 1].add(9 * (made.ensemble[:, 1] - made.mean[1]))
        return dataclasses.replace(
            made, ensemble=widened, spread=made.spread.at[1].set(10 * made.spread[1])
        )


def test_no_sequence_of_analyses_leaves_the_climate():
    """Without the climate the spread of the unobserved point grows until members leave the
    range."""
    truth, values = nature()
    operator = PointSampling(jnp.arange(4, N), (N,))
    program = dataclasses.replace(program_of("etkf"), step=Runaway(operator))
    state = program.initial_state(climatological(5), jnp.zeros((), jnp.int32))
    _, output = run_segment(program, state, given(truth, values[:, 4:]), key=KEY)
    allowed = np.asarray(program.climate.sd) * largest_spread(MEMBERS)
    spread = np.std(np.asarray(output.analysis.ensemble), axis=1, ddof=1)
    assert (spread <= allowed * (1 + 1e-5)).all()
    assert (np.asarray(output.analysis.spread) <= allowed).all()
    assert (np.abs(output.analysis.ensemble) <= RANGE[1]).all()
    drawn_back = np.isclose(spread[:, 1], allowed[1], rtol=1e-4)
    assert drawn_back.sum() > 10
    assert (np.asarray(output.analysis.result)[drawn_back] == int(ResultCode.OUT_OF_RANGE)).all()
    assert (np.asarray(output.statistics["rmse"]) > 0).all()


@pytest.mark.parametrize("missing", [None, 0, slice(None)], ids=["none", "a point", "a member"])
def test_members_that_are_given_are_not_bound_by_the_climate(missing):
    """Where a covariance was fitted to the departures of forecasts, the members of the forecasts
    may spread further at a place than it says; those of the cycle's own model may not. A point
    that a mask leaves out is no missing member."""
    truth, values = nature()
    narrow = Climate(jnp.full(N, 2.4, jnp.float32), jnp.full(N, 0.01, jnp.float32))
    operator = PointSampling(jnp.arange(4, N), (N,))
    step = FiniteSizeETKF(operator, certainty=2.0)
    program = dataclasses.replace(program_of("etkf"), step=step, climate=narrow)
    one = jax.tree.map(lambda x: x[0], given(truth, values[:, 4:]))
    members = truth[:1] + jax.random.normal(KEY, (MEMBERS, N), truth.dtype)
    if missing is not None:
        members = members.at[slice(None) if missing == 0 else 0, missing].set(jnp.nan)
    start = program.initial_state(climatological(5), jnp.zeros((), jnp.int32))
    _, output = program.run(
        start, dataclasses.replace(one, background=members), keys=cycle_keys(KEY, 0)
    )
    allowed = 0.01 * largest_spread(MEMBERS)
    spread = np.std(np.asarray(output.analysis.ensemble), axis=0, ddof=1)
    if isinstance(missing, slice):
        assert int(output.analysis.result) == ResultCode.OUT_OF_RANGE
        assert spread.max() <= allowed * (1 + 1e-5)
    else:
        assert int(output.analysis.result) == ResultCode.OK
        assert spread[:4].min() > 0.5
        assert int(output.method) == 0


def test_what_a_fit_took_for_errors_may_be_the_state_s():
    """A fit to observations cannot always tell a station's own error from the climate there."""
    channels = ReportedErrors(
        channels=(ReportedErrors(nugget_sd=0.3, shared_sd=0.4), ReportedErrors())
    )
    np.testing.assert_allclose(channels.found, [0.25, 0.0])
    np.testing.assert_allclose(ReportedErrors(1.5, 0.6, 0.8).found, [1.0])
    plain, wider = Climate.of(climatology()), Climate.of(climatology(), np.full(1, 0.25))
    np.testing.assert_allclose(wider.sd**2, plain.sd**2 + 0.25, rtol=1e-6)


class Wrong(AbstractAnalysisStep):
    """A filter to whose analysis something is added: to a member, the mean, and the spread."""

    operator: AbstractObservationOperator
    error: Float[Array, "3"]

    def analyse(self, background, observations, *, key) -> Analysis:
        made = FiniteSizeETKF(self.operator).analyse(background, observations, key=key)
        return dataclasses.replace(
            made,
            ensemble=made.ensemble.at[1, 2].add(self.error[0]),
            mean=made.mean.at[3].add(self.error[1]),
            spread=made.spread.at[4].add(self.error[2]),
        )


@eqx.filter_jit
def one_cycle(program, ensemble):
    truth, values = nature()
    state = program.initial_state(ensemble, jnp.zeros((), jnp.int32))
    one = jax.tree.map(lambda leaf: leaf[0], given(truth, values))
    return program.run(state, one, keys=cycle_keys(KEY, state.cycle))[1]


@pytest.mark.slow
def test_an_impossible_analysis_is_not_taken():
    """Whether a member, the mean or the spread is impossible, and by how much."""
    program, start = program_of("etkf"), climatological(5)

    def cycled(error):
        return one_cycle(dataclasses.replace(program, step=Wrong(OPERATOR, error)), start)

    much = jnp.asarray([200.0, -200.0, 9e18, jnp.inf], jnp.float32)
    errors = jnp.where(jnp.eye(3, dtype=bool)[None], much[:, None, None], 0.0)
    output = jax.vmap(jax.vmap(cycled))(errors.astype(jnp.float32))
    expected = np.full((4, 3), int(ResultCode.OUT_OF_RANGE))
    expected[3] = int(ResultCode.NON_FINITE)
    np.testing.assert_array_equal(output.analysis.result, expected)
    np.testing.assert_array_equal(output.method, np.ones((4, 3)))
    np.testing.assert_array_equal(output.analysis.ensemble, output.background)


@pytest.mark.parametrize(("low", "kept"), [(-1.9, True), (-2.1, False)])
def test_a_value_just_beyond_a_bound_is_the_bound(low, kept):
    """By less than a standard deviation of the climate, as a Gaussian analysis of a variable that
    is never negative has them in every cycle."""
    ensemble = jnp.asarray([[1.0, low], [3.0, 2.0]])
    made = Analysis(ensemble, jnp.mean(ensemble, axis=0), jnp.ones(2), jnp.zeros((), jnp.int32), {})
    possible = Possible((0.0, 10.0), Climate(jnp.asarray(2.0), jnp.asarray(2.0)))
    background = jnp.full((2, 2), 5.0)
    found = possible.analysis(made, background)
    expected = jnp.maximum(ensemble, 0.0) if kept else background
    np.testing.assert_array_equal(found.ensemble, expected)
    assert int(found.result) == (ResultCode.OK if kept else ResultCode.OUT_OF_RANGE)


def test_where_nothing_is_left_the_cycle_has_failed_and_no_score():
    bare = dataclasses.replace(program_of("etkf"), climate=None)
    output = one_cycle(bare, climatological(5) * jnp.nan)
    assert int(output.analysis.result) == ResultCode.FAILED
    assert np.isnan(output.statistics["rmse"])
    assert np.isnan(output.statistics["spread"])
    assert int(output.statistics["cycles"]) == 0


def test_where_no_member_is_possible_all_are_drawn_from_the_climate():
    output = one_cycle(program_of("etkf"), climatological(5) * jnp.nan)
    assert int(output.replaced_members) == MEMBERS
    assert float(output.statistics["background_rmse"]) > 1
    assert len(np.unique(np.asarray(output.background)[:, 0])) == MEMBERS


@pytest.mark.slow
def test_a_sane_ensemble_is_not_given_up_for_wrong_observations():
    """However far they are: members that disagree are listened to."""
    program = program_of("etkf")
    truth, values = nature()
    state = program.initial_state(climatological(5), jnp.zeros((), jnp.int32))
    wild = jnp.where(jnp.arange(CYCLES)[:, None] == 120, -values, values)
    _, output = run_segment(program, state, given(truth, wild), key=KEY)
    assert not (np.asarray(output.analysis.result) == int(ResultCode.FAILED)).any()


def test_the_monitor_forgets_a_wild_cycle():
    shape = (3, len(CHECKS))
    monitor = DepartureMonitor(
        jnp.zeros(shape), jnp.full(shape, 0.2), jnp.asarray(8.0), memories=(1.0, 3.0, 12.0)
    )
    state = monitor.init(N)
    usual, seen = jnp.zeros((2, N), jnp.float32), jnp.asarray(True)
    wild = jnp.full((len(CHECKS),), 1e30, jnp.float32)
    state = monitor.update(state, wild, usual, seen)
    assert not monitor.trusts(state)
    for _ in range(100):
        state = monitor.update(state, jnp.zeros_like(wild), usual, seen)
    assert monitor.trusts(state)
