"""Every record of a store of real observations, with what the cycles made of it."""

import dataclasses
import math

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import ndtr

from vardax_core.data.recipe import Recipe
from vardax_core.data.reports import OBSERVED_AT, PLATFORM, STREAM, seconds_of
from vardax_core.data.timeaxis import to_minutes
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.store import ExperimentStore

HALF_WIDTH_90 = 1.6448536269514722


@dataclasses.dataclass(frozen=True)
class ObservedColumns:
    """The records of some cycles; NaN where a store of an earlier version says nothing.

    Attributes:
        cycle: number of the cycle of each.
        cycles: how many there are.
        code: quality code after the cycle.
        innovation, residual: O-B and O-A.
        background_variance, analysis_variance: diagonals of HBH' and HAH'.
        stated_sd: of the error, as the recipe or its file says.
        error_sd: of the error, as the analysis took it.
        platform, stream: their numbers.
        hours: from the analysis time to that of the observation.
        places: coordinates in the order of the recipe's state_dims.
    """

    cycle: Int[np.ndarray, " record"]
    cycles: int
    code: Int[np.ndarray, " record"]
    innovation: Float[np.ndarray, " record"]
    residual: Float[np.ndarray, " record"]
    background_variance: Float[np.ndarray, " record"]
    analysis_variance: Float[np.ndarray, " record"]
    stated_sd: Float[np.ndarray, " record"]
    error_sd: Float[np.ndarray, " record"]
    platform: Int[np.ndarray, " record"]
    stream: Int[np.ndarray, " record"]
    hours: Float[np.ndarray, " record"]
    places: Float[np.ndarray, "record coordinate"]

    @property
    def used(self) -> Bool[np.ndarray, " record"]:
        """Records that entered the analysis."""
        return (self.code == QualityCode.KEPT) & np.isfinite(self.residual)

    @property
    def held(self) -> Bool[np.ndarray, " record"]:
        """Records that were withheld from it."""
        return (self.code == QualityCode.WITHHELD) & np.isfinite(self.residual)

    @property
    def rejected(self) -> Bool[np.ndarray, " record"]:
        """Records with a fault."""
        usual = (
            QualityCode.KEPT,
            QualityCode.WITHHELD,
            QualityCode.MISSING,
            QualityCode.SUPERSEDED,
        )
        return ~np.isin(self.code, usual)


def read_columns(store: ExperimentStore, recipe: Recipe, burn_in: int) -> ObservedColumns:
    """Read the records of a store.

    Arguments:
        burn_in: cycles at the start that are left out.
    """
    innovations = store.dataset("innovations").isel(time=slice(burn_in, None)).load()
    error = f"{recipe.observed.name}_error"
    names = [PLATFORM, STREAM, OBSERVED_AT, error, *recipe.state_dims]
    observed = store.dataset("observations")[names]
    observed = observed.sel(time=innovations["time"].values).load()
    codes = innovations[QUALITY_CONTROL].to_numpy()
    cycle, column = np.nonzero(codes != QualityCode.MISSING)

    def taken(name: str) -> np.ndarray:
        found = innovations if name in innovations else observed
        if name not in found:
            return np.full(cycle.size, np.nan)
        values = found[name].transpose("time", "station").to_numpy()
        return values[cycle, column].astype(values.dtype if values.dtype.kind in "iuM" else float)

    analysis = to_minutes(innovations["time"].values)[cycle]
    return ObservedColumns(
        cycle=cycle,
        cycles=len(codes),
        code=codes[cycle, column],
        innovation=taken("background_departure"),
        residual=taken("analysis_departure"),
        background_variance=taken("background_equivalent_variance"),
        analysis_variance=taken("analysis_equivalent_variance"),
        stated_sd=taken(error),
        error_sd=taken("applied_error"),
        platform=taken(PLATFORM),
        stream=taken(STREAM),
        hours=seconds_of(taken(OBSERVED_AT)) / 3600 - analysis / 60,
        places=np.stack([taken(dim).astype(float) for dim in recipe.state_dims], axis=1),
    )


@dataclasses.dataclass(frozen=True)
class Prediction:
    """How well values were predicted by Gaussians, R included.

    Attributes:
        count: of the values.
        mean, rms: of observed minus predicted.
        ratio: of the expected to the measured root mean square.
        crps: mean.
        coverage: share within the central 90 %.
    """

    count: int
    mean: float
    rms: float
    ratio: float
    crps: float
    coverage: float


def prediction(
    departure: Float[np.ndarray, " value"], variance: Float[np.ndarray, " value"]
) -> Prediction:
    """Score predictions.

    Arguments:
        departure: observed minus predicted.
        variance: what is expected of its square; not finite where this is not known.
    """
    if not departure.size:
        return Prediction(0, *[math.nan] * 5)
    square = float(np.mean(departure**2))
    known = np.isfinite(variance)
    if not known.all():
        return Prediction(departure.size, float(departure.mean()), square**0.5, *[math.nan] * 3)
    sd = np.sqrt(variance)
    z = departure / sd
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    crps = departure * (2 * ndtr(z) - 1) + sd * (2 * density - 1 / math.sqrt(math.pi))
    return Prediction(
        departure.size,
        float(departure.mean()),
        square**0.5,
        float(np.sqrt(variance.mean() / square)) if square else math.nan,
        float(crps.mean()),
        float(np.mean(np.abs(z) <= HALF_WIDTH_90)),
    )
