"""Local interpolation of real records, scored on those that were withheld.

Each function takes records as arrays and returns scores in the unit of the records. Nothing that
is scored enters the statistics that predict it.
"""

import time
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import cKDTree
from scipy.stats import norm

from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.analysis.local.interpolation import LocalRecords, LocalTargets, interpolate
from vardax_core.state.neighbours import space_time_neighbours
from vardax_core.training.covariance_fit import CovarianceFit, fit_covariance
from vardax_core.training.covariogram import Start
from vardax_core.training.platform_bias import expected_biases, platform_biases
from vardax_core.training.withheld import (
    calibration_of,
    desroziers_ratio,
    predict_withheld,
    withheld_neighbours,
)

from .corrected import corrected_scores

MINUTES_PER_DAY = 1440.0


class Score(NamedTuple):
    """Of Gaussian predictions of withheld records, R included."""

    rmse: float
    bias: float
    spread: float
    crps: float
    coverage90: float
    count: int

    @property
    def ratio(self) -> float:
        """Predicted spread over RMSE."""
        return self.spread / self.rmse


def score(departures, sd) -> Score:
    z = departures / sd
    crps = sd * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    return Score(
        rmse=float(np.sqrt(np.mean(departures**2))),
        bias=float(np.mean(departures)),
        spread=float(np.sqrt(np.mean(sd**2))),
        crps=float(np.mean(crps)),
        coverage90=float(np.mean(np.abs(z) < norm.ppf(0.95))),
        count=len(z),
    )


def rms(x) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


def single(x):
    return jnp.asarray(x, jnp.float32)


def _calibrated(fit, records, targets, groups, *, most, thinned=()) -> CovarianceFit:
    around = withheld_neighbours(
        records, targets, groups, speed=fit.speed, most=most, thinned=thinned
    )
    found = predict_withheld(fit.with_errors(records), targets, around, fit.covariance, groups)
    return fit.calibrated(calibration_of(found))


def _stations_fit(records, station, train, most, key):
    """A fit to the training days, their records and predictions, and all records, with errors."""
    training = eqx.tree_at(lambda r: r.mask, records, jnp.asarray(train))
    variance = float(np.asarray(records.innovations)[train].var())
    start = Start(
        SpaceTimeCovariance.of(
            (0.4 * variance, 60.0, MINUTES_PER_DAY),
            (0.3 * variance, 500.0, MINUTES_PER_DAY),
            space="exponential",
        ),
        0.5 * variance**0.5,
        0.0,
    )
    fit = fit_covariance(training, start=start, most=40, key=key)
    training, days = fit.with_errors(training), np.flatnonzero(train)
    around = withheld_neighbours(training, days, station, speed=fit.speed, most=most)
    predictions = predict_withheld(training, days, around, fit.covariance, station)
    return fit, training, predictions, fit.with_errors(records)


