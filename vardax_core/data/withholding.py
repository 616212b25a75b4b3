"""Which real observations no analysis sees, drawn by names and a seed alone."""

import hashlib

import numpy as np
from jaxtyping import Bool, Int

from vardax_core.data.recipe import Recipe
from vardax_core.data.reported import WithheldPlatforms
from vardax_core.data.streams.records import Records

CLOUD_IMAGES = 3
"""The clouds that are laid over an image are those of one of so many observation times before."""


def images_before(recipe: Recipe) -> int:
    """Images that are read before the first, whose clouds may be laid over it."""
    clouds = recipe.withheld is not None and recipe.withheld.by == "cloud"
    return CLOUD_IMAGES if clouds else 0


def withheld_records(
    wanted: WithheldPlatforms | None,
    records: Records,
    slot: Int[np.ndarray, " record"],
    step: int,
    current: Records,
    current_slot: Int[np.ndarray, " current"],
    seen: Bool[np.ndarray, " current"],
) -> Bool[np.ndarray, " record"]:
    """Which records are withheld; clouds are where the current ones are not seen.

    Arguments:
        wanted: what the recipe says.
        records: of a stream.
        slot: minutes of the observation time of each.
        step: minutes between two observation times.
        current, current_slot, seen: the records of the stream that are current, their observation
            times, and which of them are not missing.
    """
    nothing = np.zeros(len(records), bool)
    if wanted is None or (wanted.streams is not None and records.stream not in wanted.streams):
        return nothing
    if wanted.by == "platform":
        drawn = [chance(wanted.seed, name) < wanted.share for name in records.platforms]
        return np.array(drawn, bool)[records.platform] if drawn else nothing
    both = np.concatenate([records.place, current.place])
    places = np.unique(both, axis=0, return_inverse=True)[1].reshape(-1)
    places, current_places = places[: len(records)], places[len(records) :]
    hidden = nothing.copy()
    for image in np.unique(slot):
        back = 1 + int(chance(wanted.seed, records.stream, f"{image} back") * CLOUD_IMAGES)
        before = current_slot == image - back * step
        if not before.any() or chance(wanted.seed, records.stream, str(image)) >= wanted.share:
            continue
        clear = current_places[before & seen]
        hidden |= (slot == image) & ~np.isin(places, clear)
    return hidden


def chance(seed: int, *names: str) -> float:
    """A number in [0, 1) that depends on a seed and on names alone."""
    text = "\n".join((str(seed), *names)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:7]) / 2**56
