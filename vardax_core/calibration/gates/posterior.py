"""Held-out pairs of an amortized posterior."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from vardax_core.analysis.amortized.checks import check_batch, target_of
from vardax_core.analysis.amortized.posterior import AmortizedPosterior
from vardax_core.calibration.gates.context import Pairs
from vardax_core.types import Batch


def posterior_pairs(
    posterior: AmortizedPosterior, batch: Batch, draws: int, *, key: PRNGKeyArray
) -> Pairs:
    """Truths of a batch with draws from the posterior, and the log-density at all of them.

    Arguments:
        posterior: the trained posterior.
        batch: samples with targets, independent of each other and of the training.
        draws: posterior draws of each sample; an odd number gives the finest ranks.
        key: for the draws.

    Raises:
        BatchValueError, MissingFieldError: see `AmortizedPosterior.context`.
        SampleCountError: if `draws` is less than 1.
    """
    check_batch(batch, needs_target=True)

    @eqx.filter_jit
    def sampled(posterior: AmortizedPosterior, batch: Batch, key: PRNGKeyArray) -> Pairs:
        truth = target_of(batch)
        samples = posterior.sample(batch, key, draws)
        contexts = posterior.context(batch)
        log_prob = jax.vmap(jax.vmap(posterior.head.log_prob, (0, None)))
        everything = jnp.concatenate([truth[:, None], samples], axis=1)
        densities = log_prob(everything, contexts)
        return Pairs(
            truth=truth,
            draws=samples,
            log_prob_truth=densities[:, 0],
            log_prob_draws=densities[:, 1:],
        )

    return sampled(posterior, batch, key)
