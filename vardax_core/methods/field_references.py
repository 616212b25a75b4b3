"""What fields of a training period tell every method, and its size for the registry."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vardax_core.analysis.local.covariance import Shape, SpaceTimeCovariance
from vardax_core.models.climatology import Climatology
from vardax_core.models.linear_inverse import LinearInverseModel
from vardax_core.models.standardised import Standardised
from vardax_core.training.registry import Factories

REFERENCE = "field-reference"
LOCAL_REFERENCE = "local-field-reference"

AnomalyModel = LinearInverseModel | Standardised
"""A forecast model of the anomalies, of states of one variable or of several channels."""


class FieldReference(eqx.Module):
    """What the methods without a network learn from the training period.

    Attributes:
        climatology: means of the slots of the day, and EOFs of the anomalies.
        covariance: sample covariance of the anomalies under a Gaussian taper.
        model: forecast model of the anomalies; None where no two states are a cycle apart.
    """

    climatology: Climatology
    covariance: Float[Array, "n n"]
    model: AnomalyModel | None


class LocalCovariance(eqx.Module):
    """How the anomalies of a grid of any size go together.

    Attributes:
        covariance: of anomalies over their local standard deviation.
        scale: that standard deviation; 0 where nothing is known.
        error_factor: on the errors of observations, with which withheld ones agree.
    """

    covariance: SpaceTimeCovariance
    scale: Float[Array, "*state"]
    error_factor: Float[Array, ""]


class LocalFieldReference(eqx.Module):
    """What they learn where no covariance of all points with one another is held.

    Attributes:
        climatology, model: as of `FieldReference`.
        local: covariance by distance and time; None where states have channels.
    """

    climatology: Climatology
    model: AnomalyModel | None
    local: LocalCovariance | None


def climatology_like(shape: tuple[int, ...], slots: int, rank: int, interval: int) -> Climatology:
    """A climatology of zeros, of the size of one that was learned."""
    return Climatology(
        mean=jnp.zeros((slots, *shape), jnp.float32),
        square_root=jnp.zeros((*shape, rank), jnp.float32),
        interval=interval,
        state_shape=shape,
    )


def inverse_model_like(climatology: Climatology, modes: int, interval: int) -> LinearInverseModel:
    """A linear inverse model of zeros, of the size of one that was learned."""
    return LinearInverseModel(
        climatology=climatology,
        propagator=jnp.zeros((modes, modes), jnp.float32),
        forcing=jnp.zeros((modes, modes), jnp.float32),
        damping=jnp.zeros((), jnp.float32),
        stability_factor=jnp.zeros((), jnp.float32),
        interval=interval,
        state_shape=climatology.state_shape,
    )


def _model_like(
    climatology: Climatology, modes: int, interval: int, channels: int
) -> AnomalyModel | None:
    if not modes:
        return None
    model = inverse_model_like(climatology, modes, interval)
    if not channels:
        return model
    one = jnp.ones((channels, *(1,) * (len(climatology.state_shape) - 1)), jnp.float32)
    return Standardised.of(model, one, one)


def _reference_like(
    *, shape: list[int], slots: int, rank: int, interval: int, modes: int, channels: int = 0
) -> FieldReference:
    size = int(np.prod(shape))
    climatology = climatology_like(tuple(shape), slots, rank, interval)
    model = _model_like(climatology, modes, interval, channels)
    return FieldReference(climatology, jnp.zeros((size, size), jnp.float32), model)


def _local_reference_like(
    *,
    shape: list[int],
    slots: int,
    rank: int,
    interval: int,
    modes: int,
    channels: int = 0,
    components: int = 0,
    forms: list[Shape],
) -> LocalFieldReference:
    climatology = climatology_like(tuple(shape), slots, rank, interval)
    local = None
    if components:
        one = jnp.ones(components, jnp.float32)
        local = LocalCovariance(
            SpaceTimeCovariance(one, one, one, space=forms[0], time=forms[1]),
            jnp.zeros(tuple(shape), jnp.float32),
            jnp.ones((), jnp.float32),
        )
    return LocalFieldReference(
        climatology, _model_like(climatology, modes, interval, channels), local
    )


FACTORIES: Factories = {REFERENCE: _reference_like, LOCAL_REFERENCE: _local_reference_like}
"""What a registry builds both from."""
