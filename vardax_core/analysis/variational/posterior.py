"""The Gauss-Newton posterior at the minimum of a variational cost."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class PosteriorRoot(eqx.Module):
    """A symmetric S with S S = (I + J'J)^-1, stored as I - U diag(loss) U'.

    Attributes:
        modes: orthonormal directions U of the control space that the observations narrow, one to
            a row.
        loss: 1 - (1 + eigenvalue)^-1/2 of each.
    """

    modes: Float[Array, "mode control"]
    loss: Float[Array, " mode"]

    def __call__(self, control: Float[Array, " control"]) -> Float[Array, " control"]:
        """S times a vector; a standard normal one gives a draw from the posterior."""
        return control - self.modes.T @ (self.loss * (self.modes @ control))


def exact_root(
    observe: Callable[[Float[Array, " control"]], Float[Array, " residual"]],
    control: Float[Array, " control"],
) -> PosteriorRoot:
    """S from the whole Jacobian J of the whitened equivalents, for small control vectors."""
    jacobian = jax.jacrev if _outputs(observe, control) < control.shape[0] else jax.jacfwd
    j = jacobian(observe)(control)
    values, vectors = jnp.linalg.eigh(j.T @ j)
    return PosteriorRoot(vectors.T, 1 - 1 / jnp.sqrt(1 + jnp.maximum(values, 0.0)))


def _outputs(observe: Callable[[Array], Array], control: Array) -> int:
    return jax.eval_shape(observe, control).shape[0]


def lanczos_root(
    observe: Callable[[Float[Array, " control"]], Float[Array, " residual"]],
    control: Float[Array, " control"],
    n_modes: int,
    *,
    key: PRNGKeyArray,
) -> PosteriorRoot:
    """S from the leading eigenvectors of J'J, found by products with J and J' alone.

    The start lies in the range of J', so that as many modes as observations suffice. Every new
    vector is orthogonalised against all before it; where the Krylov space is exhausted, a random
    direction continues it. Directions that are not found keep their background variance.

    Source: Lanczos (1950), doi:10.6028/jres.045.026; Fisher and Courtier (1995), ECMWF Technical
    Memorandum 220.
    """
    n_modes = min(n_modes, control.shape[0])
    image, forward = jax.linearize(observe, control)
    backward = jax.linear_transpose(forward, control)
    start_key, key = jax.random.split(key)
    start = backward(jax.random.normal(start_key, image.shape, image.dtype))[0]
    draws = jax.random.normal(key, (n_modes, control.shape[0]), control.dtype)
    tiny = jnp.finfo(control.dtype).eps ** 0.5

    def orthogonalised(vector: Array, basis: Array) -> Array:
        for _ in range(2):
            vector = vector - basis.T @ (basis @ vector)
        return vector

    def body(i, carry):
        basis, images, candidate = carry
        spent = jnp.linalg.norm(candidate) < tiny * (1 + jnp.linalg.norm(images))
        vector = orthogonalised(jnp.where(spent, draws[i], candidate), basis)
        vector = vector / jnp.linalg.norm(vector)
        image = backward(forward(vector))[0]
        basis, images = basis.at[i].set(vector), images.at[i].set(image)
        return basis, images, orthogonalised(image, basis)

    empty = jnp.zeros_like(draws)
    basis, images, _ = jax.lax.fori_loop(0, n_modes, body, (empty, empty, start))
    small = basis @ images.T
    values, vectors = jnp.linalg.eigh((small + small.T) / 2)
    return PosteriorRoot(vectors.T @ basis, 1 - 1 / jnp.sqrt(1 + jnp.maximum(values, 0.0)))


def recentred_draws(
    members: int, size: int, dtype: jnp.dtype, *, key: PRNGKeyArray
) -> Float[Array, "member control"]:
    """Standard normal vectors whose average over the members is zero; zero for one member."""
    draws = jax.random.normal(key, (members, size), dtype)
    if members == 1:
        return jnp.zeros_like(draws)
    return (draws - jnp.mean(draws, axis=0)[None]) * (members / (members - 1)) ** 0.5
