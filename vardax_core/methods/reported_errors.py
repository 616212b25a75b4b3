"""The errors of real observations, as innovations and residuals of a training period say them."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from vardax_core.analysis.local.interpolation import LocalRecords
from vardax_core.data.recipe import Recipe
from vardax_core.training.covariance_fit import CovarianceFit
from vardax_core.training.withheld import desroziers_ratio
from vardax_core.words import counted

ERRORS_LEARNED = "observation_errors"
"""The key under which weights keep what was found of the errors of every stream."""
RECORDS = 2000
"""Of a stream that are looked at, at most."""
FEWEST = 50
"""Without which nothing is said of it."""
NEAR = 60
FACTORS = np.geomspace(0.1, 10.0, 9)
"""On the errors, between which the one is looked for that agrees with what it says."""


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

    The estimate is the error in use times the factor with which the mean of (O-A)(O-B) is that of
    R: as if the diagnostic was applied again and again to what it says.

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
        found = _consistent(records, usable, chosen, fit, thinned)
        if found is None:
            said.append(
                f"{stream.name}: innovations and residuals do not tell the errors, which are as "
                "before."
            )
            continue
        used = stream.errors == "estimated"
        factors[number] = found.factor if used else 1.0
        numbers[stream.name] = {"sd": list(found.sd), "before": found.before, "used": used}
        value, low, high = found.sd
        said.append(
            f"{stream.name}: errors of {value:.3g} {units} ({low:.3g} to {high:.3g}) by "
            f"innovations and residuals of the training period, {found.before:.3g} before; "
            + ("these are used." if used else "only reported, as the recipe says.")
        )
    return StreamErrors(factors, numbers, tuple(said))


class _Consistent(NamedTuple):
    """The factor on errors that agrees with what it says, the standard deviation with its
    interval, and that before."""

    factor: float
    sd: tuple[float, float, float]
    before: float


def _consistent(
    records: LocalRecords,
    usable: Int[np.ndarray, " of_stream"],
    chosen: Int[np.ndarray, " some"],
    fit: CovarianceFit,
    thinned: tuple[float, ...],
) -> _Consistent | None:
    """Look for the errors of a stream that agree with what some of its records say; None if there
    are no such."""
    curves = []
    for factor in FACTORS:
        error = records.error_sd.at[jnp.asarray(usable)].multiply(float(factor))
        ratio = desroziers_ratio(
            eqx.tree_at(lambda r: r.error_sd, records, error),
            chosen,
            fit.covariance,
            speed=fit.speed,
            most=NEAR,
            thinned=thinned,
        )
        curves.append((ratio.factor, ratio.low, ratio.high))
    value, low, high = map(crossing, np.transpose(curves))
    if not 0 < value < np.inf:
        return None
    columns = (records.error_sd, records.shared_sd)
    own, shared = (float(np.mean(np.asarray(x, np.float64)[chosen] ** 2)) for x in columns)
    sd = tuple(float(np.sqrt(k**2 * own + shared)) for k in (value, low, high))
    return _Consistent(value, (sd[0], sd[1], sd[2]), float(np.sqrt(own + shared)))


def crossing(curve: Float[np.ndarray, " factor"]) -> float:
    """The largest of the factors where a curve comes down to one; zero where it lies below, and
    infinity where it ends above."""
    if curve[-1] > 1:
        return np.inf
    above = np.flatnonzero(curve > 1)
    if not above.size:
        return 0.0
    n = above[-1]
    share = (curve[n] - 1) / (curve[n] - curve[n + 1])
    return float(FACTORS[n] * (FACTORS[n + 1] / FACTORS[n]) ** share)


def said_of_errors(recipe: Recipe, records: LocalRecords, fit: CovarianceFit) -> str:
    """What is taken for the errors of the observations, in a sentence."""
    errors, units = fit.with_errors(records), recipe.variable.units
    mask = np.asarray(records.mask)
    given, own, shared = (
        float(np.sqrt(np.mean(np.asarray(x, np.float64)[mask] ** 2)))
        for x in (records.error_sd, errors.error_sd, errors.shared_sd)
    )
    return (
        f"errors of the observations: {given:.3g} {units} are given, and what was withheld is "
        f"predicted best with {own:.3g} of each record's own and {shared:.3g} that the records of "
        f"a platform share; these are used. {fit.words}"
    )
