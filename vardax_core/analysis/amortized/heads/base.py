"""What every posterior head is, and what holds for all of them."""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.amortized.heads.networks import LinearFit
from vardax_core.analysis.amortized.scaling import AffineScaling
from vardax_core.analysis.amortized.support import AbstractSupport, Everywhere


class ContextShapeError(ValueError):
    """A head was given a context of another shape than it was built for."""


class StateShapeError(ValueError):
    """A head was given a state of another shape than it was built for."""


class SampleCountError(ValueError):
    """A posterior was asked for no samples at all."""


class AbstractPosteriorHead(eqx.Module):
    """A conditional density q(x | context) of one state x.

    Implementations write the `standard_*` methods for one unbatched, standardised state; the
    public methods check shapes, apply support and scaling and add their Jacobians.

    Attributes:
        context_shape: shape of the context that the head was built for.
        state_shape: shape of the free numbers of one state, of the state itself but on a simplex.
        support: where states can be; the head's density is one of free numbers, see there.
        scaling: standardisation of the free numbers; the identity until `fit` sets it.
        head_type: the family, one of `HEAD_TYPES`.
    """

    context_shape: eqx.AbstractVar[tuple[int, ...]]
    state_shape: eqx.AbstractVar[tuple[int, ...]]
    support: eqx.AbstractVar[AbstractSupport]
    scaling: eqx.AbstractVar[AffineScaling]
    head_type: eqx.AbstractClassVar[str]

    @abstractmethod
    def standard_map(self, ctx: Float[Array, "*context"]) -> Float[Array, "*state"]:
        """`map_estimate` in standard units."""

    @abstractmethod
    def standard_sample(
        self, ctx: Float[Array, "*context"], key: PRNGKeyArray, n: int
    ) -> Float[Array, "n *state"]:
        """`sample` in standard units."""

    @abstractmethod
    def standard_log_prob(
        self, z: Float[Array, "*state"], ctx: Float[Array, "*context"]
    ) -> Float[Array, ""]:
        """`log_prob` in standard units."""

    @abstractmethod
    def standard_marginals(
        self, ctx: Float[Array, "*context"], key: PRNGKeyArray, n: int
    ) -> tuple[Float[Array, "*state"], Float[Array, "*state"]]:
        """`marginals` in standard units."""

    @abstractmethod
    def standard_loss(
        self,
        z: Float[Array, "*state"],
        ctx: Float[Array, "*context"],
        key: PRNGKeyArray,
        quantile: Float[Array, ""],
    ) -> Float[Array, ""]:
        """`loss` in standard units."""

    @abstractmethod
    def standard_chi2(
        self, z: Float[Array, "*state"], ctx: Float[Array, "*context"]
    ) -> Float[Array, ""]:
        """`chi2` in standard units."""

    @abstractmethod
    def started(self, fit: LinearFit) -> "AbstractPosteriorHead":
        """The untrained head with a linear-Gaussian posterior as its start.

        Heads on context fields have no such start and stay as they are.
        """

    @abstractmethod
    def tempered(self, scale: Float[Array, ""]) -> "AbstractPosteriorHead":
        """The head with the sd of its latent Gaussian multiplied by `scale`.

        For a Gaussian posterior that multiplies the spread; for others it widens or narrows the
        latent distribution that is mapped to the posterior.
        """

    def map_estimate(self, ctx: Float[Array, "*context"]) -> Float[Array, "*state"]:
        """The head's point estimate, in the unit of the state; each head says which one it is.

        Raises:
            ContextShapeError: if the context has another shape than `context_shape`.
        """
        self._check_context(ctx)
        return self.from_standard(self.standard_map(ctx))

    def sample(
        self, ctx: Float[Array, "*context"], key: PRNGKeyArray, n: int
    ) -> Float[Array, "n *state"]:
        """`n` independent draws from q(. | ctx), in the unit of the state.

        Raises:
            ContextShapeError: if the context has another shape than `context_shape`.
            SampleCountError: if `n` is less than 1.
        """
        self._check_context(ctx)
        self._check_count(n)
        return jax.vmap(self.from_standard)(self.standard_sample(ctx, key, n))

    def log_prob(
        self, x: Float[Array, "*state"], ctx: Float[Array, "*context"]
    ) -> Float[Array, ""]:
        """Log-density of one state, per unit of the state; -inf outside of the support.

        Raises:
            ContextShapeError: if the context has another shape than `context_shape`.
            StateShapeError: if the state has another shape than `state_shape`.
        """
        self._check_context(ctx)
        self._check_state(x)
        return self.with_jacobian(self.standard_log_prob(self.to_standard(x), ctx), x)

    def marginals(
        self, ctx: Float[Array, "*context"], key: PRNGKeyArray, n: int = 256
    ) -> tuple[Float[Array, "*state"], Float[Array, "*state"]]:
        """Mean and standard deviation of every element, in the unit of the state.

        Arguments:
            ctx: the context.
            key, n: for heads whose moments have no closed form: they average `n` draws.

        Raises:
            ContextShapeError: if the context has another shape than `context_shape`.
            SampleCountError: if `n` is less than 2.
        """
        self._check_context(ctx)
        if n < 2:
            raise SampleCountError(
                f"{type(self).__name__}: a standard deviation needs n >= 2 samples, got {n}."
            )
        if not isinstance(self.support, Everywhere):
            draws = self.sample(ctx, key, n)
            return jnp.mean(draws, axis=0), jnp.std(draws, axis=0, ddof=1)
        mean, sd = self.standard_marginals(ctx, key, n)
        return self.scaling.from_standard(mean), self.scaling.spread_from_standard(sd)

    def loss(
        self,
        x: Float[Array, "*state"],
        ctx: Float[Array, "*context"],
        *,
        key: PRNGKeyArray,
        quantile: Float[Array, ""],
    ) -> Float[Array, ""]:
        """What training minimises, for one true state, in standard units.

        Arguments:
            x: the true state.
            ctx: the context of its observations.
            key: for heads whose loss is random.
            quantile: a number in [0, 1); spread evenly over a batch, it lowers the variance of
                losses that draw a noise level.

        Raises:
            ContextShapeError: if the context has another shape than `context_shape`.
            StateShapeError: if the state has another shape than `state_shape`.
        """
        self._check_context(ctx)
        self._check_state(x)
        return self.standard_loss(self.to_standard(x), ctx, key, quantile)

    def chi2(self, x: Float[Array, "*state"], ctx: Float[Array, "*context"]) -> Float[Array, ""]:
        """Mean square of the latent of one state, which is 1 on average if calibrated.

        Raises:
            ContextShapeError: if the context has another shape than `context_shape`.
            StateShapeError: if the state has another shape than `state_shape`.
        """
        self._check_context(ctx)
        self._check_state(x)
        return self.standard_chi2(self.to_standard(x), ctx)

    def to_standard(self, x: Float[Array, "*state"]) -> Float[Array, "*free"]:
        """The standardised free numbers of a state."""
        return self.scaling.to_standard(self.support.to_free(x))

    def from_standard(self, z: Float[Array, "*free"]) -> Float[Array, "*state"]:
        """The state of standardised free numbers."""
        return self.support.from_free(self.scaling.from_standard(z))

    def spread_to_standard(
        self, sd: Float[Array, "*state"], mean: Float[Array, "*state"]
    ) -> Float[Array, "*free"]:
        """Standard deviations about a mean as those of standardised free numbers."""
        return self.scaling.spread_to_standard(self.support.spread_to_free(sd, mean))

    def with_jacobian(
        self, standard: Float[Array, ""], x: Float[Array, "*state"]
    ) -> Float[Array, ""]:
        """A log-density in standard units as one per unit of the state."""
        inside = standard + self.scaling.log_det(self.state_shape) + self.support.log_det(x)
        return jnp.where(self.support.contains(x), inside, -jnp.inf)

    def _check_context(self, ctx: Array) -> None:
        if ctx.shape != self.context_shape:
            raise ContextShapeError(
                f"{type(self).__name__}: built for a context of shape {self.context_shape}, got "
                f"{ctx.shape}; build the head for the encoder's output, or pass one context "
                "without a batch axis and vmap over the batch."
            )

    def _check_state(self, x: Array) -> None:
        expected = self.support.shape_of(self.state_shape)
        if x.shape != expected:
            raise StateShapeError(
                f"{type(self).__name__}: built for states of shape {expected}, got "
                f"{x.shape}; pass one state without a batch axis and vmap over the batch."
            )

    def _check_count(self, n: int) -> None:
        if n < 1:
            raise SampleCountError(f"{type(self).__name__}: n must be at least 1, got {n}.")
