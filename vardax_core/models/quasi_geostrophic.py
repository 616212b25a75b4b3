"""A two-layer quasi-geostrophic model on a doubly periodic beta plane."""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from pydantic import Field

from vardax_core.models.base import AbstractBalancedModel
from vardax_core.models.settings import AbstractModelSettings, Axis, metres, numbered


class QuasiGeostrophic(AbstractBalancedModel):
    """Potential vorticity of two layers under a sheared mean flow, unstable to eddies.

    q_1 = lap psi_1 + F1 (psi_2 - psi_1), q_2 = lap psi_2 + F2 (psi_1 - psi_2), and
    q_t + J(psi, q) + U q_x + Q_y psi_x = -r lap psi_2 (second layer only), with
    F1 = 1 / (Ld^2 (1 + delta)), F2 = delta F1, Q_y1 = beta + F1 (U1 - U2) and
    Q_y2 = beta - F2 (U1 - U2). Pseudo-spectral, third-order Runge-Kutta, and an exponential
    filter on the shortest waves in place of diffusion. Lengths in metres, times in seconds; the
    state is q, `(2, N, N)`, per second. From small random q the eddies saturate after some 5 to
    10 years with the default parameters, which are those of an oceanic eddy field.

    Attributes:
        size: N, grid points along a side, even.
        length: of a side, metres.
        beta: northward gradient of the Coriolis parameter, per metre and second.
        deformation_radius: Ld, metres.
        depth_ratio: delta, depth of the upper over the lower layer.
        shear: U1 - U2, metres per second; the lower layer is at rest on average.
        friction: r, bottom drag, per second.
        step_size: seconds of one Runge-Kutta step.
        n_steps: Runge-Kutta steps to one forecast step.

    Source: Flierl (1978), doi:10.1016/0377-0265(78)90002-7; Vallis (2006), Atmospheric and
    Oceanic Fluid Dynamics, section 5.4; Arbic and Flierl (2004), doi:10.1175/1520-0485(2004)
    034<2257:BUGTIT>2.0.CO;2 (filter).
    """

    balance: ClassVar[str] = "streamfunction"

    size: int = eqx.field(static=True, default=64)
    length: float = eqx.field(static=True, default=1e6)
    beta: float = eqx.field(static=True, default=1.5e-11)
    deformation_radius: float = eqx.field(static=True, default=15e3)
    depth_ratio: float = eqx.field(static=True, default=0.25)
    shear: float = eqx.field(static=True, default=0.025)
    friction: float = eqx.field(static=True, default=5.787e-7)
    step_size: float = eqx.field(static=True, default=3600.0)
    n_steps: int = eqx.field(static=True, default=6)

    def __check_init__(self):
        lengths = (self.length, self.deformation_radius, self.depth_ratio, self.step_size)
        if self.size < 8 or self.size % 2 or self.n_steps < 1 or not all(x > 0 for x in lengths):
            raise ValueError(
                "QuasiGeostrophic: size must be even and >= 8, n_steps >= 1, and length, "
                "deformation_radius, depth_ratio and step_size positive; got "
                f"{self.size}, {self.n_steps}, {lengths}."
            )
        if (self.step_size * self.n_steps) % 60:
            raise ValueError("QuasiGeostrophic: one forecast step must be a whole minute.")

    @property
    def state_shape(self) -> tuple[int, ...]:
        return (2, self.size, self.size)

    @property
    def interval(self) -> int:
        return round(self.step_size * self.n_steps / 60)

    def _waves(self) -> tuple[np.ndarray, np.ndarray]:
        unit = 2 * math.pi / self.length
        k = unit * np.arange(self.size // 2 + 1)[None, :]
        l = unit * np.fft.fftfreq(self.size, 1 / self.size)[:, None]  # noqa: E741
        return np.broadcast_to(k, (self.size, k.size)), np.broadcast_to(l, (self.size, k.size))

    def _inversion(self) -> np.ndarray:
        """Matrices from q to psi, one to a wavenumber; the mean of psi is zero."""
        k, l = self._waves()  # noqa: E741
        square = k**2 + l**2
        f1 = 1 / (self.deformation_radius**2 * (1 + self.depth_ratio))
        f2 = self.depth_ratio * f1
        determinant = np.where(square > 0, square * (square + f1 + f2), np.inf)
        return (
            -np.stack([square + f2, 0 * square + f1, 0 * square + f2, square + f1]).reshape(
                2, 2, *square.shape
            )
            / determinant
        )

    def _filter(self) -> np.ndarray:
        """1 up to 0.65 of the Nyquist wavenumber, falling to 1e-15 there."""
        k, l = self._waves()  # noqa: E741
        relative = np.sqrt(k**2 + l**2) * self.length / self.size
        limit = 0.65 * np.pi
        decay = math.log(1e-15) / (np.pi - limit) ** 4
        return np.where(
            relative <= limit, 1.0, np.exp(decay * np.maximum(relative - limit, 0) ** 4)
        )

    def streamfunction(self, state: Float[Array, "2 y x"]) -> Float[Array, "2 y x"]:
        """psi of both layers, in square metres per second."""
        spectral = jnp.fft.rfft2(state)
        inversion = jnp.asarray(self._inversion(), spectral.dtype)
        psi = jnp.einsum("ijlk,jlk->ilk", inversion, spectral)
        return jnp.fft.irfft2(psi, s=state.shape[-2:])

    def balanced(self, state: Float[Array, "*state"]) -> Float[Array, "*state"]:
        return self.streamfunction(state)

    def spectral_tendency(self, q: Array) -> Array:
        """Time derivative of the Fourier coefficients of q, per second."""
        k, l = self._waves()  # noqa: E741
        shape = (self.size, self.size)
        ik, il = (jnp.asarray(1j * w, q.dtype)[None] for w in (k, l))
        psi = jnp.einsum("ijlk,jlk->ilk", jnp.asarray(self._inversion(), q.dtype), q)
        f1 = 1 / (self.deformation_radius**2 * (1 + self.depth_ratio))
        gradient = np.array([f1, -self.depth_ratio * f1]) * self.shear + self.beta
        flow = np.array([self.shear, 0.0])
        u, v, grid_q = (jnp.fft.irfft2(w, s=shape) for w in (-il * psi, ik * psi, q))
        flux = ik * jnp.fft.rfft2(u * grid_q) + il * jnp.fft.rfft2(v * grid_q)
        mean_flow = jnp.asarray(flow, q.dtype)[:, None, None] * ik * q
        mean_gradient = jnp.asarray(gradient, q.dtype)[:, None, None] * ik * psi
        drag = jnp.asarray(np.array([0.0, self.friction])[:, None, None] * (k**2 + l**2), q.dtype)
        return -flux - mean_flow - mean_gradient + drag * psi

    def step(
        self, state: Float[Array, "*state"], time: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, "*state"]:
        start = jnp.fft.rfft2(state)
        damping = jnp.asarray(self._filter(), start.dtype)[None]
        h = self.step_size

        def body(q, _):
            first = q + h * self.spectral_tendency(q)
            second = 0.75 * q + 0.25 * (first + h * self.spectral_tendency(first))
            third = q / 3 + 2 / 3 * (second + h * self.spectral_tendency(second))
            return damping * third, None

        spectral, _ = jax.lax.scan(body, start, length=self.n_steps)
        return jnp.fft.irfft2(spectral, s=state.shape[-2:])


class QuasiGeostrophicSettings(AbstractModelSettings):
    """Settings of `QuasiGeostrophic`."""

    name: ClassVar[str] = "qg"
    title: ClassVar[str] = "Two-layer quasi-geostrophic eddies on a doubly periodic plane"
    source: ClassVar[str] = "Vallis (2006), section 5.4; doi:10.1016/0377-0265(78)90002-7"
    free_run: ClassVar[tuple[int, int]] = (6000, 1000)
    layered: ClassVar[bool] = True
    wraps: ClassVar[bool] = True

    size: int = Field(default=64, ge=8, multiple_of=2, description="grid points along a side")
    length: float = Field(default=1e6, gt=0, description="length of a side, metres")
    beta: float = Field(default=1.5e-11, description="gradient of the Coriolis parameter, 1/(m s)")
    deformation_radius: float = Field(default=15e3, gt=0, description="deformation radius, metres")
    depth_ratio: float = Field(
        default=0.25, gt=0, description="depth of the upper layer over that of the lower"
    )
    shear: float = Field(default=0.025, description="mean flow of the upper layer, m/s")
    friction: float = Field(default=5.787e-7, ge=0, description="bottom drag, 1/s")
    step_size: float = Field(default=3600.0, gt=0, description="Runge-Kutta step, seconds")

    @property
    def state_shape(self) -> tuple[int, ...]:
        return (2, self.size, self.size)

    def build(self, interval: int) -> QuasiGeostrophic:
        steps = 60 * interval / self.step_size
        if steps < 1 or steps != round(steps):
            raise ValueError(
                f"qg: one model step of {interval} minutes must be a whole number of step_size "
                f"{self.step_size:g} s; change one of them."
            )
        return QuasiGeostrophic(**self.model_dump(), n_steps=round(steps))

    def start(self, dtype: str, *, key: PRNGKeyArray) -> Float[Array, "*state"]:
        scale = self.shear / self.deformation_radius
        return jnp.asarray(scale, dtype) * jax.random.normal(key, self.state_shape, dtype)

    def axes(self) -> tuple[Axis, ...]:
        sides = (metres(self.size, self.length, axis) for axis in "yx")
        return (numbered(2, "layer, from the top"), *sides)
