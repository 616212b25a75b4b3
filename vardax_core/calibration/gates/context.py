"""What gates look at: ranks of held-out truths, gathered chunk by chunk."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vardax_core.calibration.gates.quantities import (
    QUANTITIES,
    RANDOM_DIRECTIONS,
    Quantity,
    distance,
    multiscale,
    multiscale_names,
    pool_distance,
)

RELABELLINGS = 19
"""Random relabellings of draws among which that of model and oracle is ranked."""
AGREEMENT_POINTS = 1024
"""Points of a larger state, evenly taken, on which model and oracle are compared as samples."""
SLICES = 16


FAMILIES = ("coordinates", "projections", "quantities", "tarp", "density", "agreement")
"""What the truth can be ranked by."""


Values = Array | np.ndarray
"""Arrays on the device or on the host."""


class PairsError(ValueError):
    """The arrays of pairs do not belong together."""


class Pairs(eqx.Module):
    """Held-out pairs of a truth and a posterior.

    Attributes:
        truth: true states, drawn independently of each other.
        draws: posterior draws (pair, draw, *state) given the observations of each truth, in the
            unit of the state.
        log_prob_truth, log_prob_draws: log-density of the posterior at the truth and the draws,
            up to a constant of each pair.
        oracle_mean, oracle_sd: exact Gaussian marginals of the posterior, where an oracle knows.
        oracle_draws: draws from the oracle's posterior.
        references: points to which distances are taken for TARP; by default drawn at random
            around the truth and the draws of each pair.
    """

    truth: Float[Values, "pair *state"]
    draws: Float[Values, "..."]
    log_prob_truth: Float[Values, " pair"] | None = None
    log_prob_draws: Float[Values, "pair draw"] | None = None
    oracle_mean: Float[Values, "pair *state"] | None = None
    oracle_sd: Float[Values, "pair *state"] | None = None
    oracle_draws: Float[Values, "pair oracle *state"] | None = None
    references: Float[Values, "pair *state"] | None = None

    def __check_init__(self):
        shape = self.truth.shape
        if self.draws.shape[:1] + self.draws.shape[2:] != shape or self.draws.ndim < 2:
            raise PairsError(
                f"Pairs: truth has shape {shape} and draws {self.draws.shape}; expected (pair, "
                "*state) and (pair, draw, *state)."
            )
        if (self.log_prob_truth is None) != (self.log_prob_draws is None):
            raise PairsError("Pairs: give log_prob of both the truth and the draws, or of neither.")
        if (self.oracle_mean is None) != (self.oracle_sd is None):
            raise PairsError("Pairs: give both the mean and the sd of the oracle, or neither.")


@dataclass(frozen=True)
class RankTable:
    """Ranks of the truth among the draws.

    Attributes:
        ranks: 0 to the number of draws.
        draws: number of draws.
        names: what each column is.
    """

    ranks: Int[np.ndarray, "pair quantity"]
    draws: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class OracleSums:
    """Sums over the draws of w = (draw - oracle mean) / oracle sd of each pair.

    Attributes:
        total, squares: sum of w and of w^2.
        draws: number of draws in each sum.
    """

    total: Float[np.ndarray, "pair n"]
    squares: Float[np.ndarray, "pair n"]
    draws: int


@dataclass(frozen=True)
class GateContext:
    """All that gates are checked on.

    Attributes:
        tables: ranks by family: `coordinates`, `projections`, `quantities`, `tarp`, and where
            they could be computed `density` and `agreement`.
        values: the quantities themselves, truth first, or None if they were not asked for.
        value_names: what they are.
        strata: labels of the pairs by name of a stratification (season, regime, hour, density of
            observations).
        oracle: comparison with exact marginals, or None.
        n: number of pairs.
        not_finite: draws that are not finite where the truth is, summed over pairs and points.
        without_truth: points of pairs that have no finite truth.
    """

    tables: Mapping[str, RankTable]
    values: Float[np.ndarray, "pair element quantity"] | None = None
    value_names: tuple[str, ...] = ()
    strata: Mapping[str, np.ndarray] = field(default_factory=dict)
    oracle: OracleSums | None = None
    n: int = 0
    not_finite: int = 0
    without_truth: int = 0

    def __post_init__(self):
        for name, labels in self.strata.items():
            if len(labels) != self.n:
                raise PairsError(
                    f"GateContext: the stratification {name!r} labels {len(labels)} pairs of "
                    f"{self.n}; give one label for each pair."
                )


def collect(
    chunks: Iterable[Pairs],
    *,
    key: PRNGKeyArray,
    strata: Mapping[str, np.ndarray] | None = None,
    scale: Float[Values, "*state"] | None = None,
    quantities: Mapping[str, Quantity] = QUANTITIES,
    families: tuple[str, ...] = FAMILIES,
) -> GateContext:
    """Rank the truths of all chunks; memory holds one chunk and the ranks.

    A point without a finite truth is left out of its pair, as is one where a draw is not finite,
    which is counted.

    Arguments:
        chunks: the pairs, in pieces of any size.
        key: for random directions, reference points and ties.
        strata: labels of all pairs by name of a stratification.
        scale: typical size of each point, by which states of several units are divided before
            their points are mixed; by default 1.
        quantities: quantities of interest by name.
        families: what is ranked, of `FAMILIES`; a large state is ranked faster by fewer.

    Raises:
        PairsError: if there is no chunk, or the labels do not fit.
    """
    direction_key, key = jax.random.split(key)
    found: list[dict[str, np.ndarray]] = []
    shape: tuple[int, ...] = ()
    n_draws = 0
    for index, given in enumerate(chunks):
        pairs = jax.tree.map(jnp.asarray, given)
        shape, n_draws = pairs.truth.shape[1:], pairs.draws.shape[1]
        scaling = jnp.ones(shape, pairs.truth.dtype) if scale is None else scale
        size = (pairs.truth[0].size, RANDOM_DIRECTIONS)
        directions = jax.random.normal(direction_key, size, pairs.truth.dtype)
        chunk_key = jax.random.fold_in(key, index)
        arrays = _chunk(pairs, scaling, directions, chunk_key, tuple(quantities.items()), families)
        found.append(_ranked({k: np.asarray(v) for k, v in arrays.items()}, index))
    if not found:
        raise PairsError("collect: there is no chunk of pairs; give one at least.")
    joined = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    names = {
        "coordinates": [f"point {k}" for k in range(int(np.prod(shape)))],
        "projections": [
            *multiscale_names(shape),
            *(f"random sum of all points {k}" for k in range(RANDOM_DIRECTIONS)),
        ],
        "quantities": [*quantities, "distance from the pool"],
        "tarp": ["distance from a random point"],
        "density": ["log-density"],
        "agreement": AGREEMENT,
    }
    tables = {
        family: RankTable(
            joined[family], RELABELLINGS if family == "agreement" else n_draws, tuple(labels)
        )
        for family, labels in names.items()
        if family in joined
    }
    oracle = None
    if "oracle_total" in joined:
        oracle = OracleSums(joined["oracle_total"], joined["oracle_squares"], n_draws)
    return GateContext(
        tables=tables,
        values=joined.get("values"),
        value_names=tuple(names["quantities"]),
        strata=dict(strata or {}),
        oracle=oracle,
        n=len(joined["not_finite"]),
        not_finite=int(joined["not_finite"].sum()),
        without_truth=int(joined["without_truth"].sum()),
    )


def _ranked(arrays: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Ranks from the counts of draws below and not above the truth; ties broken at random."""
    found = {}
    for name, array in arrays.items():
        if not name.endswith("/below"):
            if not name.endswith("/not_above"):
                found[name] = array
            continue
        family = name.removesuffix("/below")
        ties = arrays[f"{family}/not_above"] - array
        if ties.any():
            array = array + np.random.default_rng(seed).integers(0, ties + 1).astype(array.dtype)
        found[family] = array
    return found


