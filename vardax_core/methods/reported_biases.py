"""Biases of real observations: what a training period says of them, and what takes them off."""

import dataclasses
import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vardax_core.analysis.local.interpolation import LocalRecords
from vardax_core.cycling.biases import BiasCorrection
from vardax_core.data.bias_units import bias_units
from vardax_core.data.recipe import Recipe
from vardax_core.data.timeaxis import duration_to_minutes
from vardax_core.models.climatology import MINUTES_A_DAY
from vardax_core.training.platform_bias import platform_biases
from vardax_core.training.slots import UnfitPeriodError

MOST = 0.999
"""Correlation of a state with itself a cycle later, at most."""
ROOM = 64
"""A program has room for a multiple of so many units, and for a quarter more than there are."""


@dataclasses.dataclass(frozen=True)
class FoundBiases:
    """What a training period says of the biases of platforms and streams.

    Attributes:
        names: of the units, see `BiasUnits`.
        values: rows of every unit: what is taken off where it is not carried, the mean departure
            itself, and its inverse variance; zero where nothing is known.
        usual_sd: of the true biases.
        said: sentences.
    """

    names: tuple[str, ...] = ()
    values: Float[np.ndarray, "3 unit"] = dataclasses.field(
        default_factory=lambda: np.zeros((3, 0))
    )
    usual_sd: float = 0.0
    said: tuple[str, ...] = ()


def find_biases(
    recipe: Recipe, platforms: Sequence[str], records: LocalRecords
) -> tuple[FoundBiases, Float[np.ndarray, " obs"]]:
    """Estimate biases from the departures of a training period.

    Arguments:
        recipe: with streams.
        platforms: names by number.
        records: departures of the period.

    Returns:
        The biases, and what is taken off every record.

    Raises:
        UnfitPeriodError: if there are too few platforms.
    """
    nothing = np.zeros(np.shape(records.innovations))
    asked = [s for s in recipe.streams or () if s.bias is not None]
    if not asked or not platforms:
        return FoundBiases(), nothing
    units, used = bias_units(recipe, platforms), np.asarray(records.mask)
    unit = units.of_platform[np.asarray(records.platform)]
    days = np.floor(np.asarray(records.minutes)[used] / MINUTES_A_DAY).astype(np.int64)
    try:
        found = platform_biases(
            np.asarray(records.innovations, np.float64)[used],
            unit[used],
            days,
            count=len(units.names),
            anchors=units.anchor,
        )
    except ValueError as error:
        if not all(stream.carries_bias for stream in asked):
            raise UnfitPeriodError(f"{recipe.name}: {error}") from error
        said = "biases begin at zero: the training period has too few platforms to tell them."
        return FoundBiases(said=(said,)), nothing
    taken = np.where(units.asked, found.shrunk(), 0.0)
    values = np.stack([taken, found.bias, np.where(found.known, found.sd**-2.0, 0.0)])
    size = float(np.sqrt(np.mean(taken[taken != 0] ** 2))) if taken.any() else 0.0
    if all(stream.carries_bias for stream in asked):
        said = "biases are learned from cycle to cycle."
        return FoundBiases(units.names, values, found.between_sd, (said,)), taken[unit]
    every = all(stream.bias_by == "platform" for stream in recipe.streams or ())
    what = "platforms" if every else "platforms and streams"
    said = (
        f"biases of {int(np.count_nonzero(taken))} {what} are taken off, root mean square "
        f"{size:.3g} {recipe.variable.units}; {_anchored(recipe)}, so that the level of the "
        "observations stays."
    )
    return FoundBiases(units.names, values, found.between_sd, (said,)), taken[unit]


def _anchored(recipe: Recipe) -> str:
    loose = [s.name for s in recipe.streams or () if s.bias is not None and not s.bias.anchor]
    return "their mean is zero" if not loose else f"the mean of those that are not {loose} is zero"


def biases_of(
    recipe: Recipe,
    platforms: Sequence[str],
    names: Sequence[str],
    taken: Float[np.ndarray, " unit"],
    platform: Int[np.ndarray, " obs"],
) -> Float[np.ndarray, " obs"]:
    """What a training found to be taken off records of these platforms; 0 where it found nothing.

    Arguments:
        recipe: with streams.
        platforms: names by number.
        names, taken: of what has a bias of its own, and its bias; see `FoundBiases`.
        platform: number of each record's platform.
    """
    if not names or not platforms:
        return np.zeros(platform.shape)
    known = dict(zip(names, np.asarray(taken, np.float64).tolist(), strict=True))
    units = bias_units(recipe, platforms)
    return np.array([known.get(name, 0.0) for name in units.names])[units.of_platform[platform]]


def bias_correction(
    recipe: Recipe,
    platforms: Sequence[str],
    names: Sequence[str],
    values: Float[np.ndarray, "3 unit"],
    usual_sd: float,
    correlation: float,
) -> BiasCorrection | None:
    """Make what takes biases off in the cycles; None where the recipe does not ask for it.

    A bias that is carried begins with what the training period says if that ends before the first
    cycle, and else at zero: nothing is learned of a cycle before it.

    Arguments:
        recipe: with streams.
        platforms: of the store, by number.
        names, values, usual_sd: see `FoundBiases`.
        correlation: of the state with itself a cycle later.
    """
    streams = recipe.streams or ()
    if all(stream.bias is None for stream in streams):
        return None
    units = bias_units(recipe, platforms)
    count, size = len(units.names), room_for(len(units.names))
    number = {name: n for n, name in enumerate(names)}
    at = np.array([number.get(name, -1) for name in units.names], np.int64)
    taken, mean, weight = np.where(at >= 0, values[:, at], 0.0) if number else np.zeros((3, count))
    before = recipe.training is not None and recipe.training.end < recipe.period.start
    known = before & (weight > 0)
    variance = np.where(known, 1 / np.where(known, weight, 1.0), np.inf)
    interval = duration_to_minutes(recipe.cycle_interval)
    memory = [
        duration_to_minutes(s.bias.memory) if s.bias is not None and s.bias.memory else 0
        for s in streams
    ]
    longest = max(memory)
    keep = np.array([math.exp(-interval / (m or longest)) if longest else 1.0 for m in memory])
    usual = np.array(
        [
            s.bias.sd if s.bias is not None and s.bias.sd else max(usual_sd, recipe.error_sd)
            for s in streams
        ]
    )
    carried = np.array([stream.carries_bias for stream in streams])

    def filled(known: np.ndarray, dtype: str = "float32", rest: float = 0.0) -> Array:
        return jnp.asarray(np.concatenate([known, np.full(size - count, rest)]), dtype)

    of_platform = np.full(room_for(len(platforms)), -1, np.int32)
    of_platform[: len(platforms)] = units.of_platform
    return BiasCorrection(
        unit_of=jnp.asarray(of_platform),
        stream=filled(units.stream, "int32"),
        anchor=filled(units.anchor, "bool"),
        fixed=filled(np.where(carried[units.stream], 0.0, taken)),
        carried=filled(carried[units.stream], "bool"),
        keep=filled(keep[units.stream]),
        usual_sd=filled(usual[units.stream], rest=1.0),
        correlation=jnp.asarray(min(correlation, MOST), jnp.float32),
        first_mean=filled(np.where(known, mean, 0.0)),
        first_variance=filled(variance, rest=np.inf),
        platforms=jnp.zeros(0, jnp.int32),
        streams=len(streams),
        learns=bool(longest),
    )


def room_for(count: int) -> int:
    """Units that a program has room for, where there are so many."""
    return ROOM * math.ceil(max(1.25 * count, 1) / ROOM)
