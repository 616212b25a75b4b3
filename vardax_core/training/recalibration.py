"""One factor on the spread of a posterior, fitted on held-out data and checked on other data."""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp

from vardax_core.analysis.amortized.checks import target_of
from vardax_core.analysis.amortized.posterior import AmortizedPosterior
from vardax_core.types import Batch


class RecalibrationError(ValueError):
    """The held-out data give no finite factor."""


@dataclass(frozen=True)
class Recalibration:
    """What recalibration did; goes into the manifest of the model.

    Attributes:
        scale: factor on the latent standard deviation, 1 if the fitted one was not accepted.
        fitted_scale: the factor that the held-out split asked for.
        accepted: whether it made the checked split more likely.
        chi2_before, chi2_after: mean square of the latents on the checked split; 1 if calibrated.
        log_prob_before, log_prob_after: mean log-density there.
    """

    scale: float
    fitted_scale: float
    accepted: bool
    chi2_before: float
    chi2_after: float
    log_prob_before: float
    log_prob_after: float


def recalibrated(
    posterior: AmortizedPosterior, held_out: Batch, checked: Batch
) -> tuple[AmortizedPosterior, Recalibration]:
    """Scale the spread so that the latents of held-out truths have mean square one.

    For a Gaussian head that is s^2 = mean(r' Sigma^-1 r) / n in closed form; for flows and score
    diffusion the latent Gaussian is scaled, which for a posterior that is not Gaussian is more
    than a factor on its spread. The factor is kept only if it makes the third split more likely.

    Arguments:
        posterior: the trained posterior.
        held_out: samples with targets that training has not seen.
        checked: other samples with targets that training has not seen.

    Raises:
        RecalibrationError: if the factor is not finite or not positive.
        TemperingError: if the head's sampler has no latent to scale.
    """
    scale = jnp.sqrt(jnp.mean(_chi2(posterior, held_out)))
    if not bool(jnp.isfinite(scale) & (scale > 0)):
        raise RecalibrationError(
            f"recalibrated: the held-out split gives the factor {float(scale)}; look for targets "
            "far outside of the training data."
        )
    candidate = eqx.tree_at(lambda p: p.head, posterior, posterior.head.tempered(scale))
    before, after = (float(jnp.mean(_log_prob(p, checked))) for p in (posterior, candidate))
    accepted = after > before
    chosen = candidate if accepted else posterior
    report = Recalibration(
        scale=float(scale) if accepted else 1.0,
        fitted_scale=float(scale),
        accepted=accepted,
        chi2_before=float(jnp.mean(_chi2(posterior, checked))),
        chi2_after=float(jnp.mean(_chi2(chosen, checked))),
        log_prob_before=before,
        log_prob_after=after if accepted else before,
    )
    return chosen, report


@eqx.filter_jit
def _chi2(posterior: AmortizedPosterior, batch: Batch):
    return jax.vmap(posterior.head.chi2)(target_of(batch), posterior.context(batch))


@eqx.filter_jit
def _log_prob(posterior: AmortizedPosterior, batch: Batch):
    return posterior.log_prob(target_of(batch), batch)
