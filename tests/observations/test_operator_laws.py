"""Laws of every observation operator: one line in `OPERATORS` brings one under all of them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.observations.base import rows_of
from vardax_core.observations.linear import LinearMatrix, averaging_kernel, interpolation
from vardax_core.observations.nonlinear import absolute, clipped, logarithm, square
from vardax_core.observations.operators import Identity, PointSampling
from vardax_core.state.grids import LatLon, OutsideDomainError, Plane

OPERATORS = {
    "identity_1d": lambda: Identity(state_shape=(6,)),
    "identity_2d": lambda: Identity(state_shape=(3, 4)),
    "identity_channels": lambda: Identity(state_shape=(2, 3, 4)),
    "points_1d": lambda: PointSampling(jnp.array([0, 2, 4]), state_shape=(6,)),
    "points_2d": lambda: PointSampling(jnp.array([11, 3, 3]), state_shape=(3, 4)),
    "matrix": lambda: LinearMatrix(
        jnp.asarray(np.random.default_rng(2).normal(size=(4, 6))), (2, 3)
    ),
    "interpolation": lambda: interpolation(
        LatLon.from_degrees(np.arange(4.0), 30.0 * np.arange(12)),
        np.array([[0.5, 45.0], [3.0, 350.0]]),
    ),
    "averaging_kernel": lambda: averaging_kernel(
        np.array([[0.2, 0.8], [0.5, 0.5]]), np.array([2, 5]), (2, 2, 3)
    ),
    "points_of_matrix": lambda: (
        PointSampling(jnp.array([1, 3]), (4,))
        @ LinearMatrix(jnp.asarray(np.random.default_rng(2).normal(size=(4, 6))), (2, 3))
    ),
    "square": lambda: square((2, 3)),
    "absolute": lambda: absolute((6,)),
    "logarithm": lambda: logarithm((6,)),
    "clipped": lambda: clipped((6,), lower=-5.0, upper=2.0),
    "square_of_points": lambda: square((2,)) @ PointSampling(jnp.array([1, 3]), (6,)),
    "points_of_square": lambda: PointSampling(jnp.array([1, 3]), (6,)) @ square((6,)),
    "matrix_of_square": lambda: LinearMatrix(jnp.array([[1.0, -2.0]]), (2,)) @ square((2,)),
    "points_of_points": lambda: (
        PointSampling(jnp.array([1, 0, 1]), (2,)) @ PointSampling(jnp.array([1, 3]), (6,))
    ),
}

RNG = np.random.default_rng(8)


def draw_state(operator):
    """A state away from the kinks of the nonlinear operators: in (0.5, 1.5), or 3."""
    values = 0.5 + RNG.random(size=operator.state_shape)
    values.flat[0] = 3.0
    return jnp.asarray(values)


@pytest.fixture(params=OPERATORS)
def operator(request):
    return OPERATORS[request.param]()


def draw(shape):
    return jnp.asarray(RNG.normal(size=shape))


def test_the_equivalent_has_the_declared_size(operator):
    assert operator(draw(operator.state_shape)).shape == (operator.obs_size,)


def test_the_tangent_operator_passes_the_taylor_test(operator):
    """Between 1e-2 and 1e-6 the error falls tenfold per tenfold step, or is rounding."""
    state, direction = draw_state(operator), draw(operator.state_shape)
    tangent, base = operator.tangent(state, direction), operator(state)
    steps = 10.0 ** -np.arange(2, 7)
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
    state, x = draw_state(operator), draw(operator.state_shape)
    y = draw((operator.obs_size,))
    forward = float(operator.tangent(state, x) @ y)
    backward = float(jnp.sum(x * operator.adjoint(state, y)))
    assert forward == pytest.approx(backward, rel=1e-10, abs=1e-12)


def test_members_are_observed_one_by_one(operator):
    ensemble = jnp.stack([draw_state(operator) for _ in range(4)])
    equivalents = operator.ensemble(ensemble)
    for member, equivalent in zip(ensemble, equivalents, strict=True):
        np.testing.assert_allclose(operator(member), equivalent, rtol=1e-13, atol=1e-13)


def test_single_precision_stays_single(operator):
    state = draw_state(operator)
    floats, rest = eqx.partition(operator, eqx.is_inexact_array)
    single = eqx.combine(jax.tree.map(lambda x: x.astype(jnp.float32), floats), rest)
    equivalent = single(state.astype(jnp.float32))
    assert equivalent.dtype == jnp.float32
    np.testing.assert_allclose(equivalent, operator(state), rtol=1e-4, atol=1e-5)


def test_an_operator_that_adds_says_that_it_is_linear(operator):
    x, y = draw_state(operator), -draw_state(operator)
    adds = np.allclose(
        operator(2.0 * x - y), 2.0 * operator(x) - operator(y), rtol=1e-12, atol=1e-12
    )
    assert operator.linear == adds


def test_the_rows_are_the_derivative(operator):
    """At each observation's own points, of which none comes twice, and nowhere else."""
    state = draw_state(operator)
    rows = rows_of(operator, state)
    alone = jnp.eye(operator.obs_size)[:, :, None] * rows.slopes[None]
    dense = rows.summed(alone, state.size)
    expected = jax.jacobian(operator)(state).reshape(dense.shape)
    np.testing.assert_allclose(dense, expected, rtol=1e-12, atol=1e-12)
    x = draw((2, *operator.state_shape))
    at_points = rows.at_points(x.reshape(2, -1))
    np.testing.assert_allclose(
        jnp.sum(rows.slopes[None] * at_points, axis=2),
        jnp.stack([operator.tangent(state, one) for one in x]),
        rtol=1e-12,
        atol=1e-12,
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
    fixed = jnp.array([2, 0])

    @jax.jit
    def observe(indices, state):
        moving = PointSampling(indices, state_shape=(6,))(state)
        return moving, PointSampling(fixed, state_shape=(6,))(state)

    moving, still = observe(jnp.array([5, 1]), jnp.arange(6.0))
    np.testing.assert_array_equal(moving, [5.0, 1.0])
    np.testing.assert_array_equal(still, [2.0, 0.0])


def test_interpolation_is_exact_for_a_bilinear_field():
    y, x = np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0, 3.0, 7.0])
    field = jnp.asarray(2.0 + 3.0 * y[:, None] - x[None] + 0.5 * y[:, None] * x[None])
    points_y, points_x = np.array([0.0, 0.5, 2.0, 3.0]), np.array([7.0, 1.0, 5.5, 0.0])
    expected = 2.0 + 3.0 * points_y - points_x + 0.5 * points_y * points_x
    operator = interpolation(Plane.from_axes(y, x), np.stack([points_y, points_x], axis=1))
    np.testing.assert_allclose(operator(field), expected, rtol=1e-12)


