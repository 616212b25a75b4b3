"""Covariances of innovations by distance and lag, and the covariance model that is near them."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import pdist

from vardax_core.analysis.local.covariance import Shape, SpaceTimeCovariance
from vardax_core.analysis.local.interpolation import LocalRecords

LEAST_SHARE = 1e-3
"""Of the variance of the innovations, that any part of it is begun with."""
PAIRED = 1500
"""Records of which all pairs are formed."""


class Covariogram(NamedTuple):
    """Mean products of innovations of two platforms, over the local variances.

    Attributes:
        distances, minutes: means of each bin.
        covariances: of each bin, unit of the state squared.
        counts: pairs of each bin.
        variance: of the innovations, their mean square.
        same_platform: distance, minutes and products of pairs of one platform.
    """

    distances: Float[np.ndarray, " bin"]
    minutes: Float[np.ndarray, " bin"]
    covariances: Float[np.ndarray, " bin"]
    counts: Float[np.ndarray, " bin"]
    variance: float
    same_platform: Float[np.ndarray, "3 pair"]


def covariogram(
    records: LocalRecords, *, bins: int = 14, lags: int = 6, seed: int = 0
) -> Covariogram:
    """Bin the products of innovations by distance and lag.

    Arguments:
        records: about a background without bias; the masked ones do not count.
        bins, lags: number of bins of distance and of time, each with about as many pairs.
        seed: which records are taken where there are more than `PAIRED`.
    """
    used = np.flatnonzero(np.asarray(records.mask))
    rng = np.random.default_rng(seed)
    if len(used) > PAIRED:
        used = np.sort(rng.choice(used, PAIRED, replace=False))
    columns = (records.innovations, records.scale, records.straight, records.minutes)
    d, scale, straight, minutes = (np.asarray(x, np.float64)[used] for x in columns)
    d, platform = d / scale, np.asarray(records.platform)[used]
    i, j = np.triu_indices(len(used), 1)
    distance = pdist(straight)
    lag, product = np.abs(minutes[i] - minutes[j]), d[i] * d[j]
    same = platform[i] == platform[j]
    own = np.stack([distance[same], lag[same], product[same]])
    distance, lag, product = distance[~same], lag[~same], product[~same]
    # Square roots of the ranks: near pairs are few and tell most.
    edges = [
        np.unique(np.quantile(x, np.linspace(0, 1, count + 1) ** 2)) if x.size else np.zeros(1)
        for x, count in ((distance, bins), (lag, lags))
    ]
    cell = [
        np.clip(np.searchsorted(edge, x, side="right") - 1, 0, max(len(edge) - 2, 0))
        for edge, x in zip(edges, (distance, lag), strict=True)
    ]
    flat = cell[0] * max(len(edges[1]) - 1, 1) + cell[1]
    size = int(flat.max(initial=-1)) + 1
    counts = np.bincount(flat, minlength=size).astype(float)
    there = counts > 0
    means = [np.bincount(flat, x, minlength=size)[there] for x in (distance, lag, product)]
    distances, minutes_, covariances = (x / counts[there] for x in means)
    variance = float(np.mean(d**2)) if d.size else 0.0
    return Covariogram(distances, minutes_, covariances, counts[there], variance, own)


class Start(NamedTuple):
    """Where a fit begins.

    Attributes:
        covariance: of the state.
        nugget_sd: of the part of the error that is each record's own, beside the given one.
        shared_sd: of the part that a platform's records have in common.
    """

    covariance: SpaceTimeCovariance
    nugget_sd: float
    shared_sd: float


def start_values(
    records: LocalRecords,
    *,
    components: int = 2,
    space: Shape = "matern32",
    time: Shape = "exponential",
    seed: int = 0,
) -> Start:
    """Find components near the covariogram of innovations.

    Of a mesh of lengths and timescales, not negative variances are fitted to the bins by least
    squares weighted by the number of pairs; the largest are kept and fitted again. What the
    variance has beyond them and the given errors is the nugget.

    Raises:
        ValueError: if there are fewer than three usable records.

    Source: Lawson and Hanson (1995), Solving Least Squares Problems, chapter 23.
    """
    from scipy.optimize import nnls

    found = covariogram(records, seed=seed)
    if found.counts.size == 0 or found.counts.sum() < 3:
        raise ValueError(
            f"start_values: {int(np.asarray(records.mask).sum())} usable records make "
            f"{int(found.counts.sum())} pairs of two platforms; at least 3 are needed to estimate "
            "a covariance. Give records of a longer training period."
        )
    far = max(float(found.distances.max()), float(np.finfo(float).tiny))
    late = float(found.minutes.max())
    near = max(float(np.min(found.distances[found.distances > 0], initial=far)), far / 300)
    lengths = np.geomspace(near / 2, far, 9)
    soon = max(float(np.min(found.minutes[found.minutes > 0], initial=late)), late / 100)
    timescales = np.geomspace(soon, 2 * late, 6) if late > 0 else np.array([np.inf])
    mesh = [(length, timescale) for length in lengths for timescale in timescales]
    weight = np.sqrt(found.counts)

    def column(length: float, timescale: float) -> Float[np.ndarray, " bin"]:
        unit = SpaceTimeCovariance.of((1.0, length, timescale), space=space, time=time)
        return np.asarray(unit(jnp.asarray(found.distances), jnp.asarray(found.minutes)), float)

    columns = np.stack([column(*pair) for pair in mesh], axis=1)
    first, _ = nnls(columns * weight[:, None], found.covariances * weight)
    kept = np.argsort(-first, kind="stable")[:components]
    again, _ = nnls(columns[:, kept] * weight[:, None], found.covariances * weight)
    least = max(LEAST_SHARE * found.variance, float(np.finfo(np.float32).tiny))
    variances = np.maximum(again, least)
    error = float(np.mean(np.asarray(records.error_sd)[np.asarray(records.mask)] ** 2))
    covariance = SpaceTimeCovariance.of(
        *[(float(v), *mesh[k]) for v, k in zip(variances, kept, strict=True)],
        space=space,
        time=time,
    )
    rest = max(found.variance - float(variances.sum()) - error, least)
    distance, lag, product = found.same_platform
    shared = 0.0
    if product.size:
        own = np.asarray(covariance(jnp.asarray(distance), jnp.asarray(lag)))
        shared = float(np.clip(np.mean(product - own), 0.0, 0.8 * rest))
    nugget = max(rest - shared, least)
    return Start(covariance, nugget**0.5, max(shared, least) ** 0.5)
