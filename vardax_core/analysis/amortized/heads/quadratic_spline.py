"""A rational-quadratic spline of one number, without gathers."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flowjax.bijections import AbstractBijection
from jaxtyping import Array, Float

_MIN_WIDTH = 1e-3
_MIN_SLOPE = 1e-3


class QuadraticSpline(AbstractBijection):
    """A monotone spline on +-`interval` and the identity outside; the identity at zero parameters.

    The bin of a number is picked by a mask and a sum instead of a search and a gather, which is
    several times faster to differentiate on a CPU.

    Attributes:
        widths, heights: logits of the bins' widths and heights.
        slopes: what is added before the softplus of the slopes at the inner knots.
        interval: half-width of the interval.

    Source: equations 4 to 8 of Durkan et al. (2019), arXiv:1906.04032.
    """

    widths: Float[Array, " bin"]
    heights: Float[Array, " bin"]
    slopes: Float[Array, " knot"]
    interval: float
    shape: ClassVar[tuple[int, ...]] = ()
    cond_shape: ClassVar[None] = None

    def __init__(self, *, bins: int, interval: float):
        self.widths = jnp.zeros(bins)
        self.heights = jnp.zeros(bins)
        self.slopes = jnp.zeros(bins - 1)
        self.interval = interval

    def transform_and_log_det(self, x, condition=None):
        left, width, bottom, height, low, high, inside, clipped = self._bin(x, inverse=False)
        slope = height / width
        part = (clipped - left) / width
        mixed = part * (1 - part)
        bend = slope + (low + high - 2 * slope) * mixed
        y = bottom + height * (slope * part**2 + low * mixed) / bend
        return jnp.where(inside, y, x), self._log_slope(part, slope, low, high, bend, inside)

    def inverse_and_log_det(self, y, condition=None):
        left, width, bottom, height, low, high, inside, clipped = self._bin(y, inverse=True)
        slope = height / width
        rise = clipped - bottom
        curvature = rise * (low + high - 2 * slope)
        a = height * (slope - low) + curvature
        b = height * low - curvature
        root = jnp.sqrt(jnp.maximum(b**2 + 4 * a * slope * rise, 1e-12))
        part = jnp.clip(2 * slope * rise / (b + root), 0.0, 1.0)
        bend = slope + (low + high - 2 * slope) * part * (1 - part)
        log_slope = self._log_slope(part, slope, low, high, bend, inside)
        return jnp.where(inside, left + part * width, y), -log_slope

    def _bin(self, at, *, inverse: bool):
        """The edges and slopes of the bin that holds a number (of the image if inverse)."""
        widths, heights = self._steps(self.widths), self._steps(self.heights)
        # softplus of this constant is 1 - _MIN_SLOPE, so zero parameters give the identity.
        inner = jax.nn.softplus(self.slopes + 0.5397424172369522) + _MIN_SLOPE
        one = jnp.ones((1,), inner.dtype)
        slopes = jnp.concatenate([one, inner, one])
        edges = jnp.cumsum(widths) - widths - self.interval
        floors = jnp.cumsum(heights) - heights - self.interval
        inside = jnp.abs(at) < self.interval
        clipped = jnp.clip(at, -self.interval, self.interval)
        starts = floors if inverse else edges
        above = (clipped >= starts).astype(at.dtype)
        pick = above - jnp.concatenate([above[1:], jnp.zeros((1,), at.dtype)])
        chosen = [
            jnp.sum(pick * a) for a in (edges, widths, floors, heights, slopes[:-1], slopes[1:])
        ]
        return *chosen, inside, clipped

    def _steps(self, logits):
        share = jax.nn.softmax(logits) * (1 - _MIN_WIDTH * logits.shape[0]) + _MIN_WIDTH
        return 2 * self.interval * share

    @staticmethod
    def _log_slope(part, slope, low, high, bend, inside):
        top = high * part**2 + 2 * slope * part * (1 - part) + low * (1 - part) ** 2
        value = 2 * jnp.log(slope) + jnp.log(top) - 2 * jnp.log(bend)
        return jnp.where(inside, value, jnp.zeros_like(value))
