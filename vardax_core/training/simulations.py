"""A posterior of parameters from pairs of parameters and data, in one call."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.config import AmortizedConfig, UnknownHeadTypeError
from vardax_core.analysis.amortized.encoders import IdentityObsEncoder
from vardax_core.analysis.amortized.heads.base import AbstractPosteriorHead
from vardax_core.analysis.amortized.heads.flow import ConditionalFlowHead
from vardax_core.analysis.amortized.heads.noise import VarianceExploding
from vardax_core.analysis.amortized.heads.regression import RegressionHead
from vardax_core.analysis.amortized.heads.score import ScoreDiffusionHead
from vardax_core.analysis.amortized.posterior import AmortizedPosterior
from vardax_core.analysis.amortized.support import EVERYWHERE, AbstractSupport
from vardax_core.training.fit import FitResult, FitSettings, fit
from vardax_core.training.preparation import linear_start, standardised
from vardax_core.training.sources import ArraySource
from vardax_core.types import Batch1D

LONGEST = 4
"""How many times the usual number of steps a training may take."""


class SupportError(ValueError):
    """A parameter is where the prior has no density."""


def simulation_batch(
    parameters: Float[Array, "sample parameter"] | None, data: Float[Array, "sample datum"]
) -> Batch1D:
    """Fully observed data vectors as a batch with windows of one row."""
    window = data[:, None, :]
    return Batch1D(input=window, mask=jnp.ones_like(window), target=parameters)


def simulation_head(
    head_type: str,
    context_dim: int,
    n_parameters: int,
    *,
    support: AbstractSupport = EVERYWHERE,
    key: PRNGKeyArray,
) -> AbstractPosteriorHead:
    """A head of the given type for a vector of parameters, of a size that suits most problems.

    Outside of the support of the prior its density is 0.

    Raises:
        UnknownHeadTypeError: if there is no such type.
    """
    shape = support.free_shape((n_parameters,))
    if head_type == "regression":
        rank = max(1, n_parameters // 2)
        return RegressionHead(
            context_dim, shape, rank=rank, hidden_dim=32, support=support, key=key
        )
    if head_type == "flow":
        return ConditionalFlowHead(
            context_dim, shape, hidden_dim=64, n_layers=5, support=support, key=key
        )
    if head_type == "score":
        process = VarianceExploding(log_mean=-2.0)
        return ScoreDiffusionHead(
            context_dim,
            shape,
            hidden_dim=128,
            depth=3,
            process=process,
            n_steps=24,
            support=support,
            key=key,
        )
    raise UnknownHeadTypeError(
        f"simulation_head: head_type must be one of ['flow', 'regression', 'score'], got "
        f"{head_type!r}."
    )


def simulation_settings(head_type: str, n_simulations: int) -> FitSettings:
    """How long a head is trained on a number of simulations.

    How many steps a posterior needs is not known from the number of simulations: as long as the
    validation loss falls, up to `LONGEST` times as many are taken.
    """
    if head_type == "score":
        steps = 3000 if n_simulations < 5000 else 8000 if n_simulations < 50000 else 16000
        return FitSettings(n_steps=steps, check_every=200, patience=15, longest=LONGEST)
    steps = 2000 if n_simulations < 5000 else 4000 if n_simulations < 50000 else 12000
    return FitSettings(n_steps=steps, check_every=100, patience=10, longest=LONGEST)


def fit_simulations(
    parameters: Float[Array, "sample parameter"],
    data: Float[Array, "sample datum"],
    *,
    head_type: str = "flow",
    support: AbstractSupport = EVERYWHERE,
    settings: FitSettings | None = None,
    batch_size: int = 256,
    validation_share: float = 0.1,
    key: PRNGKeyArray,
    progress: bool = False,
) -> FitResult:
    """Train a posterior of the parameters given the data on independent simulations.

    Arguments:
        parameters: draws from the prior.
        data: what the simulator made of each.
        head_type: one of `HEAD_TYPES`.
        support: of the prior, such as `box(-1.0, 1.0)`; no draw is ever outside of it.
        settings: how to train; `simulation_settings` by default.
        batch_size: samples of one batch.
        validation_share: share of the simulations, the last ones, that training does not see.
        key: for weights and noise.
        progress: whether a progress bar is shown.

    Raises:
        UnknownHeadTypeError: if there is no such type of head.
        ConstantDataError: if a parameter or a datum does not vary.
        BatchValueError: if the simulations hold values that are not finite.
        SupportError: if a parameter is outside of the support.
    """
    n, n_parameters = parameters.shape
    outside = ~np.asarray(jax.vmap(support.contains)(parameters))
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise SupportError(
            f"fit_simulations: {int(outside.sum())} of {n} draws from the prior are outside of the "
            f"support {type(support).__name__}, the first in row {first}: {parameters[first]}; "
            "give the support of the prior that they were drawn from."
        )
    n_validation = max(1, int(validation_share * n))
    training = simulation_batch(parameters[:-n_validation], data[:-n_validation])
    validation = simulation_batch(parameters[-n_validation:], data[-n_validation:])
    head_key, fit_key = jax.random.split(key)
    head = simulation_head(
        head_type, 2 * data.shape[1], n_parameters, support=support, key=head_key
    )
    posterior = AmortizedPosterior(IdentityObsEncoder(), head, AmortizedConfig(head_type))
    return fit(
        linear_start(standardised(posterior, training), training),
        ArraySource(training, min(batch_size, n - n_validation)),
        validation,
        settings=simulation_settings(head_type, n) if settings is None else settings,
        key=fit_key,
        progress=progress,
    )
