"""The points between the nodes of a lattice, as part of a compiled program."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vardax_core.state.lattice import Lattice


class Cells(eqx.Module):
    """The points between the nodes of a lattice; see `Lattice`.

    Attributes:
        corners: nodes around each cell.
        points: flat index of the points in each; `size` where there is none.
        weights: of the corners at these points.
        size: number of points of the grid.
    """

    corners: Int[Array, "cell corner"]
    points: Int[Array, "cell inside"]
    weights: Float[Array, "cell corner inside"]
    size: int = eqx.field(static=True)

    def between(self, values: Float[Array, " node"]) -> Float[Array, " point"]:
        """Interpolate values at nodes to all points of the grid, bilinearly; 0 at masked ones."""
        shares = self.weights.astype(values.dtype)
        inside = jnp.sum(shares * values[self.corners][:, :, None], axis=1)
        nothing = jnp.zeros(self.size, values.dtype)
        return nothing.at[self.points].set(inside, mode="drop")


def cells_of(lattice: Lattice | None) -> Cells | None:
    """Make the cells of a lattice part of a compiled program."""
    if lattice is None:
        return None
    corners, points = (jnp.asarray(x, jnp.int32) for x in (lattice.corners, lattice.points))
    return Cells(corners, points, jnp.asarray(lattice.weights), lattice.size)
