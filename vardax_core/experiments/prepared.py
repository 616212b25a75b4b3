"""A method made ready to cycle."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from vardax_core.analysis.amortized.base import AbstractNetwork
from vardax_core.analysis.possible import Bound, Climate, narrowed
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.keys import Purpose, cycle_key
from vardax_core.cycling.passed import CycleState
from vardax_core.cycling.smoother import FixedLagSmoother
from vardax_core.models.climatology import Climatology
from vardax_core.training.registry import (
    ModelVersion,
)


class PrecisionError(ValueError):
    """A floating-point type that JAX does not have switched on."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What the assimilation of one experiment runs.

    Attributes:
        program: the forecast-analysis cycle.
        climatology: where the first ensemble is drawn from.
        members: ensemble size.
        versions: trained models that the program is made of, by role.
        hosted: whether its forecasts are made outside of it, as the recipe says.
    """

    program: CycleProgram
    climatology: Climatology
    members: int
    versions: dict[str, ModelVersion]
    hosted: bool = False

    def initial_state(self, first_cycle: int, *, key: PRNGKeyArray, number: int = 0) -> CycleState:
        """An ensemble drawn from climatology one interval before the first cycle.

        Arguments:
            first_cycle: minutes since `MINUTES_EPOCH`.
            key: the experiment's key.
            number: of the first cycle, counted from the start of the experiment.
        """
        start = first_cycle - self.program.interval
        shape = (self.members, *self.climatology.state_shape)
        before = jnp.asarray(start - self.climatology.interval, jnp.int32)
        ensemble = self.climatology.forecast(
            jnp.zeros(shape, self.climatology.mean.dtype),
            before,
            key=cycle_key(key, number, Purpose.INITIAL),
        )
        state = self.program.initial_state(ensemble, jnp.asarray(start, jnp.int32))
        return eqx.tree_at(lambda s: s.cycle, state, jnp.asarray(number, jnp.int32))

    def with_lag(self, lag: int) -> "Prepared":
        """The same with a smoother that waits for so many later analyses; 0 for none."""
        if not lag:
            return self
        program = dataclasses.replace(self.program, smoother=FixedLagSmoother(lag))
        return dataclasses.replace(self, program=program)

    def within(self, lowest: Bound, highest: Bound) -> "Prepared":
        """The same held to the climate, and to a range of values within that of the program."""
        made, further = self.program, np.zeros(1)
        if made.errors is not None:
            # A fit cannot always tell what lasts at a platform from what lasts at its place.
            further = made.errors.found
        further = further.reshape(-1, *(1,) * (self.climatology.square_root.ndim - 2))
        climate = Climate.of(self.climatology, further, channels=made.channels)
        valid_range = narrowed(made.valid_range, lowest, highest)
        program = dataclasses.replace(made, valid_range=valid_range, climate=climate)
        return dataclasses.replace(self, program=program)

    def in_precision(self, dtype: str) -> "Prepared":
        """The same with all its floating-point numbers in another type.

        For bfloat16, the weights of its networks alone, which then compute in it.

        Raises:
            PrecisionError: if the type is float64 and JAX computes in single precision only, or
                bfloat16 and there is no network.
        """
        if dtype == "bfloat16":
            return self._with_networks_in(dtype)
        if jax.dtypes.canonicalize_dtype(dtype) != jnp.dtype(dtype):
            raise PrecisionError(
                f"Precision {dtype} is switched off in JAX; call "
                'jax.config.update("jax_enable_x64", True) before anything is computed.'
            )

        program, climatology = _converted((self.program, self.climatology), dtype)
        return dataclasses.replace(self, program=program, climatology=climatology)

    def _with_networks_in(self, dtype: str) -> "Prepared":
        parts, structure = jax.tree.flatten(self.program, is_leaf=is_network)
        if not any(map(is_network, parts)):
            raise PrecisionError(
                f"Precision {dtype} is for networks, and {type(self.program.step).__name__} has "
                "none; choose float32 or float64."
            )
        parts = [_converted(part, dtype) if is_network(part) else part for part in parts]
        return dataclasses.replace(self, program=jax.tree.unflatten(structure, parts))


def _converted(tree: PyTree, dtype: str) -> PyTree:
    def convert(leaf: Any) -> Any:
        floating = eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(dtype) if floating else leaf

    return jax.tree.map(convert, tree)


def is_network(part: Any) -> bool:
    """Whether a part of a program is a network, which computes in the type of its weights."""
    return isinstance(part, AbstractNetwork)


def experiment_key(seed: int) -> PRNGKeyArray:
    """The key from which every key of an experiment is folded."""
    return jax.random.key(seed)
