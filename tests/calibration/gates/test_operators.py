"""Gates on derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.calibration.gates.context import GateContext
from vardax_core.calibration.gates.operators import (
    AdjointGate,
    Derivatives,
    derivatives,
    iterations_for,
    operator_norm,
)

EMPTY = GateContext(tables={})


def test_the_norm_is_the_largest_singular_value(key):
    matrix = jax.random.normal(key, (7, 5))
    found = operator_norm(lambda v: matrix @ v, lambda w: matrix.T @ w, jnp.ones(5), 200)
    np.testing.assert_allclose(found, np.linalg.norm(matrix, 2), rtol=1e-6)


@pytest.mark.parametrize("size", [3, 16384])
def test_an_error_in_one_direction_is_found(key, size):
    """The gain is the identity times a half, with an error of 5 % everywhere; then with one of
    100 % in one direction, of which random probes see 1 / sqrt(size)."""
    u_key, v_key, start_key = jax.random.split(key, 3)
    u, v = (x / jnp.linalg.norm(x) for x in (jax.random.normal(k, (size,)) for k in (u_key, v_key)))

    def oracle(case, y):
        return 0.5 * y

    def nearly(case, y):
        return 0.525 * y

    def wrong(case, y):
        return nearly(case, y) + 0.5 * case * jnp.vdot(v, y)

    y, cases = jnp.zeros((2, size)), jnp.stack([u, jnp.zeros_like(u)])
    good = AdjointGate(derivatives(nearly, oracle, cases, y, key=start_key)).check(EMPTY)
    bad = AdjointGate(derivatives(wrong, oracle, cases, y, key=start_key)).check(EMPTY)
    assert [stratum.quantity for stratum in bad.strata] == [f"{bad.statistic:.3g}", "0.05"]
    assert good.passed
    np.testing.assert_allclose(good.statistic, 0.05, rtol=1e-3)
    assert not bad.passed
    assert 0.9 < bad.statistic < 1.1
    assert "wrong direction" in bad.message


def test_the_median_is_judged_and_no_case_may_be_as_large_as_the_response():
    def judged(*ratios):
        return AdjointGate(tuple(Derivatives(r, 1.0, 4) for r in ratios)).check(EMPTY)

    assert judged(0.1, 0.05, 0.4).passed
    assert judged(0.1, 0.05, 0.4).statistic == 0.1
    assert not judged(0.1, 0.3, 0.4).passed
    # Of two in the middle the larger one counts.
    assert not judged(0.1, 0.1, 0.3, 0.3).passed
    reversed_once = judged(0.1, 0.05, 2.0)
    assert not reversed_once.passed
    assert "in the worst case: 2, allowed 1" in reversed_once.message
    assert not judged(0.1, 0.05, float("nan")).passed


def test_an_oracle_without_response_divides_by_nothing(key):
    measured = derivatives(lambda _, y: 0 * y, lambda _, y: 0 * y, (), jnp.ones((1, 4)), key=key)
    result = AdjointGate(measured).check(EMPTY)
    assert np.isnan(result.statistic) or result.statistic == 0


def test_more_iterations_for_more_directions():
    assert iterations_for(16384) > iterations_for(3) >= 2
