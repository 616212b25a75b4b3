"""What every analysis step is, and the laws that hold for all of them."""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.types import (
    Analysis,
    Observations,
    ResultCode,
    WindowShapeError,
    all_true,
    ensemble_mean,
    ensemble_spread,
)


class BackgroundShapeError(ValueError):
    """The background is no ensemble of the states that the observation operator takes."""


class AbstractAnalysisStep(eqx.Module):
    """A method that turns a background ensemble and a window of observations into an analysis.

    Implementations write `analyse`. Calling the step checks the shapes and adds what must hold
    whatever the method: an observation whose value is not finite counts as missing, as does one
    whose error is not positive where no value can be looked at (inside jit); without an
    observation the analysis is the background bit for bit, and an analysis that is not finite is
    replaced by the background; the result code says so. Where that is not finite either, the
    analysis has FAILED.

    Attributes:
        operator: observation operator H of the network of this step.
    """

    operator: eqx.AbstractVar[AbstractObservationOperator]

    @abstractmethod
    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        """The method itself, for a window with at least one observation."""

    def __call__(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        """Analyse one window.

        Arguments:
            background: ensemble valid at the analysis time, or for a method that says so at the
                first row of the window, in the unit of the state.
            observations: the window; its last row is valid at the analysis time.
            key: for perturbed observations, rotations and samples.

        Returns:
            The analysis, with result code OK, NO_OBSERVATIONS, NON_FINITE or FAILED, or the code
            that the method itself set.

        Raises:
            BackgroundShapeError, WindowShapeError: if the background or the observations do not
                fit the operator.
            ErrorCovarianceError: if an unmasked observation has an error that is not positive;
                outside of jit only.
        """
        self._check(background, observations)
        observations = Observations.from_values(
            jnp.where(observations.mask, observations.values, jnp.nan),
            observations.error_sd,
            observations.times,
            observations.past,
        )
        analysis = self.analyse(background, observations, key=key)
        made = (analysis.ensemble, analysis.mean, analysis.spread)
        finite = all_true(*map(jnp.isfinite, made))
        observed = jnp.any(observations.mask)
        if analysis.background is not None:
            background = analysis.background
        keep = finite & observed
        code = jnp.where(finite, analysis.result, int(ResultCode.NON_FINITE))
        code = jnp.where(observed, code, int(ResultCode.NO_OBSERVATIONS))
        nothing_left = ~keep & ~jnp.all(jnp.isfinite(background))
        code = jnp.where(nothing_left, int(ResultCode.FAILED), code)
        return Analysis(
            ensemble=jnp.where(keep, analysis.ensemble, background),
            mean=jnp.where(keep, analysis.mean, ensemble_mean(background)),
            spread=jnp.where(keep, analysis.spread, ensemble_spread(background)),
            result=code.astype(jnp.int32),
            diagnostics=analysis.diagnostics,
            background=analysis.background,
        )

    def _check(self, background: Array, observations: Observations) -> None:
        state_shape = self.operator.state_shape
        if background.shape[1:] != state_shape or background.shape[0] < 1:
            raise BackgroundShapeError(
                f"{type(self).__name__}: the background has shape {background.shape}, but its "
                f"observation operator expects (member, *{state_shape}); pass one ensemble with "
                "the member axis first."
            )
        observations.check()
        if observations.values.shape[1] != self.operator.obs_size:
            raise WindowShapeError(
                f"{type(self).__name__}: the window holds {observations.values.shape[-1]} "
                f"observations a time, but its observation operator gives "
                f"{self.operator.obs_size}; build the operator for this network."
            )


class Support(eqx.Module):
    """What an analysis rests on at every point of a grid.

    Attributes:
        observations: number of observations that count there.
        weight: sum of the factors, at most one each, that localization leaves of them.
        inflation: factor on the background's anomalies.
        signal: degrees of freedom for signal: the trace of the influence that these observations
            have on what is analysed there, in their own places.
    """

    observations: Float[Array, " point"]
    weight: Float[Array, " point"]
    inflation: Float[Array, " point"]
    signal: Float[Array, " point"]


class AbstractSupportedStep(AbstractAnalysisStep):
    """A method that can say what it rests on at every point of the grid."""

    @abstractmethod
    def support(
        self, background: Float[Array, "member *state"], observations: Observations
    ) -> Support:
        """What the analysis of a window rests on.

        Arguments:
            background, observations: as of a call.
        """


def support_everywhere(
    mask: Bool[Array, " obs"],
    points: int,
    inflation: float | Float[Array, ""],
    signal: Float[Array, ""],
) -> Support:
    """The support of a method for which every observation counts at every point alike."""
    count = jnp.sum(mask).astype(signal.dtype)
    return Support(
        *(
            jnp.broadcast_to(jnp.asarray(x, signal.dtype), (points,))
            for x in (count, count, inflation, signal)
        )
    )


class AbstractPointwiseStep(AbstractSupportedStep):
    """A method whose analysis at a point of the grid needs that of no other point."""

    @abstractmethod
    def at(self, point: int) -> "AbstractPointwiseStep":
        """The same, made at one point alone: what it gives at others is not to be used.

        Arguments:
            point: flat index on the grid.
        """


def made_at(step: AbstractAnalysisStep, point: int) -> AbstractAnalysisStep:
    """A step that gives the same at a point of the grid, with no more work than that takes."""
    return step.at(point) if isinstance(step, AbstractPointwiseStep) else step
