"""The errors of real observations, as innovations and residuals of a training period say them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from vardax_core.analysis.local.interpolation import LocalRecords
from vardax_core.data.recipe import Recipe
from vardax_core.training.covariance_fit import CovarianceFit
from vardax_core.training.withheld import Calibration, desroziers_ratio
from vardax_core.words import counted

ERRORS_LEARNED = "observation_errors"
"""The key under which weights keep what was found of the errors of every stream."""
RECORDS = 2000
"""Of a stream that are looked at, at most."""
FEWEST = 50
"""Without which nothing is said of it."""
NEAR = 60
ROUNDS = 6
"""In which errors that are estimated settle."""
CLOSE = 0.02
"""Change of a variance below which they have."""
SMALLEST = 0.1
"""Factor on an error, at least."""


@dataclasses.dataclass(frozen=True)
class StreamErrors:
    """What was found of the errors of every stream.

    Attributes:
        factors: on the standard deviations, by the number of the stream; one where the recipe does
            not ask for the estimate.
        numbers: by the name of the stream, as JSON: its standard deviation with the interval of
            95 % (`sd`), that which was in use before (`before`), and whether it is used (`used`).
        said: sentences.
    """

    factors: Float[np.ndarray, " stream"]
    numbers: dict[str, Any]
    said: tuple[str, ...]


def find_errors(
    recipe: Recipe,
    platforms: Sequence[str],
    records: LocalRecords,
    fit: CovarianceFit,
    *,
    thinned: tuple[float, ...] = (),
    key: PRNGKeyArray,
) -> StreamErrors:
    """Estimate the errors of every stream by innovations and residuals.

    An estimate that the recipe asks for is put in the place of the errors, and is made again with
    these until it stays; any other is that of the errors in use.

    Arguments:
        recipe: with streams.
        platforms: `stream/platform` by number.
        records: departures of the training period.
        fit: of their covariance, with its errors.
        thinned: see `desroziers_ratio`.
        key: for the choice of records.

    Source: Desroziers et al. (2005), doi:10.1256/qj.05.108; on the repetition Menard (2016),
    doi:10.1002/qj.2650
    """
    streams, units = recipe.streams or (), recipe.variable.units
    of_platform = np.array([name.partition("/")[0] for name in platforms], str)
    stream_of = of_platform[np.asarray(records.platform)] if platforms else np.zeros(0, str)
    records = fit.with_errors(records)
    factors, numbers, said = np.ones(len(streams)), {}, []
    for number, stream in enumerate(streams):
        usable = np.flatnonzero((stream_of == stream.name) & np.asarray(records.mask))
        if usable.size < FEWEST:
            said.append(
                f"{stream.name}: {counted(usable.size, 'observation')} in the training period are "
                "too few to estimate errors from; they are as stated."
            )
            continue
        drawn = jax.random.permutation(jax.random.fold_in(key, number), usable.size)[:RECORDS]
        chosen = np.sort(usable[np.asarray(drawn)])
        ratio = _ratio(records, chosen, fit, thinned)
        before = _sd(records, chosen)
        if stream.errors == "estimated":
            records, ratio, factor = _settled(records, chosen, usable, fit, thinned, ratio)
            factors[number] = factor
        now = _sd(records, chosen)
        sd = [now * max(part, 0.0) ** 0.5 for part in (ratio.factor, ratio.low, ratio.high)]
        used = stream.errors == "estimated"
        numbers[stream.name] = {"sd": sd, "before": before, "used": used}
        said.append(
            f"{stream.name}: errors of {sd[0]:.3g} {units} ({sd[1]:.3g} to {sd[2]:.3g}) by "
            f"innovations and residuals of the training period, {before:.3g} before; "
            + ("these are used." if used else "only reported, as the recipe says.")
        )
    return StreamErrors(factors, numbers, tuple(said))


def _settled(
    records: LocalRecords,
    chosen: np.ndarray,
    usable: np.ndarray,
    fit: CovarianceFit,
    thinned: tuple[float, ...],
    ratio: Calibration,
) -> tuple[LocalRecords, Calibration, float]:
    """The records with errors that agree with what they say, the last ratio, and the factor on
    their own errors."""
    factor = 1.0
    for _ in range(ROUNDS):
        own, shared = _squares(records, chosen)
        step = max((max(ratio.factor, 0.0) * (own + shared) - shared) / own, SMALLEST**2) ** 0.5
        factor *= step
        error = records.error_sd.at[jnp.asarray(usable)].multiply(step)
        records = eqx.tree_at(lambda r: r.error_sd, records, error)
        ratio = _ratio(records, chosen, fit, thinned)
        if abs(step**2 - 1) < CLOSE:
            break
    return records, ratio, max(factor, SMALLEST)


def _ratio(
    records: LocalRecords, chosen: np.ndarray, fit: CovarianceFit, thinned: tuple[float, ...]
) -> Calibration:
    return desroziers_ratio(
        records, chosen, fit.covariance, speed=fit.speed, most=NEAR, thinned=thinned
    )


def _squares(records: LocalRecords, chosen: np.ndarray) -> tuple[float, float]:
    own, shared = (np.asarray(x, np.float64)[chosen] for x in (records.error_sd, records.shared_sd))
    return float(np.mean(own**2)), float(np.mean(shared**2))


def _sd(records: LocalRecords, chosen: np.ndarray) -> float:
    return float(np.sqrt(sum(_squares(records, chosen))))
