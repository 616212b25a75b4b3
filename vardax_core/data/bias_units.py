"""What has a bias of its own: platforms or whole streams, as the recipe says."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from vardax_core.data.recipe import Recipe


class BiasUnits(NamedTuple):
    """Platforms and streams by the biases that they have.

    Attributes:
        names: `stream/platform`, or the stream's where all of its platforms have one bias; more
            platforms add to the end.
        of_platform: number of the unit of each platform.
        stream: number of the stream of each unit; -1 where the recipe does not have it, as one of
            a single variable of several.
        asked: whether the recipe wants the bias taken off.
        anchor: whether it is among those whose biases have a mean of zero.
    """

    names: tuple[str, ...]
    of_platform: Int[np.ndarray, " platform"]
    stream: Int[np.ndarray, " unit"]
    asked: Bool[np.ndarray, " unit"]
    anchor: Bool[np.ndarray, " unit"]


def bias_units(recipe: Recipe, platforms: Sequence[str]) -> BiasUnits:
    """Sort the platforms of real observations by what has a bias of its own.

    Arguments:
        recipe: with streams.
        platforms: `stream/platform` by number.
    """
    streams = {stream.name: n for n, stream in enumerate(recipe.streams or ())}
    known = list(recipe.streams or ())
    numbers: dict[str, int] = {}
    stream_of, of_platform = [], []
    for name in platforms:
        own = name.partition("/")[0]
        number = streams.get(own, -1)
        unit = own if number >= 0 and known[number].bias_by == "stream" else name
        if unit not in numbers:
            stream_of.append(number)
        of_platform.append(numbers.setdefault(unit, len(numbers)))
    stream = np.array(stream_of, np.int32)
    # The last is for platforms of streams that the recipe does not have.
    asked = np.array([*(s.bias is not None for s in known), False], bool)
    anchor = np.array([*(s.bias is None or s.bias.anchor for s in known), False], bool)
    return BiasUnits(
        tuple(numbers), np.array(of_platform, np.int32), stream, asked[stream], anchor[stream]
    )
