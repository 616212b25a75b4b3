"""Successive corrections: what scattered observations say at several scales, without training."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def successive_corrections(
    values: Float[Array, "field *grid"],
    mask: Float[Array, "field *grid"],
    *,
    scales: tuple[float, ...],
    periodic: bool,
    ridge: float = 0.1,
) -> tuple[Float[Array, "scale field *grid"], Float[Array, "scale field *grid"]]:
    """Analyses of decreasing scale, each correcting the one before, and the trust in each.

    At every scale s the misfit of the observed points is spread by the kernel exp(-d^2 / 2 s^2) and
    divided by the sum of the kernels plus `ridge`; the trust is that sum over itself plus `ridge`.

    Arguments:
        values: observed fields; what is not observed is not looked at.
        mask: 1 where observed, 0 elsewhere.
        scales: s in grid points, from the widest to the narrowest.
        periodic: whether the grid closes on itself.
        ridge: error variance over background variance; the analysis fades to zero where the sum of
            the kernels is less.

    Source: Cressman (1959), doi:10.1175/1520-0493(1959)087<0367:AOOAS>2.0.CO;2; Bratseth (1986),
    doi:10.3402/tellusa.v38i5.11730.
    """
    analysis = jnp.zeros_like(values)
    observed = jnp.where(mask > 0, values, jnp.zeros_like(values))
    analyses, trusts = [], []
    for scale in scales:
        weight = smoothed(mask, scale, periodic)
        misfit = smoothed(mask * (observed - analysis), scale, periodic)
        analysis = analysis + misfit / (weight + ridge)
        analyses.append(analysis)
        trusts.append(weight / (weight + ridge))
    return jnp.stack(analyses), jnp.stack(trusts)


def smoothed(
    fields: Float[Array, "field *grid"], scale: float, periodic: bool
) -> Float[Array, "field *grid"]:
    """Sums over the grid weighted by exp(-d^2 / 2 scale^2), along one axis after the other."""
    for axis in range(1, fields.ndim):
        n = fields.shape[axis]
        lag = jnp.abs(jnp.arange(n)[:, None] - jnp.arange(n)[None, :])
        distance = jnp.minimum(lag, n - lag) if periodic else lag
        kernel = jnp.exp(-0.5 * (distance.astype(fields.dtype) / scale) ** 2)
        fields = jnp.moveaxis(jnp.tensordot(kernel, fields, axes=(1, axis)), 0, axis)
    return fields
