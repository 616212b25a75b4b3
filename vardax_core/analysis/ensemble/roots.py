"""Inverse square roots of many small matrices by products alone."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

QUINTICS = (
    (4.241612610, -12.510444106, 9.268831496),
    (4.190993925, -12.091823556, 8.900829631),
    (3.978108825, -10.434025648, 7.455916823),
    (3.224884437, -5.791098926, 3.566214489),
    (2.140167595, -1.839548310, 0.699380716),
    (1.877703374, -1.255412597, 0.377709223),
    (1.875, -1.25, 0.375),
)
"""Coefficients of x, x^3 and x^5: of all quintics each leaves the least |1 - p(x)| from the bound
below to 1, divided by its largest value. One after the other they take every x from a bound to 1
to 1: all but the last of them to 4e-9."""
BOUNDS = (0.00390625, 0.0165680536, 0.0693816302, 0.272534802, 0.76702833, 0.997122881)
"""Where the interval of each quintic begins; that of the last is a point in double precision."""

LARGEST = BOUNDS[0] ** -2 - 1
"""Bound on the eigenvalues of S up to which (I + S)^-1/2 is found."""


def product(
    first: Float[Array, "*any n k"], second: Float[Array, "*any k m"]
) -> Float[Array, "*any n m"]:
    """Multiply matrices in the precision of their numbers, on every device."""
    return jnp.matmul(first, second, precision=jax.lax.Precision.HIGHEST)


def transposed(matrix: Float[Array, "*any n m"]) -> Float[Array, "*any m n"]:
    """Swap rows and columns."""
    return jnp.swapaxes(matrix, -1, -2)


def largest_value(matrix: Float[Array, "point n n"]) -> Float[Array, " point"]:
    """Bound the eigenvalues of symmetric matrices by the root of their squares' sum."""
    return jnp.sqrt(jnp.sum(matrix**2, axis=(1, 2)))


def inverse_root(excess: Float[Array, "point n n"]) -> Float[Array, "point n n"]:
    """Find the symmetric (I + S)^-1/2 of positive semi-definite S.

    With c a bound on its eigenvalues, (I + S) / c and I are the pair Y, Z of a coupled iteration
    Y p(Z Y), p(Z Y) Z, that ends in the root and its inverse: each turn applies a quintic to the
    roots of the eigenvalues, the first that of the smallest interval which holds them. A matrix
    has turns of its own, so that its root does not hang on those beside it. Relative to the
    largest value of the root, the error is a few times eps c^1/2, up to eigenvalues of `LARGEST`;
    beyond, it is no root.

    Arguments:
        excess: S.

    Source: Higham (2008), doi:10.1137/1.9780898717778, section 6.4 on the coupling; Amsel et al.
        (2025), arXiv:2505.16932, on the polynomials.
    """
    size, dtype = excess.shape[-1], excess.dtype
    last = len(QUINTICS) - (1 if jnp.finfo(dtype).eps < 1e-12 else 2)
    table = jnp.asarray(QUINTICS, dtype)
    eye = jnp.eye(size, dtype=dtype)[None]
    scale = 1 + largest_value(excess)
    lowest = scale**-0.5
    first = jnp.sum(lowest[:, None] >= jnp.asarray(BOUNDS[1:], dtype)[None], axis=1)

    def polynomial(turn, y, z):
        square = product(z, y)
        on = (turn >= first)[:, None, None]
        one, cube, fifth = (
            jnp.where(on, table[turn, k], jnp.asarray(float(k == 0), dtype)) for k in range(3)
        )
        return one * eye + cube * square + fifth * product(square, square)

    def iterate(turn, pair):
        y, z = pair
        factor = polynomial(turn, y, z)
        return product(y, factor), product(factor, z)

    start = ((eye + excess) / scale[:, None, None], jnp.broadcast_to(eye, excess.shape))
    y, z = jax.lax.fori_loop(jnp.min(first), last, iterate, start)
    root = product(polynomial(last, y, z), z)
    return (root + transposed(root)) * (lowest / 2)[:, None, None]
