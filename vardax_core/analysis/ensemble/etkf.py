"""The ensemble transform Kalman filter."""

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from vardax_core.analysis.base import AbstractSupportedStep, Support, support_everywhere
from vardax_core.analysis.ensemble.transform import (
    check_members,
    combine,
    ensemble_analysis,
    mean_preserving_rotation,
    symmetric_transform,
    whitened_ensemble,
)
from vardax_core.observations.base import AbstractObservationOperator
from vardax_core.observations.errors import AbstractErrorModel, DiagonalErrorModel
from vardax_core.types import Analysis, Observations


class ETKF(AbstractSupportedStep):
    """Symmetric square-root filter in the space of the ensemble.

    With the anomalies X as rows, Y = R^-1/2 H X / sqrt(M - 1) and d = R^-1/2 (y - H xb), the
    analysis mean is xb + w X with w = T Y d / sqrt(M - 1) and T = (I + Y Y')^-1; the anomalies
    become T^1/2 X.

    Too little inflation lets an ensemble lose the truth for good after thousands of cycles: on
    Lorenz-96 with 24 members and a factor of 1.013 that befell 9 of 48 runs of 4400 cycles, with
    1.02 none, at the same error.

    Attributes:
        operator: observation operator H.
        inflation: factor on the analysis anomalies.
        rotate: whether the anomalies are turned by a random mean-preserving rotation.
        errors: observation error model R.

    Source: Bishop et al. (2001), doi:10.1175/1520-0493(2001)129<0420:ASWTET>2.0.CO;2;
    Sakov and Oke (2008), doi:10.1111/j.1600-0870.2007.00299.x
    """

    operator: AbstractObservationOperator
    inflation: float = eqx.field(static=True, default=1.0)
    rotate: bool = eqx.field(static=True, default=True)
    errors: AbstractErrorModel = DiagonalErrorModel()

    def __check_init__(self):
        if not self.inflation > 0:
            raise ValueError(f"ETKF: inflation must be positive, got {self.inflation}.")

    def analyse(
        self,
        background: Float[Array, "member *state"],
        observations: Observations,
        *,
        key: PRNGKeyArray,
    ) -> Analysis:
        check_members("ETKF", background)
        members = background.shape[0]
        transform = symmetric_transform(
            whitened_ensemble(self.operator, self.errors, background, observations)
        )
        matrix = transform.matrix
        if self.rotate and members > 2:
            matrix = mean_preserving_rotation(members, background.dtype, key=key) @ matrix
        weights = transform.mean_weights[None] + self.inflation * matrix
        return ensemble_analysis(
            combine(background, weights),
            {
                "degrees_of_freedom_for_signal": transform.signal,
                "innovation_chi2": transform.chi2,
            },
            transform.resolved,
        )

    def support(
        self, background: Float[Array, "member *state"], observations: Observations
    ) -> Support:
        whitened = whitened_ensemble(self.operator, self.errors, background, observations)
        transform = symmetric_transform(whitened)
        mask, points = observations.mask[-1], background[0].size
        return support_everywhere(mask, points, self.inflation, transform.signal)
