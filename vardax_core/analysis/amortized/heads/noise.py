"""Noise processes of score diffusion, with the log noise level as time.

A process turns a standardised state z into s(l) (z + exp(l) e) with e standard normal and
l = log sigma, from l = log sigma_min (almost z) to log sigma_max (almost noise).
"""

import math
from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jaxtyping import Array, Float


class AbstractNoiseProcess(eqx.Module):
    """How a state is scaled as noise is added, and which noise levels are trained.

    Attributes:
        sigma_min: lowest noise level, well under the narrowest posterior in standard units.
        sigma_max: highest noise level, well over the width of the prior.
    """

    sigma_min: eqx.AbstractVar[float]
    sigma_max: eqx.AbstractVar[float]

    @abstractmethod
    def log_scale(self, log_sigma: Float[Array, ""]) -> Float[Array, ""]:
        """log s(l)."""

    @abstractmethod
    def training_log_sigma(self, quantile: Float[Array, ""]) -> Float[Array, ""]:
        """The log noise level of a quantile of the training distribution."""

    @property
    def log_range(self) -> tuple[float, float]:
        """log sigma_min and log sigma_max."""
        return math.log(self.sigma_min), math.log(self.sigma_max)

    def log_scale_rate(self, log_sigma: Float[Array, ""]) -> Float[Array, ""]:
        """d log s / d l."""
        return jax.grad(self.log_scale)(log_sigma)


class VarianceExploding(AbstractNoiseProcess):
    """s = 1: noise is added and nothing scaled; log-normal training levels.

    A share of the training levels is spread evenly over the whole range, so that the ends are
    learned too.

    Attributes:
        sigma_min, sigma_max: range of noise levels.
        log_mean, log_sd: moments of the log noise level in training.
        uniform_share: share of the training levels that is uniform in log sigma.

    Source: Song et al. (2021), arXiv:2011.13456; Karras et al. (2022), arXiv:2206.00364.
    """

    sigma_min: float = eqx.field(static=True, default=2e-3)
    sigma_max: float = eqx.field(static=True, default=50.0)
    log_mean: float = eqx.field(static=True, default=-1.2)
    log_sd: float = eqx.field(static=True, default=1.6)
    uniform_share: float = eqx.field(static=True, default=0.1)

    def __check_init__(self):
        _check_range(self)

    def log_scale(self, log_sigma: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.zeros_like(log_sigma)

    def training_log_sigma(self, quantile: Float[Array, ""]) -> Float[Array, ""]:
        low, high = self.log_range
        share = self.uniform_share
        uniform = low + (high - low) * quantile / max(share, 1e-6)
        inner = jnp.clip((quantile - share) / (1 - share), 1e-4, 1 - 1e-4)
        normal = self.log_mean + self.log_sd * ndtri(inner)
        return jnp.clip(jnp.where(quantile < share, uniform, normal), low, high)


def _check_range(process: AbstractNoiseProcess) -> None:
    if not 0 < process.sigma_min < 1 < process.sigma_max:
        raise ValueError(
            f"{type(process).__name__}: noise levels are in standard units of the prior and must "
            f"span it, 0 < sigma_min < 1 < sigma_max, got {process.sigma_min} and "
            f"{process.sigma_max}."
        )
