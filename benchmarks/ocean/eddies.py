"""The two-layer eddies that stand for an ocean, with the streamfunction as their state."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.quasi_geostrophic import QuasiGeostrophic

SPACING = 1e6 / 64
"""Metres from one grid point to the next."""
SHOT = {"deformation_radius": 20e3, "shear": 0.08, "friction": 1.5e-6, "step_size": 3600.0}
HEIGHT = 1e-4 / 9.81
"""Sea surface height, m, of a streamfunction of 1 m2/s: the Coriolis parameter over gravity."""


class Streamfunction(AbstractForecastModel):
    """The model with the streamfunction of both layers, over a scale of each, as its state."""

    model: QuasiGeostrophic
    scale: tuple[float, float] = eqx.field(static=True)

    @property
    def state_shape(self):
        return self.model.state_shape

    @property
    def interval(self):
        return self.model.interval

    def vorticity(self, state: Float[Array, "2 y x"]) -> Float[Array, "2 y x"]:
        """Potential vorticity of both layers, per second; linear in the state."""
        scale = jnp.asarray(self.scale, state.dtype)[:, None, None]
        inverse = jnp.asarray(np.linalg.pinv(np.moveaxis(self.model._inversion(), (0, 1), (2, 3))))
        psi = jnp.fft.rfft2(state * scale)
        q = jnp.einsum("lkij,jlk->ilk", inverse.astype(psi.dtype), psi)
        return jnp.fft.irfft2(q, s=state.shape[-2:])

    def step(self, state, time, *, key):
        scale = jnp.asarray(self.scale, state.dtype)[:, None, None]
        q = self.model.step(self.vorticity(state), time, key=key)
        return self.model.streamfunction(q) / scale


def eddies(size: int, **changes: float) -> QuasiGeostrophic:
    """The model of a square domain of so many points a side, whose step is a day."""
    return QuasiGeostrophic(size=size, length=size * SPACING, n_steps=24, **(SHOT | changes))


def climate(size: int, draws: int, days: int, apart: int) -> tuple[Streamfunction, jax.Array]:
    """The model, and states of it that are days apart."""
    model = eddies(size)
    shear = SHOT["shear"] / SHOT["deformation_radius"]
    start = 0.1 * shear * jax.random.normal(jax.random.key(1), model.state_shape, jnp.float32)
    key, now = jax.random.key(0), jnp.zeros((), jnp.int32)

    def run(state, count):
        return jax.lax.fori_loop(0, count, lambda _, x: model.step(x, now, key=key), state)

    @jax.jit
    def states(state):
        def body(state, _):
            state = run(state, apart)
            return state, model.streamfunction(state)

        return jax.lax.scan(body, run(state, days), length=draws)[1]

    found = states(start)
    scale = jnp.std(found, axis=(0, 2, 3))
    named = (float(scale[0]), float(scale[1]))
    return Streamfunction(model, named), found / scale[None, :, None, None]