def withheld_stations(
    departures, station, day, straight, height, *, folds=3, most=60, seed=0, points=None
):
    """Leave one station out; statistics from the other folds' days.

    Arguments:
        departures: observed minus background at the station, K.
        station: number of each record's station.
        day: of each record.
        straight: place of each station, km.
        height: of each station, m.
        points: straight coordinates where the network that corrects the interpolation is shown
            simulations; None to leave it out.

    Returns:
        Scores with and without the correction of biases, and of the background alone; those of the
        network beside the interpolation as `amortized`, by fold.
    """
    count = len(straight)
    _, day = np.unique(day, return_inverse=True)
    block = day * folds // (day.max() + 1)
    minutes = single(day * MINUTES_PER_DAY)
    found = {"corrected": [], "uncorrected": []}
    words, desroziers, amortized = [], [], []
    for fold in range(folds):
        train, test = block != fold, np.flatnonzero(block == fold)
        biases = platform_biases(departures[train], station[train], day[train], count=count)
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), fold), 3)
        expected = expected_biases(biases, straight, height[:, None] / 100, key=keys[0])
        own = biases.shrunk(expected.bias, expected.sd)
        # A withheld station's own bias is not known.
        unknown = (own - expected.bias)[station]
        for name, corrected, more, more_sd, key in (
            ("corrected", departures - biases.level - own[station], unknown, expected.sd, keys[1]),
            ("uncorrected", departures - departures[train].mean(), 0 * unknown, None, keys[2]),
        ):
            records = LocalRecords.of(
                single(corrected),
                single(np.full(len(corrected), 0.1)),
                single(straight[station]),
                minutes=minutes,
                platform=jnp.asarray(station, jnp.int32),
            )
            fit, training, found_sd, others = _stations_fit(records, station, train, most, key)
            more_var = np.zeros(len(station)) if more_sd is None else more_sd[station] ** 2
            factor = rms(
                (found_sd.departures + more[train]) / np.sqrt(found_sd.sd**2 + more_var[train])
            )
            around = withheld_neighbours(others, test, station, speed=fit.speed, most=most)
            p = predict_withheld(others, test, around, fit.covariance, station)
            found[name].append(
                (p.departures + more[test], factor * np.sqrt(p.sd**2 + more_var[test]))
            )
            if name == "corrected":
                words.append(fit.words)
                ratio = desroziers_ratio(
                    training, np.flatnonzero(train), fit.covariance, speed=fit.speed, most=most
                )
                desroziers.append(ratio.factor)
                if points is not None:
                    args = (fit, others, station, day, test, points)
                    amortized.append(corrected_scores(*args, most=most))
    scores = {name: score(*map(np.concatenate, zip(*x, strict=True))) for name, x in found.items()}
    return {
        **scores,
        "background_rmse": rms(departures),
        "desroziers": float(np.mean(desroziers)),
        "words": words,
        "amortized": amortized,
    }


def reference_tracks(lon, lat, day, departures, held, *, most=60):
    """The reference's space-time interpolation: departures and predicted standard deviations."""
    x = np.c_[lon * np.cos(np.radians(38)) * 1.112, lat * 1.112, day / 10]
    reach, index = cKDTree(x[~held]).query(x[held], k=most)
    near, z, centre = x[~held][index], departures[~held][index], departures[~held].mean()
    between = np.linalg.norm(near[:, :, None] - near[:, None], axis=-1)
    to_point = 0.05**2 * (1 + reach) * np.exp(-reach)
    total = 0.05**2 * (1 + between) * np.exp(-between) + 0.015**2 * np.eye(most)
    weights = np.linalg.solve(total, to_point[..., None])[..., 0]
    error = departures[held] - centre - (weights * (z - centre)).sum(axis=1)
    return error, np.sqrt(0.05**2 - (weights * to_point).sum(axis=1) + 0.015**2)


