"""The observations of a cycle, with what became of each and by which rule."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Array, Float

from vardax_core.data.reports import PLATFORM, STREAM
from vardax_core.experiments.again import MadeAgain
from vardax_core.experiments.experiment import Experiment
from vardax_core.observations.quality import HALF_NORMAL_MEDIAN, QUALITY_CONTROL, QualityCode
from vardax_core.store import ExperimentStore
from vardax_core.types import Observations

RULES = {
    QualityCode.GROSS_ERROR: "its value {value:g} is beyond {low:g} to {high:g}, the bounds",
    QualityCode.OUTSIDE_DOMAIN: "it lies outside the grid or among masked points",
    QualityCode.DUPLICATE: "another value of the same observation came with it",
    QualityCode.THINNED: "another observation stands for its box",
    QualityCode.BLACKLISTED: "its station is on the recipe's blacklist",
    QualityCode.FAILED_OPERATOR: "its equivalent in the background cannot be computed",
    QualityCode.FIRST_GUESS: "|O-B| {departure:.4g} is beyond {limit:.4g} = {k:g} x {factor:.3g} "
    "x sqrt(HBH' {background:.4g} + R {error:.4g}), the first-guess check",
    QualityCode.NOT_ARRIVED: "it came after the cut-off",
    QualityCode.WITHHELD: "it is withheld, for verification",
    QualityCode.REJECTED: "the reject list names it; see rejected.yaml beside the recipe",
    QualityCode.SUPERSEDED: "a later version of it took its place",
}


@dataclasses.dataclass(frozen=True)
class Explained:
    """An observation of the window.

    Attributes:
        id: by which a command names it: its time and column in the store.
        stream, platform: their names or numbers, empty where there are none.
        place: coordinates, where observations bring them.
        value, innovation, error_sd: unit of the observations.
        weight: change of the value per unit of the innovation.
        contribution: to the increment, unit of the state.
        code: quality code after the cycle.
        rule: what was compared with what where it did not enter, empty where it did.
    """

    id: str
    stream: str
    platform: str
    place: tuple[float, ...]
    value: float
    innovation: float
    error_sd: float
    weight: float
    contribution: float
    code: str
    rule: str


class RecordsOfCycle:
    """The observations of a cycle with their names and numbers."""

    def __init__(
        self,
        experiment: Experiment,
        store: ExperimentStore,
        limit: float,
        time: np.datetime64,
        again: MadeAgain,
    ):
        self._recipe, self._limit, self._found = experiment.recipe, limit, again.innovations
        self._times, self._columns = again.times, again.columns
        self._time = time.astype("datetime64[ns]")
        kept = store.dataset("observations")
        wanted = np.intersect1d(np.append(again.times.ravel(), self._time), kept["time"].values)
        self._observed = {t: kept.sel(time=t).load() for t in wanted}
        self._platforms = experiment.platforms(store) if self._recipe.reported else ()
        self._streams = tuple(s.name for s in self._recipe.streams or ())

    def entered(
        self,
        parts: Float[np.ndarray, "window obs"],
        innovation: Float[Array, "window obs"],
        observations: Observations,
    ) -> tuple[Explained, ...]:
        """Those of the window that entered, with what each gave, the largest first."""
        rows, columns = np.nonzero(np.asarray(observations.mask))
        times, stored = (
            np.broadcast_to(x, observations.mask.shape) for x in (self._times, self._columns)
        )
        found = []
        for row, column in zip(rows, columns, strict=True):
            d = float(innovation[row, column])
            part = float(parts[row, column])
            found.append(
                self._one(
                    times[row, column],
                    int(stored[row, column]),
                    value=float(observations.values[row, column]),
                    innovation=d,
                    error_sd=float(observations.error_sd[row, column]),
                    weight=part / d if d else 0.0,
                    contribution=part,
                    code=QualityCode.KEPT,
                )
            )
        return tuple(sorted(found, key=lambda one: -abs(one.contribution)))

    def others(self) -> tuple[Explained, ...]:
        """Those that did not, with the rule: of the analysis time, then of the window's others."""
        codes = self._found[QUALITY_CONTROL].to_numpy()
        departure = self._found["background_departure"].to_numpy()
        variance = self._found["background_equivalent_variance"].to_numpy()
        errors = self._errors(codes.size)
        judged = np.isin(codes, (QualityCode.KEPT, QualityCode.FIRST_GUESS))
        z = np.abs(departure) / np.sqrt(variance + errors**2)
        judged &= np.isfinite(z)
        usual = np.median(z[judged]) / HALF_NORMAL_MEDIAN if judged.any() else 1.0
        factor, k = max(float(usual), 1.0), self._limit
        low, high = self._recipe.observed.valid_min, self._recipe.observed.valid_max
        shown = []
        for column in np.flatnonzero(~np.isin(codes, (QualityCode.KEPT, QualityCode.MISSING))):
            code = QualityCode(int(codes[column]))
            root = float(np.sqrt(variance[column] + errors[column] ** 2))
            value = self._value(int(column), self._time)
            numbers = {
                "value": value,
                "low": low,
                "high": high,
                "departure": abs(float(departure[column])),
                "limit": k * factor * root,
                "k": k,
                "factor": factor,
                "background": float(variance[column]),
                "error": float(errors[column]) ** 2,
            }
            shown.append(
                self._one(
                    self._time,
                    int(column),
                    value=value,
                    innovation=float(departure[column]),
                    error_sd=float(errors[column]),
                    code=code,
                    rule=RULES.get(code, code.name.lower()).format(**numbers),
                )
            )
        return (*shown, *self._of_other_times(low, high))

    def _of_other_times(self, low: float, high: float) -> Iterator[Explained]:
        """What was left out of the times of the window that are not the analysis time's."""
        for time, observed in self._observed.items():
            if time == self._time:
                continue
            codes = observed[QUALITY_CONTROL].to_numpy()
            left_out = ~np.isin(codes, (QualityCode.KEPT, QualityCode.MISSING))
            for column in np.flatnonzero(left_out):
                code, value = QualityCode(int(codes[column])), self._value(int(column), time)
                # The check against the first guess is the analysis time's alone.
                rule = RULES.get(code, code.name.lower()).format(value=value, low=low, high=high)
                stated = observed[f"{self._recipe.observed.name}_error"].to_numpy()
                yield self._one(
                    time,
                    int(column),
                    value=value,
                    innovation=float("nan"),
                    error_sd=float(stated[column]),
                    code=code,
                    rule=rule,
                )

    def _errors(self, columns: int) -> Float[np.ndarray, " column"]:
        """Standard deviations as the analysis took them, or as they were stated."""
        stated = f"{self._recipe.observed.name}_error"
        for dataset, name in (
            (self._found, "applied_error"),
            (self._observed.get(self._time), stated),
        ):
            if dataset is not None and name in dataset:
                values = dataset[name].to_numpy()[:columns].astype(float)
                return np.append(values, np.full(columns - values.size, np.nan))
        return np.full(columns, np.nan)

    def _value(self, column: int, time: np.datetime64) -> float:
        known = self._observed.get(time)
        if known is None or column >= known.sizes["station"]:
            return float("nan")
        return float(known[self._recipe.observed.name].to_numpy()[column])

    def _one(
        self,
        time: np.datetime64,
        column: int,
        *,
        code: QualityCode,
        rule: str = "",
        value: float,
        innovation: float,
        error_sd: float,
        weight: float = 0.0,
        contribution: float = 0.0,
    ) -> Explained:
        place: tuple[float, ...] = ()
        stream, platform = "", str(column)
        known = self._observed.get(time.astype("datetime64[ns]"))
        if known is not None and column < known.sizes["station"]:
            place = tuple(
                float(known[dim].to_numpy()[column])
                for dim in self._recipe.state_dims
                if dim in known and known[dim].dims == ("station",)
            )
            if STREAM in known:
                stream = _named(self._streams, int(known[STREAM].to_numpy()[column]))
            if PLATFORM in known:
                platform = _named(self._platforms, int(known[PLATFORM].to_numpy()[column]))
        return Explained(
            id=f"{time.astype('datetime64[m]')}/{column}",
            stream=stream,
            platform=platform,
            place=place,
            value=value,
            innovation=innovation,
            error_sd=error_sd,
            weight=weight,
            contribution=contribution,
            code=code.name.lower(),
            rule=rule,
        )


def _named(names: tuple[str, ...], number: int) -> str:
    return names[number] if 0 <= number < len(names) else str(number)
