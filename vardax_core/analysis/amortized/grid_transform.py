"""An amortized local transform of an ensemble on any grid."""

import dataclasses
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from vardax_core.analysis.amortized.transform_network import (
    WIDEST,
    Choices,
    TransformNetwork,
)
from vardax_core.analysis.amortized.transform_view import TransformView
from vardax_core.analysis.base import AbstractPointwiseStep, Support
from vardax_core.analysis.ensemble.letkf import usual_batch
from vardax_core.analysis.ensemble.localization import gaspari_cohn
from vardax_core.analysis.ensemble.points import (
    NO_INFLATION,
    PointTransforms,
    moved,
    point_transforms,
)
from vardax_core.analysis.ensemble.transform import (
    check_members,
    ensemble_analysis,
    whitened_ensemble,
)
from vardax_core.analysis.local.view import in_batches
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.errors import DiagonalErrorModel, finite_error_sd
from vardax_core.types import Analysis, Observations, ensemble_mean

REACH = 2 * WIDEST
"""Distance from which on no record counts, in half-widths of the usual taper."""
USUAL_MEMBERS = 24


class Rows(NamedTuple):
    """All records of a window, in units of their errors.

    Attributes:
        anomalies: of the members' equivalents.
        innovations: of the mean.
        precision: one over the standard deviation of the error; 0 where nothing is observed.
    """

    anomalies: Float[Array, "obs member"]
    innovations: Float[Array, " obs"]
    precision: Float[Array, " obs"]


class PointUpdate(NamedTuple):
    """What the records around points do there.

    Attributes:
        weights: taper of R^-1 of each record.
        choices: of the network.
        increment: of the mean.
        variance: of the members after the transform, before any relaxation.
        background: variance of the members before.
        observed: whether any record counts.
    """

    weights: Float[Array, "point local"]
    choices: Choices
    increment: Float[Array, "point channel"]
    variance: Float[Array, "point channel"]
    background: Float[Array, "point channel"]
    observed: Bool[Array, " point"]

    def factor(self, variance: Float[Array, "point channel"]) -> Float[Array, "point channel"]:
        """What anomalies of a variance are multiplied by after the transform."""
        known = variance > 0
        ratio = jnp.where(known, self.background / jnp.where(known, variance, 1.0), 1.0) ** 0.5
        return (1 + self.choices.relaxation * (ratio - 1)) * jnp.exp(self.choices.after)