@partial(jax.jit, static_argnames=("quantities", "wanted"))
def _chunk(
    pairs: Pairs,
    scale: Float[Array, "*state"],
    directions: Float[Array, "n direction"],
    key: PRNGKeyArray,
    quantities: tuple[tuple[str, Quantity], ...],
    wanted: tuple[str, ...],
) -> dict[str, Array]:
    keys = jax.random.split(key, pairs.truth.shape[0])
    return jax.vmap(lambda one, k: _pair(one, scale, directions, k, quantities, wanted))(
        pairs, keys
    )


def _pair(
    pair: Pairs,
    scale: Float[Array, "*state"],
    directions: Float[Array, "n direction"],
    key: PRNGKeyArray,
    quantities: tuple[tuple[str, Quantity], ...],
    wanted: tuple[str, ...],
) -> dict[str, Array]:
    truth_known = jnp.isfinite(pair.truth)
    finite = jnp.all(jnp.isfinite(pair.draws), axis=0)
    usable = truth_known & finite
    pool = jnp.concatenate([pair.truth[None], pair.draws])
    pool = jnp.where(usable[None], pool, jnp.zeros_like(pool))
    scaled = pool / scale[None]
    noise_key, label_key = jax.random.split(key)
    flat = scaled.reshape(scaled.shape[0], -1)
    families = {"coordinates": pool.reshape(pool.shape[0], -1)}
    found = {
        "not_finite": jnp.sum(truth_known & ~finite),
        "without_truth": jnp.sum(~truth_known),
    }
    if "projections" in wanted:
        projections = [jax.vmap(multiscale)(scaled), flat @ directions]
        families["projections"] = jnp.concatenate(projections, axis=-1)
    if "quantities" in wanted:
        columns = [jax.vmap(quantity)(pool) for _, quantity in quantities]
        found["values"] = jnp.stack([*columns, pool_distance(scaled)], axis=-1)
        families["quantities"] = found["values"]
    if "tarp" in wanted:
        reference = pair.references
        if reference is None:
            noise = jax.random.normal(noise_key, pair.truth.shape, pool.dtype)
            reference = jnp.mean(pool, axis=0) + jnp.std(pool, axis=0) * noise
        reference = jnp.where(usable, reference, jnp.zeros_like(reference))
        families["tarp"] = distance(scaled, reference / scale)[:, None]
    if pair.log_prob_truth is not None and pair.log_prob_draws is not None:
        families["density"] = jnp.append(pair.log_prob_truth, pair.log_prob_draws)[:, None]
    if pair.oracle_mean is not None and pair.oracle_sd is not None:
        mean, sd = pair.oracle_mean[None], pair.oracle_sd[None]
        w = jnp.where(usable[None], (pair.draws - mean) / sd, jnp.zeros_like(pair.draws))
        found["oracle_total"] = jnp.sum(w, axis=0).reshape(-1)
        found["oracle_squares"] = jnp.sum(w**2, axis=0).reshape(-1)
    if pair.oracle_draws is not None and "agreement" in wanted:
        other = (jnp.asarray(pair.oracle_draws) / scale[None]).reshape(len(pair.oracle_draws), -1)
        families["agreement"] = _agreement(flat[1:], other, label_key)
    kind = jnp.int8 if pair.draws.shape[0] < 127 else jnp.int32
    for family in wanted:
        if family not in families:
            continue
        elements = families[family]
        found[f"{family}/below"] = jnp.sum(elements[1:] < elements[:1], axis=0, dtype=kind)
        found[f"{family}/not_above"] = jnp.sum(elements[1:] <= elements[:1], axis=0, dtype=kind)
    return found


