"""Solving the reverse SDE and the probability-flow ODE of a denoiser.

With l = log sigma as time and states in the units of the clean state (the process's scale s
divided out), the probability flow is dz/dl = z - D(z; l). A denoiser is a function of a noisy
state and l.
"""

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import lineax
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.heads.noise import AbstractNoiseProcess

Denoiser = Callable[[Array, Array], Array]

_MAX_STEPS = 4096


def level_grid(
    process: AbstractNoiseProcess, n_steps: int, dtype: jnp.dtype, rho: float = 7.0
) -> Float[Array, " level"]:
    """`n_steps` + 1 log noise levels from the highest to the lowest, denser towards the lowest.

    Source: equation 5 of Karras et al. (2022), arXiv:2206.00364.
    """
    part = jnp.arange(n_steps + 1).astype(dtype) / n_steps
    high, low = process.sigma_max ** (1 / rho), process.sigma_min ** (1 / rho)
    return rho * jnp.log(high + part * (low - high))


def heun(
    denoise: Denoiser, start: Float[Array, "*state"], levels: Float[Array, " level"]
) -> Float[Array, "*state"]:
    """The clean state of a noise by second-order steps of the flow in sigma, as one scan.

    Source: algorithm 1 of Karras et al. (2022), arXiv:2206.00364.
    """

    def step(z: Array, ends: tuple[Array, Array]) -> tuple[Array, None]:
        here, there = ends
        sigma, smaller = jnp.exp(here), jnp.exp(there)
        slope = (z - denoise(z, here)) / sigma
        guess = z + (smaller - sigma) * slope
        slope_there = (guess - denoise(guess, there)) / smaller
        return z + (smaller - sigma) * 0.5 * (slope + slope_there), None

    end, _ = jax.lax.scan(step, start, (levels[:-1], levels[1:]))
    return denoise(end, levels[-1])


def flow_ode(
    denoise: Denoiser,
    process: AbstractNoiseProcess,
    start: Float[Array, "*state"],
    rtol: float,
) -> Float[Array, "*state"]:
    """The clean state of a noise by the adaptive probability-flow ODE."""
    low, high = process.log_range

    def field(time: Array, y: Array, args: None) -> Array:
        # y is in the process's own units, s z.
        scale = jnp.exp(process.log_scale(time))
        rate = process.log_scale_rate(time)
        return rate * y + y - scale * denoise(y / scale, time)

    top = jnp.asarray(high, start.dtype)
    end = _solve(field, start * jnp.exp(process.log_scale(top)), high, low, rtol)
    bottom = jnp.asarray(low, start.dtype)
    return denoise(end * jnp.exp(-process.log_scale(bottom)), bottom)


def reverse_sde(
    denoise: Denoiser,
    process: AbstractNoiseProcess,
    start: Float[Array, "*state"],
    levels: Float[Array, " level"],
    key: PRNGKeyArray,
) -> Float[Array, "*state"]:
    """The clean state at the end of one path of the reverse SDE, by the Euler-Maruyama method.

    In the process's units y = s z: dy = [s'/s y + 2 (y - s D)] dl + sqrt(2) s sigma dW, backward
    in l. Time runs forward as minus l.

    Source: Song et al. (2021), arXiv:2011.13456; equation 103 of Karras et al. (2022),
    arXiv:2206.00364.
    """

    def drift(time: Any, y: Any, args: Any) -> Array:
        scale = jnp.exp(process.log_scale(-time))
        rate = process.log_scale_rate(-time)
        return -(rate * y + 2 * (y - scale * denoise(y / scale, -time)))

    def spread(time: Any, y: Any, args: Any) -> lineax.DiagonalLinearOperator:
        amplitude = 2**0.5 * jnp.exp(process.log_scale(-time) - time)
        return lineax.DiagonalLinearOperator(jnp.full(y.shape, amplitude))

    path = diffrax.UnsafeBrownianPath(shape=jax.ShapeDtypeStruct(start.shape, start.dtype), key=key)
    terms: diffrax.MultiTerm = diffrax.MultiTerm(
        diffrax.ODETerm(drift), diffrax.ControlTerm(spread, path)
    )
    with jax.numpy_dtype_promotion("standard"):
        solution = diffrax.diffeqsolve(
            terms,
            diffrax.Euler(),
            t0=-levels[0],
            t1=-levels[-1],
            dt0=None,
            y0=start * jnp.exp(process.log_scale(levels[0])),
            stepsize_controller=diffrax.StepTo(ts=-levels),
            adjoint=diffrax.DirectAdjoint(),
            max_steps=levels.shape[0],
        )
    assert solution.ys is not None
    end = solution.ys[-1] * jnp.exp(-process.log_scale(levels[-1]))
    return denoise(end, levels[-1])


def noise_of(
    denoise: Denoiser, process: AbstractNoiseProcess, z: Float[Array, "*state"], rtol: float
) -> Float[Array, "*state"]:
    """The noise at the highest level to which the probability flow carries a clean state."""
    low, high = process.log_range
    return _solve(lambda time, y, args: y - denoise(y, time), z, low, high, rtol)


def noise_and_log_det(
    denoise: Denoiser,
    process: AbstractNoiseProcess,
    z: Float[Array, "*state"],
    rtol: float,
    probes: Float[Array, "probe *state"] | None,
) -> tuple[Float[Array, "*state"], Float[Array, ""], Float[Array, ""]]:
    """The noise of a clean state, log |d noise / d state|, and the standard error of the latter.

    Arguments:
        denoise, process, z, rtol: the flow, where it starts, and its tolerance.
        probes: random signs for Hutchinson's estimate of the divergence; exact without.
    """
    low, high = process.log_range

    def velocity(y: Array, time: Array) -> Array:
        return y - denoise(y, time)

    def exact(y: Array, time: Array) -> Array:
        flat = jax.jacfwd(lambda a: velocity(a.reshape(y.shape), time).reshape(-1))(y.reshape(-1))
        return jnp.trace(flat)[None]

    def estimated(y: Array, time: Array) -> Array:
        _, push = jax.linearize(lambda a: velocity(a, time), y)
        return jax.vmap(lambda e: jnp.sum(e * push(e)))(probes)

    divergence = exact if probes is None else estimated
    n_estimates = 1 if probes is None else probes.shape[0]

    def field(time: Array, y: tuple[Array, Array], args: None) -> tuple[Array, Array]:
        return velocity(y[0], time), divergence(y[0], time)

    start = (z, jnp.zeros((n_estimates,), z.dtype))
    end, log_dets = _solve(field, start, low, high, rtol)
    error = jnp.zeros((), z.dtype)
    if n_estimates > 1:
        error = jnp.std(log_dets, ddof=1) * n_estimates**-0.5
    return end, jnp.mean(log_dets), error


def _solve(field: Callable, start, begin: float, end: float, rtol: float):
    dtype = jax.tree.leaves(start)[0].dtype
    with jax.numpy_dtype_promotion("standard"):
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Tsit5(),
            t0=jnp.asarray(begin, dtype),
            t1=jnp.asarray(end, dtype),
            dt0=None,
            y0=start,
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=rtol),
            adjoint=diffrax.RecursiveCheckpointAdjoint(),
            max_steps=_MAX_STEPS,
        )
    return jax.tree.map(lambda y: y[-1], solution.ys)
