"""What a statistic is: sums over one cycle, declared with all that a store says of them."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vardax_core.calibration.statistics.view import CycleView, FieldView
from vardax_core.state.units import squared_unit


@dataclass(frozen=True)
class Dimension:
    """The dimension of a statistic that is more than a number.

    Attributes:
        name: in every store.
        length: None for one more than there are members.
        values: of its coordinate; empty for none.
        attrs: CF attributes of the coordinate.
        scaled: whether the values are in units of the spread scale.
    """

    name: str
    length: int | None = None
    values: tuple[float | int, ...] = ()
    attrs: Mapping[str, str] = field(default_factory=dict)
    scaled: bool = False

    def size(self, members: int) -> int:
        """Its length for an ensemble of so many members."""
        return members + 1 if self.length is None else self.length

    def coordinate(self, spread_scale: float = 1.0) -> tuple[str, np.ndarray, dict[str, str]]:
        """The coordinate as xarray takes it."""
        values = np.array(self.values)
        return self.name, spread_scale * values if self.scaled else values, dict(self.attrs)


@dataclass(frozen=True)
class Sum:
    """One entry of what a store keeps of every cycle.

    Attributes:
        name: in every store.
        power: of the unit of the state in which it is: 0, 1 or 2.
        divisor: name of the sum by which it is divided to give a mean; None for what is a score, a
            count or a weight itself.
        dimension: of an entry that is more than a number, or None.
    """

    name: str
    power: int = 0
    divisor: str | None = None
    dimension: Dimension | None = None

    @property
    def long_name(self) -> str:
        """CF long name."""
        words = self.name.removesuffix("_sum").replace("_", " ")
        return f"verification: {words}" if self.divisor is None else f"verification: sum of {words}"

    def sizes(self, members: int) -> dict[str, int]:
        """Its dimensions beside time and their lengths, for an ensemble of so many members."""
        if self.dimension is None:
            return {}
        return {self.dimension.name: self.dimension.size(members)}

    def attributes(self, units: str) -> dict[str, str]:
        """CF attributes for a state in `units`."""
        found = {
            "long_name": self.long_name,
            "units": ("1", units, squared_unit(units))[self.power],
        }
        if (by := self.divisor) is not None:
            found["comment"] = (
                f"a sum; divided by {by}, or by the sum of {by} over a period, it is the mean"
            )
        return found

    def prefixed(self, prefix: str, divisor: str) -> "Sum":
        """The same of another field: with a prefix to its name, and another divisor if it has
        one."""
        by = None if self.divisor is None else divisor
        return replace(self, name=f"{prefix}{self.name}", divisor=by)


class AbstractStatistic(eqx.Module):
    """Numbers of one cycle that can be added over cycles, in any order and over any cut.

    Attributes:
        sums: what they are.
    """

    sums: eqx.AbstractClassVar[tuple[Sum, ...]]

    @abc.abstractmethod
    def of(self, view: CycleView) -> dict[str, Array]:
        """The numbers of a cycle, by the names of `sums`."""


class AbstractFieldStatistic(AbstractStatistic):
    """A statistic of fields; where a state has several channels, of each apart.

    Implementations write `of_field` for the grid of one channel.
    """

    @abc.abstractmethod
    def of_field(self, fields: FieldView) -> dict[str, Array]:
        """The numbers of one channel, by the names of `sums`."""

    def of(self, view: CycleView) -> dict[str, Array]:
        """The numbers of a cycle, with the channel as the first axis where states have one; zero
        where observations are real, which are without a truth."""
        of_fields = jax.vmap(self.of_field) if view.channels else self.of_field
        if view.reported:
            declared = jax.eval_shape(of_fields, view.fields)
            return jax.tree.map(lambda sum_: jnp.zeros(sum_.shape, sum_.dtype), declared)
        return of_fields(view.fields)
