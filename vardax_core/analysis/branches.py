"""A computation that runs only where somebody wants its result."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

Tree = TypeVar("Tree", bound=PyTree)


def where_wanted(
    wanted: Bool[Array, ""], function: Callable[..., Tree], given: PyTree, otherwise: Tree
) -> Tree:
    """Compute `function(*given)` where it is wanted, and take `otherwise` elsewhere.

    Under `vmap` a branch becomes both of its sides for all elements; here the function runs only
    if at least one of them wants it, and each gets the bits that it would get alone.

    Arguments:
        wanted: whether the result is wanted.
        function: of arrays; whatever else it uses must not be traced.
        given: its arguments.
        otherwise: what is taken elsewhere, in the structure, shapes and types of the result.
    """

    @jax.custom_batching.custom_vmap
    def either(wanted, given, otherwise):
        return jax.lax.cond(wanted, lambda: function(*given), lambda: otherwise)

    @either.def_vmap
    def _(size, batched, wanted, given, otherwise):
        def spread_out(leaf, is_batched):
            return leaf if is_batched else jnp.broadcast_to(leaf, (size, *leaf.shape))

        wanted, given, otherwise = jax.tree.map(
            spread_out, (wanted, given, otherwise), tuple(batched)
        )

        def some():
            found = jax.vmap(function)(*given)
            return jax.vmap(lambda w, a, b: jax.tree.map(lambda x, y: jnp.where(w, x, y), a, b))(
                wanted, found, otherwise
            )

        result = jax.lax.cond(jnp.any(wanted), some, lambda: otherwise)
        return result, jax.tree.map(lambda _: True, result)

    return either(wanted, given, otherwise)
