"""Homogeneous background covariances on periodic grids, applied by the Fourier transform."""

import math
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vardax_core.analysis.variational.covariance import AbstractBackgroundCovariance

SPECTRUM_FLOOR = 1e-8
"""Smallest variance of a wavenumber, relative to the largest, that keeps B invertible."""


class SpectralCovariance(AbstractBackgroundCovariance):
    """B = D C D with a point-wise standard deviation D and a homogeneous correlation C.

    C is diagonal in the Fourier space of the last axes; leading axes of the state (variables)
    are independent of one another. Costs n log n; no matrix is formed. A field that is not
    periodic is padded by a few correlation lengths first.

    Attributes:
        sd: standard deviation of every point, D, in the unit of the state.
        spectrum: eigenvalues of C, one to a wavenumber of the real transform.
        state_shape: shape of one state.
    """

    sd: Float[Array, "*state"]
    spectrum: Float[Array, "*wavenumber"]
    state_shape: tuple[int, ...] = eqx.field(static=True)

    def _filter(
        self, state: Float[Array, "*state"], multiplier: Float[Array, "*wavenumber"]
    ) -> Float[Array, "*state"]:
        axes = tuple(range(-self.spectrum.ndim, 0))
        transformed = jnp.fft.rfftn(state, axes=axes)
        factor = jnp.broadcast_to(multiplier, transformed.shape).astype(transformed.dtype)
        return jnp.fft.irfftn(transformed * factor, s=state.shape[-self.spectrum.ndim :], axes=axes)

    @property
    def rank(self) -> int:
        return math.prod(self.state_shape)

    def apply(self, state: Float[Array, "*state"]) -> Float[Array, "*state"]:
        return self.sd * self._filter(self.sd * state, self.spectrum)

    def square_root(self, control: Float[Array, " rank"]) -> Float[Array, "*state"]:
        return self.sd * self._filter(control.reshape(self.state_shape), jnp.sqrt(self.spectrum))

    def inverse(self, state: Float[Array, "*state"]) -> Float[Array, "*state"]:
        return self._filter(state / self.sd, 1 / self.spectrum) / self.sd

    def variance(self) -> Float[Array, "*state"]:
        return self.sd**2


def _square_wavenumbers(grid_shape: tuple[int, ...]) -> Float[np.ndarray, "*wavenumber"]:
    """|k|^2 in radians per grid interval, laid out as the real transform."""
    axes = [2 * np.pi * np.fft.fftfreq(n) for n in grid_shape[:-1]]
    axes.append(2 * np.pi * np.fft.rfftfreq(grid_shape[-1]))
    return sum(k**2 for k in np.meshgrid(*axes, indexing="ij"))


def _from_spectrum(
    name: str,
    sd: Float[Array, "*state"],
    length: float,
    grid_axes: int,
    shape_of_spectrum: Callable[[Float[np.ndarray, "*wavenumber"]], np.ndarray],
) -> SpectralCovariance:
    state_shape = sd.shape
    if not 1 <= grid_axes <= len(state_shape):
        raise ValueError(f"{name}: grid_axes must lie in 1..{len(state_shape)}, got {grid_axes}.")
    if not length > 0 or not bool(jnp.all(sd > 0)):
        raise ValueError(f"{name}: the length ({length}) and every sd must be positive.")
    grid_shape = state_shape[-grid_axes:]
    spectrum = shape_of_spectrum(_square_wavenumbers(grid_shape))
    spectrum = np.maximum(spectrum, SPECTRUM_FLOOR * np.max(spectrum))
    # The correlation at no distance is the mean eigenvalue over all wavenumbers.
    last = grid_shape[-1]
    copies = np.full(spectrum.shape[-1], 2.0)
    copies[0] = 1.0
    if last % 2 == 0:
        copies[-1] = 1.0
    spectrum = spectrum * math.prod(grid_shape) / np.sum(spectrum * copies)
    return SpectralCovariance(
        sd=sd, spectrum=jnp.asarray(spectrum, sd.dtype), state_shape=state_shape
    )


def gaussian_covariance(
    sd: Float[Array, "*state"], length: float, *, grid_axes: int = 1
) -> SpectralCovariance:
    """Correlation exp(-r^2 / (2 length^2)) on a periodic grid.

    Arguments:
        sd: standard deviation of every point.
        length: in grid intervals.
        grid_axes: how many of the last axes are the grid.

    Raises:
        ValueError: if the length or a standard deviation is not positive.
    """
    return _from_spectrum(
        "gaussian_covariance", sd, length, grid_axes, lambda k2: np.exp(-k2 * length**2 / 2)
    )


def matern_covariance(
    sd: Float[Array, "*state"], length: float, smoothness: float, *, grid_axes: int = 1
) -> SpectralCovariance:
    """Matern correlation on a periodic grid; smoothness 1/2 is exponential in one dimension.

    The spectrum is (2 nu / length^2 + k^2)^(-nu - d / 2).

    Arguments:
        sd: standard deviation of every point.
        length: in grid intervals.
        smoothness: nu, positive.
        grid_axes: how many of the last axes are the grid, d.

    Raises:
        ValueError: if the length, the smoothness or a standard deviation is not positive.

    Source: Rasmussen and Williams (2006), Gaussian Processes, equation 4.15.
    """
    if not smoothness > 0:
        raise ValueError(f"matern_covariance: smoothness must be positive, got {smoothness}.")
    return _from_spectrum(
        "matern_covariance",
        sd,
        length,
        grid_axes,
        lambda k2: (2 * smoothness / length**2 + k2) ** (-smoothness - grid_axes / 2),
    )
