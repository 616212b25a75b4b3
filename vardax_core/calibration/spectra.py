"""Sums of isotropic spectra of fields, and the resolution at which an analysis still knows."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vardax_core.calibration.score_definitions import divide

HALF = 0.5
"""Share of the truth's power that the error reaches at the effective resolution."""


def wavenumbers(shape: tuple[int, ...]) -> Float[np.ndarray, "*shape"]:
    """Isotropic wavenumber of every Fourier coefficient, in waves over the longest axis.

    The spacing is the same along all axes, so that a shorter one has fewer, longer waves.
    """
    longest = max(shape)
    axes = [np.fft.fftfreq(size) * longest for size in shape]
    return np.sqrt(sum(k**2 for k in np.meshgrid(*axes, indexing="ij")))


def power_spectrum(field: Float[Array, "*state"]) -> Float[Array, " wavenumber"]:
    """Power of a field by isotropic wavenumber, 1 to half the longest axis; over all wavenumbers
    and the corners beyond, it adds up to the variance.

    The mean is removed. A field that is not periodic leaks power to all wavenumbers: a cosine taper
    before this function helps where that matters.

    Source: Durran, Weyn and Menchaca (2017), doi:10.1175/MWR-D-17-0056.1
    """
    power = jnp.abs(jnp.fft.fftn(field - jnp.mean(field))) ** 2 / field.size**2
    index = np.rint(wavenumbers(field.shape)).astype(int)
    bands = np.arange(1, max(field.shape) // 2 + 1)
    member = jnp.asarray(index.reshape(-1)[None] == bands[:, None])
    return jnp.sum(jnp.where(member, power.reshape(-1)[None], 0.0), axis=1)


def spectrum_sums(
    truth: Float[Array, "*state"],
    mean: Float[Array, "*state"],
    ensemble: Float[Array, "member *state"],
) -> dict[str, Array]:
    """Sums of one cycle: spectra of the truth, the analysis mean, its error, and the members about
    their mean, which matches the error's if the spread is honest at every scale.

    A cycle with a point that is not finite is left out.
    """
    anomalies = ensemble - jnp.mean(ensemble, axis=0, keepdims=True)
    members = ensemble.shape[0]
    finite = jnp.all(jnp.isfinite(truth)) & jnp.all(jnp.isfinite(ensemble))
    finite &= jnp.all(jnp.isfinite(mean))
    spread = jnp.stack([power_spectrum(a) for a in anomalies]).sum(axis=0) / max(members - 1, 1)
    found = {
        "spectrum_truth": power_spectrum(truth),
        "spectrum_mean": power_spectrum(mean),
        "spectrum_error": power_spectrum(mean - truth),
        "spectrum_spread": spread,
    }
    kept = {name: jnp.where(finite, value, 0.0) for name, value in found.items()}
    return {"spectrum_cycles": finite.astype(truth.dtype), **kept}


class Spectra(NamedTuple):
    """Mean spectra of a period, by wavenumber; NaN if no cycle was counted.

    Attributes:
        wavenumber: waves over the longest axis.
        truth, mean, error, spread: power, in the squared unit of the state.
        last_known: wavenumber up to which the error stays below half of the truth's power; NaN if
            it never does.
        resolution: its wavelength in grid points.
    """

    wavenumber: Float[np.ndarray, " wavenumber"]
    truth: Float[np.ndarray, " wavenumber"]
    mean: Float[np.ndarray, " wavenumber"]
    error: Float[np.ndarray, " wavenumber"]
    spread: Float[np.ndarray, " wavenumber"]
    last_known: float
    resolution: float


def spectra(sums: Mapping[str, Array | np.ndarray], longest_axis: int) -> Spectra:
    """Mean spectra and effective resolution from the sums of a period.

    Arguments:
        sums: of `spectrum_sums`, added over cycles.
        longest_axis: points along the longest axis.

    Source: Ballarotta et al. (2019), doi:10.5194/os-15-1091-2019 (effective resolution)
    """
    power = {
        name: divide(np.asarray(sums[f"spectrum_{name}"]), np.asarray(sums["spectrum_cycles"]))
        for name in ("truth", "mean", "error", "spread")
    }
    wavenumber = np.arange(1, len(power["truth"]) + 1)
    known = np.cumprod(power["error"] < HALF * power["truth"]).astype(bool)
    last = float(wavenumber[known][-1]) if known.any() else float("nan")
    return Spectra(wavenumber, last_known=last, resolution=longest_axis / last, **power)