AGREEMENT = (
    *("median |z| of the mean", "95 % quantile of |z|", "largest |z|"),
    *("log ratio of the spreads", "its size", "sliced Wasserstein distance"),
)
"""Statistics of the difference of two samples, all of which grow with it but for the first ratio,
which has a sign."""


def _agreement(
    draws: Float[Array, "draw n"], oracle: Float[Array, "oracle n"], key: PRNGKeyArray
) -> Float[Array, "labelling statistic"]:
    """Statistics of model against oracle, for the true labels of the draws and for random ones.

    If model and oracle are the same distribution, the true labelling is one of the random ones,
    whatever the distribution, its correlations and its size.
    """
    points = np.unique(np.linspace(0, draws.shape[1] - 1, AGREEMENT_POINTS).astype(int))
    both = jnp.concatenate([draws, oracle])[:, points]
    direction_key, key = jax.random.split(key)
    slices = jax.random.normal(direction_key, (both.shape[1], SLICES), both.dtype)
    projected = both @ (slices / jnp.linalg.norm(slices, axis=0, keepdims=True))
    orders = jax.vmap(lambda k: jax.random.permutation(k, both.shape[0]))(
        jax.random.split(key, RELABELLINGS)
    )
    orders = jnp.concatenate([jnp.arange(both.shape[0])[None], orders])

    def statistics(order: Int[Array, " element"]) -> Float[Array, " statistic"]:
        first, second = both[order[: len(draws)]], both[order[len(draws) :]]
        difference = jnp.mean(first, axis=0) - jnp.mean(second, axis=0)
        variances = jnp.var(first, axis=0, ddof=1), jnp.var(second, axis=0, ddof=1)
        error = variances[0] / len(first) + variances[1] / len(second)
        z = jnp.abs(difference) / jnp.sqrt(jnp.maximum(error, jnp.finfo(error.dtype).tiny))
        floor = jnp.finfo(error.dtype).tiny
        ratios = 0.5 * jnp.log((variances[0] + floor) / (variances[1] + floor))
        one, other = projected[order[: len(draws)]], projected[order[len(draws) :]]
        levels = (jnp.arange(16).astype(both.dtype) + 0.5) / 16
        quantiles = [jnp.quantile(part, levels, axis=0) for part in (one, other)]
        distance = jnp.mean(jnp.abs(quantiles[0] - quantiles[1]))
        return jnp.stack(
            [
                *jnp.quantile(z, jnp.array([0.5, 0.95, 1.0], z.dtype)),
                jnp.mean(ratios),
                jnp.mean(ratios**2),
                distance,
            ]
        )

    return jax.lax.map(statistics, orders)
