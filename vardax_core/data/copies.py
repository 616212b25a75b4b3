"""Platforms that hold under their own name what another one holds that is withheld."""

import numpy as np
from jaxtyping import Bool, Float, Int


def copied_platforms(
    values: Float[np.ndarray, " obs"],
    places: Float[np.ndarray, "obs coordinate"],
    seconds: Int[np.ndarray, " obs"],
    platforms: Int[np.ndarray, " obs"],
    withheld: Bool[np.ndarray, " obs"],
    usable: Bool[np.ndarray, " obs"],
    *,
    share: float = 0.5,
    fewest: int = 3,
) -> list[tuple[int, int, int]]:
    """Find platforms that hold what another one, which is withheld, holds under its name.

    Arguments:
        values, places, seconds, platforms: of all records.
        withheld: those that scores are made of.
        usable: those that are analysed and learned from.
        share: of a withheld platform's records that must be copies, and `fewest` of them.

    Returns:
        The withheld platform, the other, and the number of copies, for each.
    """

    def keys(which: Bool[np.ndarray, " obs"]) -> dict[bytes, int]:
        rows = np.column_stack([values, places, seconds])[which].astype(np.float64)
        return {row.tobytes(): int(p) for row, p in zip(rows, platforms[which], strict=True)}

    hidden, shown = keys(withheld), keys(usable)
    counts: dict[tuple[int, int], int] = {}
    for row, platform in hidden.items():
        if row in shown and shown[row] != platform:
            counts[platform, shown[row]] = counts.get((platform, shown[row]), 0) + 1
    sizes = np.bincount(platforms[withheld], minlength=1) if withheld.any() else np.zeros(1, int)
    return [
        (one, other, count)
        for (one, other), count in sorted(counts.items())
        if count >= max(fewest, share * sizes[one])
    ]
