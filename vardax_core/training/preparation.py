"""What is fitted to a batch before the first optimizer step, and what the optimizer may change."""

from typing import Any

import equinox as eqx
import jax

from vardax_core.analysis.amortized.checks import check_batch, target_of
from vardax_core.analysis.amortized.heads.networks import LinearFit
from vardax_core.analysis.amortized.posterior import AmortizedPosterior
from vardax_core.analysis.amortized.scaling import AffineScaling, FixedArray, Per
from vardax_core.types import Batch


def standardised(
    posterior: AmortizedPosterior, sample: Batch, *, per: Per = "element"
) -> AmortizedPosterior:
    """The posterior with scalings fitted to a batch, whose Jacobian is in its log-density.

    Arguments:
        posterior: an untrained posterior.
        sample: samples with targets, some hundreds at least.
        per: see `AffineScaling.fitted`.

    Raises:
        ConstantDataError: if an element does not vary.
        BatchValueError, MissingFieldError: see `check_batch`.
    """
    check_batch(sample, needs_target=True)
    free = jax.vmap(posterior.head.support.to_free)(target_of(sample))
    scaling = AffineScaling.fitted(free, per=per)
    inputs = AffineScaling.fitted(sample.input, per=per, weight=sample.mask)
    return eqx.tree_at(
        lambda p: (p.head.scaling, p.input_scaling),
        posterior,
        (scaling, inputs),
        is_leaf=lambda x: x is None,
    )


def linear_start(posterior: AmortizedPosterior, sample: Batch) -> AmortizedPosterior:
    """The untrained posterior with the linear-Gaussian posterior of a batch as its start.

    What is linear in the context need then not be learned, and early stopping never falls behind
    linear regression. For heads on context vectors; others stay as they are.

    Arguments:
        posterior: standardised and untrained.
        sample: samples with targets, more than the context has elements.

    Raises:
        BatchValueError, MissingFieldError: see `AmortizedPosterior.context`.
    """
    if len(posterior.head.context_shape) != 1:
        return posterior
    states = jax.vmap(posterior.head.to_standard)(target_of(sample))
    fitted = LinearFit.of(posterior.context(sample), states)
    return eqx.tree_at(lambda p: p.head, posterior, posterior.head.started(fitted))


def trainable(model: eqx.Module) -> Any:
    """A tree of booleans: which leaves the optimizer may change; scalings and EOFs are fixed."""
    fixed = (AffineScaling, FixedArray)
    return jax.tree.map(
        lambda x: False if isinstance(x, fixed) else eqx.is_inexact_array(x),
        model,
        is_leaf=lambda x: isinstance(x, fixed),
    )
