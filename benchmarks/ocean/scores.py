"""Scores of daily maps of sea surface height, as the mapping challenges of the ocean define them.

mu is one minus the RMSE over the root mean square of the truth, sigma the standard deviation over
days of the same of each day; lambda_x and lambda_t are the shortest wavelength and period on the
line at which the spectrum of the error in time and x is half of that of the truth.

Source: github.com/ocean-data-challenges/2020a_SSH_mapping_NATL60
"""

from typing import NamedTuple

import contourpy
import numpy as np
from jaxtyping import Float
from ocean.altimeters import WITHHELD, Records, bilinear
from scipy.signal import detrend
from scipy.signal.windows import hann

from vardax_core.calibration.statistics.rules import gaussian_crps

NINETY = 1.6448536269514722


class Maps(NamedTuple):
    """Daily maps of a run, all in the unit of the upper layer.

    Attributes:
        mean, sd: of the upper layer.
        crps: of each day where members were scored; None for that of mean and spread.
        lower: mean of the lower layer; None where there is none.
        band_spread: variance by bands of wavelengths; None where there are no members.
    """

    mean: Float[np.ndarray, "day y x"]
    sd: Float[np.ndarray, "day y x"]
    crps: Float[np.ndarray, " day"] | None = None
    lower: Float[np.ndarray, "day y x"] | None = None
    band_spread: Float[np.ndarray, "day band"] | None = None


def power(fields: Float[np.ndarray, "day y x"]) -> Float[np.ndarray, "period wave"]:
    """Spectrum in time and x, mean over y; without its plane and through a window of Hann."""
    flat = np.moveaxis(fields, 1, 0).astype(float)
    flat = detrend(detrend(flat, axis=1), axis=2)
    days, points = flat.shape[1:]
    flat = flat * hann(days, sym=False)[:, None] * hann(points, sym=False)[None]
    spectrum = np.abs(np.fft.fft2(flat)) ** 2
    return spectrum.mean(axis=0)[1 : days // 2, 1 : points // 2]


def shortest(
    error: Float[np.ndarray, "period wave"],
    signal: Float[np.ndarray, "period wave"],
    days: int,
    length: float,
) -> tuple[float, float]:
    """lambda_x in the unit of `length`, the width of the maps, and lambda_t in days.

    The longest line is taken where there are several; NaN where there is none.
    """
    score = 1 - error / signal
    waves = length / np.arange(1, score.shape[1] + 1)
    periods = days / np.arange(1, score.shape[0] + 1)
    lines = contourpy.contour_generator(x=waves, y=periods, z=score).lines(0.5)
    if not lines:
        return np.nan, np.nan
    line = max(lines, key=len)
    return float(line[:, 0].min()), float(line[:, 1].min())


def scored(
    maps: Maps, truth: Float[np.ndarray, "day 2 y x"], records: Records, length: float
) -> dict[str, float | np.ndarray]:
    """Scores of one run, in the unit of the upper layer.

    Arguments:
        records: of the withheld altimeter.
        length: width of the maps, km.
    """
    upper, days = truth[:, 0], len(truth)
    error = maps.mean - upper
    each = 1 - np.sqrt(np.mean(error**2, axis=(1, 2)) / np.mean(upper**2, axis=(1, 2)))
    rmse = float(np.sqrt(np.mean(error**2)))
    crps = maps.crps
    if crps is None:
        crps = np.asarray(gaussian_crps(upper, maps.mean, maps.sd)).mean(axis=(1, 2))
    lambda_x, lambda_t = shortest(power(error), power(upper), days, length)
    inside, seen = 0, 0
    for day in range(days):
        there = records.platforms[day] == WITHHELD
        places = records.places[day, there]
        expected = bilinear(maps.mean[day], places)
        sd = np.hypot(bilinear(maps.sd[day], places), records.sd[day, there])
        inside += np.sum(np.abs(records.values[day, there] - expected) <= NINETY * sd)
        seen += there.sum()
    return {
        "mu": 1 - rmse / float(np.sqrt(np.mean(upper**2))),
        "sigma": float(each.std()),
        "lambda_x": lambda_x,
        "lambda_t": lambda_t,
        "rmse": rmse,
        "crps": float(np.mean(crps)),
        "spread_over_rmse": float(np.sqrt(np.mean(maps.sd**2))) / rmse,
        "coverage": float(inside / seen),
        "psi_explained": 1 - float(np.mean(error**2) / np.var(upper)),
    }