def withheld_tracks(
    lon, lat, day, piece, departures, straight, *, draws=5, most=60, targets=800, points=None
):
    """Withhold a fifth of the pieces of track; statistics from the others.

    Arguments:
        lon, lat, day: of each value, degrees and days.
        piece: number of the piece of track.
        departures: observed minus mean map, m.
        straight: place of each value, km.
        points: as of `withheld_stations`.

    Returns:
        Scores of local interpolation and of the reference over all draws, by draw, and the last
        fit; those of the network beside the interpolation as `amortized`, by draw.
    """
    pieces = np.unique(piece)
    ours, reference, by_draw, amortized = [], [], [], []
    minutes = (day - day.mean()) * MINUTES_PER_DAY
    for draw in range(draws):
        held = np.isin(
            piece, np.random.default_rng(draw).choice(pieces, len(pieces) // 5, replace=False)
        )
        records = LocalRecords.of(
            single(departures - departures[~held].mean()),
            single(np.full(len(day), 0.003)),
            single(straight),
            minutes=single(minutes),
            platform=jnp.asarray(piece, jnp.int32),
            mask=jnp.asarray(~held),
        )
        fit = fit_covariance(records, targets=targets, key=jax.random.key(draw))
        some = np.random.default_rng(draw).permutation(np.flatnonzero(~held))[:2000]
        fit = _calibrated(fit, records, some, piece, most=most)
        test, records = np.flatnonzero(held), fit.with_errors(records)
        around = withheld_neighbours(records, test, piece, speed=fit.speed, most=most)
        p = predict_withheld(records, test, around, fit.covariance, piece)
        rival = reference_tracks(lon, lat, day, departures, held)
        ours.append((p.departures, p.sd))
        reference.append(rival)
        by_draw.append((score(p.departures, p.sd), score(*rival)))
        if points is not None:
            whole_day = np.floor(day).astype(int)
            args = (fit, records, piece, whole_day, test, points)
            amortized.append(corrected_scores(*args, most=most, seed=draw))
    joined = [score(*map(np.concatenate, zip(*x, strict=True))) for x in (ours, reference)]
    ratio = desroziers_ratio(records, some, fit.covariance, speed=fit.speed, most=most)
    return {
        "ours": joined[0],
        "reference": joined[1],
        "crps_gain": 1 - joined[0].crps / joined[1].crps,
        "by_draw": by_draw,
        "desroziers": ratio.factor,
        "fit": fit,
        "records": records,
        "amortized": amortized,
    }


def map_seconds(fit, records, points, minutes, *, most=60) -> dict[str, Any]:
    """Time of one map, the search for neighbours included, once the program is compiled.

    Arguments:
        fit, records: of `withheld_tracks`.
        points: straight coordinates of the unmasked points of the grid.
        minutes: of the map.
    """
    program = eqx.filter_jit(interpolate)
    straight, when = np.asarray(records.straight), np.asarray(records.minutes)

    def once():
        begun = time.perf_counter()
        around = space_time_neighbours(
            points,
            np.full(len(points), minutes),
            straight,
            when,
            speed=fit.speed,
            most=most,
            usable=np.asarray(records.mask),
        )
        targets = LocalTargets.at(single(points), single(np.full(len(points), minutes)))
        found = program(
            targets,
            records,
            jnp.asarray(around.indices),
            jnp.asarray(around.near),
            fit.covariance,
        )
        found.variance.block_until_ready()
        return time.perf_counter() - begun

    def rival():
        begun = time.perf_counter()
        x = np.column_stack([straight / 100, when / (10 * MINUTES_PER_DAY)])
        at = np.column_stack([points / 100, np.full(len(points), minutes / (10 * MINUTES_PER_DAY))])
        tree = cKDTree(x)
        for rows in np.array_split(np.arange(len(at)), max(len(at) // 2000, 1)):
            reach, index = tree.query(at[rows], k=most)
            near = x[index]
            between = np.linalg.norm(near[:, :, None] - near[:, None], axis=-1)
            total = 0.05**2 * (1 + between) * np.exp(-between) + 0.015**2 * np.eye(most)
            np.linalg.solve(total, (0.05**2 * (1 + reach) * np.exp(-reach))[..., None])
        return time.perf_counter() - begun

    first = once()
    return {
        "first_s": first,
        "map_s": min(once() for _ in range(3)),
        "reference_map_s": min(rival() for _ in range(2)),
        "points": len(points),
    }


def withheld_clouds(
    images, minutes, straight, boxes, *, draws=5, most=48, scored=4000, thinned=(8.0, 24.0), seed=0
):
    """Lay the clouds of one image over another; statistics from what is left.

    Arguments:
        images: (time, y, x), NaN where not seen.
        minutes: of each image.
        straight: (y, x, straight) place of each pixel, km.
        boxes: (y, x) number of the superobservation that each pixel belongs to.

    Returns:
        Scores over all draws, RMSE of nearest-pixel fill and of persistence and ours at the same
        pixels, and by draw.
    """
    count = len(images)
    seen, flat = np.isfinite(images).reshape(count, -1), images.reshape(count, -1)
    place, box = straight.reshape(-1, straight.shape[-1]), boxes.ravel()
    every = {"ours": [], "nearest": [], "persistence": []}
    by_draw = []
    for draw in range(draws):
        rng = np.random.default_rng(seed + draw)
        other = rng.permutation(count)
        while np.any(other == np.arange(count)):
            other = rng.permutation(count)
        held = seen & ~seen[other]
        kept = seen & ~held
        values, places, when = _superobservations(flat, kept, place, box, minutes)
        image, pixel = np.nonzero(held)
        some = np.sort(rng.choice(len(image), min(scored, len(image)), replace=False))
        image, pixel = image[some], pixel[some]
        truth, size = flat[image, pixel], len(values)
        nearest, before = np.full(len(truth), np.nan), np.full(len(truth), np.nan)
        for i in np.unique(image):
            mine, there = image == i, np.flatnonzero(kept[i])
            if there.size:
                nearest[mine] = flat[i, there[cKDTree(place[there]).query(place[pixel[mine]])[1]]]
            if i:
                before[mine] = np.where(kept[i - 1], flat[i - 1], np.nan)[pixel[mine]]
        all_places = np.concatenate([places, place[pixel]])
        all_minutes = np.concatenate([when, minutes[image]])
        records = LocalRecords.of(
            single(np.concatenate([values, truth]) - values.mean()),
            single(np.full(size + len(truth), 0.02)),
            single(all_places),
            minutes=single(all_minutes - np.mean(minutes)),
            platform=jnp.asarray(np.searchsorted(minutes, all_minutes), jnp.int32),
            mask=jnp.arange(size + len(truth)) < size,
        )
        # Gaps as wide as clouds: boxes of 60 km of one image are left out together.
        corner = np.column_stack([all_minutes, np.floor(all_places / 60)])
        group = np.unique(corner, axis=0, return_inverse=True)[1].ravel()
        variance = float(values.var())
        start = Start(
            SpaceTimeCovariance.of(
                (0.3 * variance, 15.0, 2 * MINUTES_PER_DAY),
                (0.7 * variance, 120.0, 8 * MINUTES_PER_DAY),
            ),
            0.1,
            0.1,
        )
        fit = fit_covariance(
            records, groups=group, start=start, thinned=thinned, key=jax.random.key(seed + draw)
        )
        training = rng.permutation(size)[:2000]
        fit = _calibrated(fit, records, training, group, most=most, thinned=thinned)
        records, test = fit.with_errors(records), size + np.arange(len(truth))
        alone = np.arange(size + len(truth))
        around = withheld_neighbours(
            records, test, alone, speed=fit.speed, most=most, thinned=thinned
        )
        p = predict_withheld(records, test, around, fit.covariance, alone)
        every["ours"].append((p.departures, p.sd))
        every["nearest"].append(nearest - truth)
        every["persistence"].append(before - truth)
        by_draw.append((score(p.departures, p.sd), fit.words))
    d, sd = map(np.concatenate, zip(*every["ours"], strict=True))
    result = {"ours": score(d, sd), "by_draw": by_draw}
    for name in ("nearest", "persistence"):
        error = np.concatenate(every[name])
        there = np.isfinite(error)
        result[name] = {
            "rmse": rms(error[there]),
            "ours_there": rms(d[there]),
            "gain": 1 - rms(d[there]) / rms(error[there]),
            "share": float(there.mean()),
        }
    return result


def _superobservations(flat, kept, place, box, minutes):
    """Means of the kept pixels of each box of each image."""
    values, places, when = [], [], []
    for image, mine in enumerate(kept):
        there = np.flatnonzero(mine)
        if not there.size:
            continue
        _, number, size = np.unique(box[there], return_inverse=True, return_counts=True)
        values.append(np.bincount(number, flat[image, there]) / size)
        places.append(np.stack([np.bincount(number, x) / size for x in place[there].T], axis=1))
        when.append(np.full(len(size), minutes[image]))
    return np.concatenate(values), np.concatenate(places), np.concatenate(when)
