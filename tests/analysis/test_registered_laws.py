"""Laws of every analysis that the pipeline cycles: the registry of methods is the list of them.

A method that is added to the registry is under these laws; where it fits none of the problems of
`registered`, that says so.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.analysis import registered
from vardax_core.analysis.base import AbstractPointwiseStep, AbstractSupportedStep, made_at
from vardax_core.methods.registry import registered_methods
from vardax_core.types import Observations, ResultCode, ensemble_mean

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    registered.shorten_learning(patch.setattr)
    yield tmp_path_factory.mktemp("registered")
    patch.undo()


def _mark(name, kind):
    """What learns takes half a minute to train, so that the further kinds of problem of a method
    that has several are left to the ladder."""
    if not registered_methods()[name].learns:
        return ()
    first = next(k for n, k in registered.cases() if n == name)
    return pytest.mark.slow if kind in (first, "records") else pytest.mark.ladder


@pytest.fixture(
    params=[pytest.param(one, id="-".join(one), marks=_mark(*one)) for one in registered.cases()]
)
def case(request, folder):
    return registered.case(*request.param, folder)


def window(case, column, value=None, error_sd=None):
    """The window with other values in a column, as a store would give it."""
    seen = case.observations
    values, errors = seen.values, seen.error_sd
    if value is not None:
        values = values.at[:, column].set(value)
    if error_sd is not None:
        errors = errors.at[:, column].set(error_sd)
    return Observations(values, seen.mask, errors, seen.times)


def without(case, column):
    mask = case.observations.mask.at[:, column].set(False)
    return dataclasses.replace(case.observations, mask=mask)


def same(first, second):
    for name in ("ensemble", "mean", "spread", "result"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_an_analysis_is_finite_and_its_spread_is_not_negative(case, key):
    analysis = case.step(case.background, case.observations, key=key)
    assert int(analysis.result) == ResultCode.OK
    assert np.isfinite(analysis.ensemble).all()
    assert np.isfinite(analysis.mean).all()
    assert np.min(analysis.spread) >= 0
    assert analysis.ensemble.shape == case.background.shape


def test_without_an_observation_the_analysis_is_the_background(case, key):
    nothing = dataclasses.replace(case.observations, mask=jnp.zeros_like(case.observations.mask))
    analysis = case.step(case.background, nothing, key=key)
    assert int(analysis.result) == ResultCode.NO_OBSERVATIONS
    # An analysis at the end of a window brings the background there.
    background = case.background if analysis.background is None else analysis.background
    np.testing.assert_array_equal(analysis.ensemble, background)
    np.testing.assert_array_equal(analysis.mean, ensemble_mean(background))


def test_what_a_missing_observation_would_have_said_does_not_matter(case, key):
    missing = without(case, 1)
    lying = dataclasses.replace(missing, values=missing.values.at[:, 1].set(1e20))
    same(case.step(case.background, missing, key=key), case.step(case.background, lying, key=key))


@pytest.mark.parametrize(
    ("value", "error_sd"), [(jnp.nan, None), (jnp.inf, None), (None, 0.0), (None, jnp.nan)]
)
def test_an_unusable_observation_counts_as_missing(case, value, error_sd, key):
    same(
        case.step(case.background, without(case, 1), key=key),
        case.step(case.background, window(case, 1, value, error_sd), key=key),
    )


def test_the_same_key_gives_the_same_analysis(case, key):
    same(*(case.step(case.background, case.observations, key=key) for _ in range(2)))


def test_the_order_of_the_members_does_not_matter_to_mean_and_spread(case, key):
    order = np.random.default_rng(1).permutation(registered.MEMBERS)
    analysis = case.step(case.background, case.observations, key=key)
    shuffled = case.step(case.background[order], case.observations, key=key)
    scale = float(jnp.max(jnp.abs(case.background)))
    np.testing.assert_allclose(shuffled.mean, analysis.mean, atol=1e-4 * scale)


def test_an_analysis_of_a_background_that_is_not_finite_is_said_to_have_failed(case, key):
    ensemble = case.background.at[(0,) * case.background.ndim].set(jnp.nan)
    analysis = case.step(ensemble, case.observations, key=key)
    finite = np.isfinite(analysis.ensemble).all() and np.isfinite(analysis.mean).all()
    assert finite or int(analysis.result) == ResultCode.FAILED


def test_another_grid_or_network_is_refused(case, key):
    with pytest.raises(ValueError, match="expects"):
        case.step(case.background[:, ..., :-1], case.observations, key=key)
    fewer = jax.tree.map(lambda x: x[..., :-1] if x.ndim == 2 else x, case.observations)
    with pytest.raises(ValueError, match="build the operator for this network"):
        case.step(case.background, fewer, key=key)


def test_what_is_made_at_one_point_is_there_what_is_made_at_all(case, key):
    """Sums of a few numbers in another order: eight roundings of the largest."""
    if not isinstance(case.plain, AbstractPointwiseStep):
        assert made_at(case.plain, 0) is case.plain
        return
    everywhere = np.asarray(case.step(case.background, case.observations, key=key).mean)
    atol = 8 * float(np.finfo(np.float32).eps) * float(np.max(np.abs(everywhere)))
    for point in (0, case.points // 2):
        one = eqx.filter_jit(made_at(case.plain, point))
        found = np.asarray(one(case.background, case.observations, key=key).mean)
        there = [x.reshape(-1, case.points)[:, point] for x in (found, everywhere)]
        np.testing.assert_allclose(*there, atol=atol)


def test_what_an_analysis_rests_on_is_no_more_than_what_is_there(case):
    """Of p observations at most p count, each with a factor and a signal of one at most."""
    if not isinstance(case.plain, AbstractSupportedStep):
        assert not hasattr(case.plain, "support")
        return
    seen = case.observations
    support = eqx.filter_jit(case.plain.support)
    found = support(case.background, seen)
    used = int(np.sum(np.any(seen.mask, axis=0)))
    for field in (found.observations, found.weight, found.inflation, found.signal):
        assert field.shape == (case.points,)
    assert 0 < np.max(found.observations) <= used * seen.mask.shape[0]
    assert np.all(found.weight <= found.observations * (1 + 1e-5))
    assert np.all(found.signal <= found.observations * (1 + 1e-4))
    assert np.min(found.inflation) > 0
    nothing = dataclasses.replace(seen, mask=jnp.zeros_like(seen.mask))
    none = support(case.background, nothing)
    for field in (none.observations, none.weight, none.signal):
        np.testing.assert_allclose(field, 0.0, atol=1e-5)


def test_single_precision_stays_single(case, key):
    analysis = case.step(case.background, case.observations, key=key)
    assert case.background.dtype == jnp.float32
    assert (analysis.ensemble.dtype, analysis.mean.dtype) == (jnp.float32, jnp.float32)
