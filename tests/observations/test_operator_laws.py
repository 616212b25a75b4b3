"""Laws of every observation operator: one line in `OPERATORS` brings one under all of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.observations.operators import Identity, PointSampling

OPERATORS = {
    "identity_1d": lambda: Identity(state_shape=(6,)),
    "identity_2d": lambda: Identity(state_shape=(3, 4)),
    "identity_channels": lambda: Identity(state_shape=(2, 3, 4)),
    "points_1d": lambda: PointSampling(jnp.array([0, 2, 4]), state_shape=(6,)),
    "points_2d": lambda: PointSampling(jnp.array([11, 3, 3]), state_shape=(3, 4)),
}
LINEAR = list(OPERATORS)

RNG = np.random.default_rng(8)


@pytest.fixture(params=OPERATORS)
def operator(request):
    return OPERATORS[request.param]()


def draw(shape):
    return jnp.asarray(RNG.normal(size=shape))


def test_the_equivalent_has_the_declared_size(operator):
    assert operator(draw(operator.state_shape)).shape == (operator.obs_size,)


def test_the_tangent_operator_passes_the_taylor_test(operator):
    """Between 1e-1 and 1e-6 the error falls tenfold per tenfold step, or is rounding."""
    state, direction = draw(operator.state_shape), draw(operator.state_shape)
    tangent, base = operator.tangent(state, direction), operator(state)
    steps = 10.0 ** -np.arange(1, 7)
    errors = np.array(
        [
            float(jnp.linalg.norm((operator(state + e * direction) - base) / e - tangent))
            for e in steps
        ]
    )
    rounding = 1e-14 * (1 + float(jnp.linalg.norm(base))) / steps
    ratios = errors[:-1] / np.maximum(errors[1:], 1e-300)
    assert np.all(errors <= rounding) or np.all((ratios > 9) & (ratios < 11)), errors


def test_the_adjoint_is_the_transpose_of_the_tangent(operator):
    state, x = draw(operator.state_shape), draw(operator.state_shape)
    y = draw((operator.obs_size,))
    forward = float(operator.tangent(state, x) @ y)
    backward = float(jnp.sum(x * operator.adjoint(state, y)))
    assert forward == pytest.approx(backward, rel=1e-10, abs=1e-12)


def test_members_are_observed_one_by_one(operator):
    ensemble = draw((4, *operator.state_shape))
    equivalents = operator.ensemble(ensemble)
    for member, equivalent in zip(ensemble, equivalents, strict=True):
        np.testing.assert_allclose(operator(member), equivalent, rtol=1e-13, atol=1e-13)


def test_single_precision_stays_single(operator):
    state = draw(operator.state_shape)
    equivalent = operator(state.astype(jnp.float32))
    assert equivalent.dtype == jnp.float32
    np.testing.assert_allclose(equivalent, operator(state), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LINEAR)
def test_linear_operators_add(name):
    operator = OPERATORS[name]()
    x, y = draw(operator.state_shape), draw(operator.state_shape)
    np.testing.assert_allclose(
        operator(2.0 * x - y), 2.0 * operator(x) - operator(y), rtol=1e-12, atol=1e-12
    )


def test_identity_reads_the_state_row_by_row():
    operator = Identity(state_shape=(2, 3))
    np.testing.assert_array_equal(operator(jnp.arange(6.0).reshape(2, 3)), np.arange(6.0))


def test_point_sampling_takes_the_named_points():
    operator = PointSampling(jnp.array([4, 0]), state_shape=(2, 3))
    np.testing.assert_array_equal(operator(10 * jnp.arange(6.0).reshape(2, 3)), [40.0, 0.0])


@pytest.mark.parametrize("index", [-1, 6])
def test_a_station_outside_the_grid_is_refused(index):
    with pytest.raises(ValueError, match="outside the domain"):
        PointSampling(jnp.array([0, index]), state_shape=(2, 3))


def test_a_network_is_built_inside_a_jitted_function():
    @jax.jit
    def observe(indices, state):
        return PointSampling(indices, state_shape=(6,))(state)

    np.testing.assert_array_equal(observe(jnp.array([5, 1]), jnp.arange(6.0)), [5.0, 1.0])