class GridTransformStep(AbstractPointwiseStep):
    """A local ensemble transform whose taper, inflation and covariance a network chooses.

    At every point of a ring, a plane or the sphere the network sees the spread of the members,
    how many records are in reach and how near, how far their innovations are from what is
    expected at two scales, how the members correlate with the records, and how unlike a Gaussian
    they are; all the same for innovations of the other sign. It chooses the half-width of the
    taper of R^-1, an inflation, the share b of a climatological covariance C that it learned in

        P = (1 - b) P_ensemble + b C

    and how the spread is relaxed. The mean moves by the Kalman gain of P, the anomalies are
    transformed by that of the ensemble. With b = 0 and choices that do not vary this is the LETKF
    with relaxation to the prior spread. Where no record is in reach, the members stay bit for bit.

    Attributes:
        operator: observation operator H, of values at points.
        view: the records around every point.
        network: that chooses.
        half_width: of the usual taper, in the grid's unit.
        batch_size: points that are analysed at once; None for what suits the device.
        only: flat indices of the points that are analysed, the others stay as they are; None for
            all points.

    Source: Hunt et al. (2007), doi:10.1016/j.physd.2006.11.008; Hamill and Snyder (2000),
    doi:10.1175/1520-0493(2000)128<2905:AHEKFV>2.0.CO;2, on the climatological share.
    """

    operator: AbstractObservationOperator
    view: TransformView
    network: TransformNetwork
    half_width: float = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True, default=None)
    only: Int[Array, " some"] | None = None

    def __check_init__(self):
        channels, points = self.network.spread.shape[0], self.view.at.shape[0]
        if channels * points != math.prod(self.operator.state_shape):
            raise ValueError(
                f"GridTransformStep: the network is of {channels} channels and the view of "
                f"{points} points, a state has the shape {self.operator.state_shape}; build all "
                "for one state."
            )

    def at(self, point: int) -> "GridTransformStep":
        return dataclasses.replace(self, only=jnp.asarray([point]))

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        check_members("GridTransformStep", background)
        rows, own = self.rows(background, observations), self.columns(background)

        def at_points(given):
            points, members = given
            update = self.update(rows, points, members)
            root, found = self._transforms(rows, points, update)
            mean = jnp.mean(members, axis=2, keepdims=True)
            turned = moved(mean + root * (members - mean), found.matrix[:, None])
            turned = turned - jnp.mean(turned, axis=2, keepdims=True)
            count = members.shape[2] - 1
            factor = update.factor(jnp.sum(turned**2, axis=2) / count)
            analysed = mean + update.increment[..., None] + factor[..., None] * turned
            kept = jnp.where(update.observed[:, None, None], analysed, members)
            choices = update.choices
            return kept, choices.widening, choices.share, found.resolved

        chosen = jnp.arange(own.shape[0]) if self.only is None else self.only
        given = (chosen, own if self.only is None else own[chosen])
        analysed, widening, share, resolved = in_batches(at_points, given, self._batch)
        if self.only is not None:
            analysed = own.at[chosen].set(analysed)
        ensemble = analysed.transpose(2, 1, 0).reshape(background.shape)
        diagnostics = {"mean_widening": jnp.mean(widening), "mean_share": jnp.mean(share)}
        return ensemble_analysis(ensemble, diagnostics, jnp.all(resolved))

    def support(
        self, background: Float[Array, "member *state"], observations: Observations
    ) -> Support:
        rows, own = self.rows(background, observations), self.columns(background)

        def at_points(given):
            update = self.update(rows, *given)
            root, found = self._transforms(rows, given[0], update)
            weights = update.weights
            count = jnp.sum(weights > 0, axis=1).astype(weights.dtype)
            return count, jnp.sum(weights, axis=1), root[:, 0, 0], found.signal

        return Support(*in_batches(at_points, (jnp.arange(own.shape[0]), own), self._batch))

    @property
    def _batch(self) -> int:
        return usual_batch() if self.batch_size is None else self.batch_size

    def _transforms(
        self, rows: Rows, points: Int[Array, " point"], update: PointUpdate
    ) -> tuple[Float[Array, "point 1 1"], PointTransforms]:
        """The factor on the background's anomalies, and the transforms of the inflated ones."""
        root = update.choices.inflation[:, None, None] ** 0.5
        found = point_transforms(
            _once_known(root, update.increment) * rows.anomalies[self.view.indices[points]],
            rows.innovations[self.view.indices[points]],
            update.weights,
            NO_INFLATION,
        )
        return root, found

    def columns(
        self, background: Float[Array, "member *state"]
    ) -> Float[Array, "point channel member"]:
        """The members of every point."""
        members = background.shape[0]
        return background.reshape(members, -1, self.view.at.shape[0]).transpose(2, 1, 0)

    def rows(self, background: Float[Array, "member *state"], observations: Observations) -> Rows:
        """Observe an ensemble at the analysis time."""
        errors = DiagonalErrorModel()
        whitened = whitened_ensemble(self.operator, errors, background, observations)
        equivalents = jnp.abs(self.operator(ensemble_mean(background)))
        sd = finite_error_sd(observations.error_sd[-1], observations.values[-1], equivalents)
        precision = jnp.where(observations.mask[-1], 1 / sd, 0.0).astype(background.dtype)
        return Rows(whitened.anomalies.T, whitened.innovation, precision)

    def update(
        self,
        rows: Rows,
        points: Int[Array, " point"],
        own: Float[Array, "point channel member"],
    ) -> PointUpdate:
        """What happens at some points; all of it may be differentiated by the network.

        Arguments:
            rows: of the window.
            points: their numbers.
            own: their members.
        """
        return jax.vmap(lambda point, members: self._at(rows, point, members))(points, own)

    def _at(
        self, rows: Rows, point: Int[Array, ""], own: Float[Array, "channel member"]
    ) -> PointUpdate:
        near, members = self.view.indices[point], own.shape[1]
        found, channels = self.view.distances[point], self.view.channels[near]
        precision = jnp.where(jnp.isfinite(found), rows.precision[near], 0.0)
        # An infinite one has no slope.
        distances = jnp.minimum(found, self.view.reach).astype(own.dtype)
        anomalies, innovations = rows.anomalies[near], rows.innovations[near]
        own = own - jnp.mean(own, axis=1, keepdims=True)
        variance = jnp.sum(own**2, axis=1) / (members - 1)
        usual = jnp.where(precision > 0, gaspari_cohn(distances, self.half_width), 0.0)
        wide = jnp.where(precision > 0, gaspari_cohn(distances, WIDEST * self.half_width), 0.0)
        inputs = self._inputs(own, variance, anomalies, innovations, channels, usual, wide)
        choices = self.network(inputs)
        weights = gaspari_cohn(distances / choices.widening, self.half_width)
        weights = jnp.where(precision > 0, weights, 0.0)
        count = jnp.sum(weights)
        choices = choices.fading(count / (1 + count))

        # A root has no slope at zero, and one without a weight needs none.
        taper = jnp.where(weights > 0, jnp.sqrt(jnp.where(weights > 0, weights, 1.0)), 0.0)
        seen, departures = anomalies * taper[:, None], innovations * taper
        scale = (choices.inflation / (members - 1)).astype(own.dtype)
        square = jnp.eye(members, dtype=own.dtype) + scale * seen.T @ seen
        half = jax.scipy.linalg.solve_triangular(jnp.linalg.cholesky(square), own.T, lower=True)
        after = scale * jnp.sum(half**2, axis=0)

        spread = jax.lax.stop_gradient(self.network.spread).astype(own.dtype)
        each = taper * precision * spread[channels]
        places = self.view.straight[near].astype(own.dtype)
        between = _lengths(places[:, None] - places[None])
        across = self.network.covariance(between, self.half_width)
        local = jnp.arange(near.size, dtype=channels.dtype)
        fixed = across[channels[:, None], channels[None], local[:, None], local[None]]
        here = self.view.at[point].astype(own.dtype)
        to_point = self.network.covariance(_lengths(places - here[None]), self.half_width)
        to_point = to_point[:, channels, local]
        share = choices.share
        gram = (1 - share) * scale * seen @ seen.T + share * each[:, None] * fixed * each[None]
        cross = (1 - share) * scale * own @ seen.T
        cross = cross + share * spread[:, None] * to_point * each[None]
        small = 30 * jnp.finfo(own.dtype).eps * (1 + jnp.trace(gram))
        system = gram + (1 + small) * jnp.eye(near.size, dtype=own.dtype)
        factor = jnp.linalg.cholesky(_once_known(system, after))
        solved = jax.scipy.linalg.cho_solve((factor, True), departures)
        return PointUpdate(weights, choices, cross @ solved, after, variance, jnp.any(weights > 0))

    def _inputs(
        self,
        own: Float[Array, "channel member"],
        variance: Float[Array, " channel"],
        anomalies: Float[Array, "local member"],
        innovations: Float[Array, " local"],
        channels: Int[Array, " local"],
        usual: Float[Array, " local"],
        wide: Float[Array, " local"],
    ) -> Float[Array, "channel input"]:
        """Numbers of order one that the network sees; none changes with the sign of departures."""
        members = own.shape[1]
        spread = jax.lax.stop_gradient(self.network.spread).astype(own.dtype)
        floor = 1e-3 * spread
        expected = jnp.sum(anomalies**2, axis=1) / (members - 1)
        square = innovations**2 / (1 + expected)
        counts = jnp.sum(usual), jnp.sum(wide)
        surprises = [
            jnp.sum(w * (square - 1)) / (1 + count)
            for w, count in zip((usual, wide), counts, strict=True)
        ]
        total = jnp.where(counts[0] > 0, counts[0], 1.0)
        relative = jnp.log((jnp.sqrt(variance) + floor) / spread)
        normal = own / (jnp.sqrt(variance) + floor)[:, None]
        length = jnp.sqrt(expected)
        correlation = normal @ (anomalies / jnp.where(length > 0, length, 1.0)[:, None]).T
        alike = jnp.sum(usual[None] * (correlation / (members - 1)) ** 2, axis=1) / total
        mine = channels[None] == jnp.arange(own.shape[0], dtype=channels.dtype)[:, None]
        common = [
            jnp.log1p(counts[0]) - 1,
            *surprises,
            jnp.sum(usual * jnp.log1p(expected)) / total - 1,
            jnp.max(usual, initial=0.0),
            jnp.mean(relative),
            jnp.asarray(math.log(members / USUAL_MEMBERS), own.dtype),
        ]
        apart = [
            relative,
            3 * (alike - 1 / members),
            jnp.sum(jnp.where(mine, usual[None], 0.0), axis=1) / total,
            (jnp.mean(normal**4, axis=1) - 3) / 2,
        ]
        everywhere = jnp.broadcast_to(jnp.stack(common), (own.shape[0], len(common)))
        return jnp.concatenate([everywhere, jnp.stack(apart, axis=1)], axis=1)


def _once_known(x: Float[Array, "*any"], other: Array) -> Float[Array, "*any"]:
    """The first, not before the second: two factorisations at a time may wait for each other for
    ever, see docs/decisions.md, "One LAPACK call at a time"."""
    return x + 0 * jnp.sum(other)


def _lengths(vectors: Float[Array, "*any straight"]) -> Float[Array, "*any"]:
    return jnp.sqrt(jnp.sum(vectors**2, axis=-1))
