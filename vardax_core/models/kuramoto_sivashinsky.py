"""The Kuramoto-Sivashinsky equation on a periodic line."""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from pydantic import Field

from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.settings import AbstractModelSettings, Axis, numbered

CONTOUR_POINTS = 64
"""Points of the circle over which the scheme's coefficients are averaged."""


def exponential_coefficients(
    linear: Float[np.ndarray, " wave"], step_size: float
) -> tuple[np.ndarray, ...]:
    """Coefficients E, E2, Q, f1, f2, f3 of the ETDRK4 scheme for a diagonal linear part.

    Source: Kassam and Trefethen (2005), doi:10.1137/S1064827502410633
    """
    circle = np.exp(1j * np.pi * (np.arange(1, CONTOUR_POINTS + 1) - 0.5) / CONTOUR_POINTS)
    z = step_size * linear[:, None] + circle[None, :]

    def mean(values: np.ndarray) -> np.ndarray:
        return step_size * np.real(np.mean(values, axis=1))

    return (
        np.exp(step_size * linear),
        np.exp(step_size * linear / 2),
        mean((np.exp(z / 2) - 1) / z),
        mean((-4 - z + np.exp(z) * (4 - 3 * z + z**2)) / z**3),
        mean((2 + z + np.exp(z) * (-2 + z)) / z**3),
        mean((-4 - 3 * z - z**2 + np.exp(z) * (4 - z)) / z**3),
    )


class KuramotoSivashinsky(AbstractForecastModel):
    """u_t = -u u_x - u_xx - u_xxxx on a periodic line, a flame front's slope.

    Pseudo-spectral with the two-thirds rule and exponential fourth-order Runge-Kutta steps. With
    length 32 pi there are some ten growing directions. A small random state without a mean is on
    the attractor after some 150 time units. The mean of u never changes.

    Attributes:
        state_shape: (grid points,), an even number.
        length: of the line, in units of u's own scale.
        step_size: step of the scheme in model time units.
        n_steps: steps of the scheme to one forecast step.
        interval: minutes of valid time that one forecast step stands for.

    Source: Kuramoto and Tsuzuki (1976), doi:10.1143/PTP.55.356; Kassam and Trefethen (2005),
    doi:10.1137/S1064827502410633
    """

    state_shape: tuple[int, ...] = eqx.field(static=True, default=(128,))
    length: float = eqx.field(static=True, default=32 * math.pi)
    step_size: float = eqx.field(static=True, default=0.25)
    n_steps: int = eqx.field(static=True, default=4)
    interval: int = eqx.field(static=True, default=60)

    def __check_init__(self):
        shape = self.state_shape
        if len(shape) != 1 or shape[0] < 8 or shape[0] % 2:
            raise ValueError(
                f"KuramotoSivashinsky: state_shape must be (N,), N even, >= 8; got {shape}."
            )
        if not self.length > 0 or not self.step_size > 0 or self.n_steps < 1:
            raise ValueError(
                "KuramotoSivashinsky: length and step_size must be > 0 and n_steps >= 1, got "
                f"{self.length}, {self.step_size} and {self.n_steps}."
            )

    def step(
        self, state: Float[Array, "*state"], time: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, "*state"]:
        n = self.state_shape[0]
        waves = np.arange(n // 2 + 1)
        k = 2 * np.pi * waves / self.length
        half_derivative = -0.5j * k * (waves <= n // 3)
        start = jnp.fft.rfft(state)
        e, e2, q, f1, f2, f3 = (
            jnp.asarray(c, start.dtype)
            for c in exponential_coefficients(k**2 - k**4, self.step_size)
        )
        g = jnp.asarray(half_derivative, start.dtype)

        def advection(v: Array) -> Array:
            return g * jnp.fft.rfft(jnp.fft.irfft(v, n=n) ** 2)

        def body(v, _):
            nv = advection(v)
            a = e2 * v + q * nv
            na = advection(a)
            b = e2 * v + q * na
            nb = advection(b)
            c = e2 * a + q * (2 * nb - nv)
            nc = advection(c)
            return e * v + f1 * nv + 2 * f2 * (na + nb) + f3 * nc, None

        spectral, _ = jax.lax.scan(body, start, length=self.n_steps)
        return jnp.fft.irfft(spectral, n=n)


class KuramotoSivashinskySettings(AbstractModelSettings):
    """Settings of `KuramotoSivashinsky`."""

    name: ClassVar[str] = "kuramoto-sivashinsky"
    title: ClassVar[str] = "Kuramoto-Sivashinsky: the slope of a flame front on a periodic line"
    source: ClassVar[str] = "doi:10.1143/PTP.55.356"
    ring: ClassVar[bool] = True

    size: int = Field(default=128, ge=8, multiple_of=2, description="number of grid points")
    length: float = Field(default=32 * math.pi, gt=0, description="length of the line")
    step_size: float = Field(default=0.25, gt=0, description="step of the scheme in model time")
    n_steps: int = Field(default=4, ge=1, description="steps of the scheme to a model step")

    @property
    def state_shape(self) -> tuple[int, ...]:
        return (self.size,)

    def build(self, interval: int) -> KuramotoSivashinsky:
        return KuramotoSivashinsky(
            state_shape=self.state_shape,
            length=self.length,
            step_size=self.step_size,
            n_steps=self.n_steps,
            interval=interval,
        )

    def start(self, dtype: str, *, key: PRNGKeyArray) -> Float[Array, "*state"]:
        noise = jax.random.normal(key, self.state_shape, dtype)
        return noise - jnp.mean(noise)

    def axes(self) -> tuple[Axis, ...]:
        return (numbered(self.size, "index on the line"),)