def test_longitudes_close():
    """Between 330 and 0 (= 360) degrees, a third of the way."""
    field = jnp.zeros((2, 12)).at[:, 11].set(3.0).at[:, 0].set(6.0)
    globe = LatLon.from_degrees(np.arange(2.0), 30.0 * np.arange(12))
    operator = interpolation(globe, np.array([[0.5, 340.0], [0.5, -20.0], [0.5, 700.0]]))
    np.testing.assert_allclose(operator(field), [4.0, 4.0, 4.0], rtol=1e-12)


@pytest.mark.parametrize(("y", "x"), [(-0.1, 1.0), (1.0, 3.1), (float("nan"), 1.0)])
def test_a_point_off_the_grid_is_refused(y, x):
    with pytest.raises(OutsideDomainError, match="outside the domain"):
        interpolation(Plane.from_axes(np.arange(3.0), np.arange(4.0)), np.array([[y, x]]))


def test_an_averaging_kernel_weights_the_levels_of_its_column():
    state = jnp.arange(12.0).reshape(2, 2, 3)
    operator = averaging_kernel(np.array([[0.25, 0.75]]), np.array([4]), (2, 2, 3))
    np.testing.assert_allclose(operator(state), [0.25 * 4 + 0.75 * 10])


def test_an_averaging_kernel_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"\(observations, levels\)"):
        averaging_kernel(np.ones((1, 3)), np.array([4]), (2, 2, 3))
    with pytest.raises(ValueError, match="must lie in the domain"):
        averaging_kernel(np.ones((1, 2)), np.array([6]), (2, 2, 3))


def test_a_matrix_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="one column"):
        LinearMatrix(jnp.ones((2, 5)), (2, 3))


def test_operators_that_do_not_chain_are_refused():
    with pytest.raises(ValueError, match=r"build the outer operator for \(2,\)"):
        square((3,)) @ PointSampling(jnp.array([1, 3]), (6,))


def test_the_elementwise_operators_by_hand():
    state = jnp.array([-2.0, 0.5, 3.0])
    np.testing.assert_allclose(absolute((3,))(state), [2.0, 0.5, 3.0])
    np.testing.assert_allclose(square((3,))(state), [4.0, 0.25, 9.0])
    np.testing.assert_allclose(clipped((3,), lower=-1.0, upper=2.0)(state), [-1.0, 0.5, 2.0])
    np.testing.assert_allclose(
        logarithm((3,), floor=0.1)(state), [np.log(0.1), np.log(0.5), np.log(3.0)]
    )
    with pytest.raises(ValueError, match="floor must be positive"):
        logarithm((3,), floor=0.0)
    with pytest.raises(ValueError, match="lower must be below upper"):
        clipped((3,), lower=1.0, upper=1.0)
