"""What one state holds: its channels, and the grid that all of them share."""

import dataclasses
import math

import equinox as eqx
import numpy as np
from jaxtyping import Float

from vardax_core.state.grids.base import AbstractGrid


class StateSpaceError(ValueError):
    """Channels that make no state."""


@dataclasses.dataclass(frozen=True)
class Channel:
    """A variable at a level.

    Attributes:
        name: in every store.
        units: UDUNITS string.
        standard_name: in the CF standard name table, if it has one.
        valid_min, valid_max: range of possible values, in `units`.
        scale: size of a usual difference, in `units`.

    Raises:
        StateSpaceError: if the range is empty or the scale not positive.
    """

    name: str
    units: str = "1"
    standard_name: str | None = None
    valid_min: float = -math.inf
    valid_max: float = math.inf
    scale: float = 1.0

    def __post_init__(self):
        if not self.valid_min < self.valid_max or not 0 < self.scale < math.inf:
            raise StateSpaceError(
                f"Channel '{self.name}': valid_min {self.valid_min} must be below valid_max "
                f"{self.valid_max}, and the scale {self.scale} positive and finite."
            )


class StateSpace(eqx.Module):
    """The space of states, arrays (channel, *grid).

    Attributes:
        channels: what a state holds, in order.
        grid: of all channels; points that it masks belong to none.

    Raises:
        StateSpaceError: if there is no channel, or two share a name.
    """

    channels: tuple[Channel, ...] = eqx.field(static=True)
    grid: AbstractGrid

    def __check_init__(self):
        names = self.names
        if not names or len(set(names)) < len(names):
            raise StateSpaceError(
                f"A state needs one channel or more with names of their own, got {list(names)}."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the channels."""
        return tuple(channel.name for channel in self.channels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a state."""
        return (len(self.channels), *self.grid.shape)

    def index(self, name: str) -> int:
        """Give the number of a channel.

        Raises:
            StateSpaceError: if there is no such channel.
        """
        if name not in self.names:
            raise StateSpaceError(f"There is no channel '{name}', only {list(self.names)}.")
        return self.names.index(name)

    def scales(self) -> Float[np.ndarray, " channel"]:
        """Give the scale of every channel in its units."""
        return np.array([channel.scale for channel in self.channels])

    def bounds(self) -> Float[np.ndarray, "2 channel"]:
        """Give the smallest and largest possible value of every channel in its units."""
        return np.array(
            [[c.valid_min for c in self.channels], [c.valid_max for c in self.channels]]
        )
