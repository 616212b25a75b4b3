"""Calibration over the whole life of an experiment, by tests that may be looked at every cycle."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float

from vardax_core.calibration.anytime import (
    LASTING_GRANTED,
    AbstractWager,
    Biased,
    Evidence,
    SpreadTooLarge,
    SpreadTooSmall,
    shares,
    watch,
)
from vardax_core.calibration.score_definitions import divide
from vardax_core.data.recipe_sections import CHANNEL

FALSE_ALARMS = 0.01
"""Probability of any alarm in the whole life of a calibrated experiment."""
SPREAD = (SpreadTooSmall(), SpreadTooLarge())
"""Against innovations and withheld observations."""
SPREAD_OF_ERRORS = tuple(dataclasses.replace(w, granted=LASTING_GRANTED) for w in SPREAD)
"""Against the errors of the state, which outlast many cycles."""
READ = (
    *("weight", "error", "squared_error", "variance"),
    *("region_weight", "region_squared_error", "region_variance"),
    *("observations", "innovation", "squared_innovation"),
    *("observed_background_variance", "error_variance"),
    *("withheld_observations", "withheld_residual", "withheld_squared_residual"),
    "withheld_predicted_variance",
)
"""The diagnostics that are read, of every cycle."""


@dataclasses.dataclass(frozen=True)
class LifeTest:
    """One test of an experiment.

    Attributes:
        of: what is tested, for people.
        wager: on what.
        evidence: what was found.
    """

    of: str
    wager: AbstractWager
    evidence: Evidence


@dataclasses.dataclass(frozen=True)
class WholeLife:
    """All tests of an experiment.

    Attributes:
        cycles: analysis times (datetime64) of the cycles that are tested.
        tests: one to a statistic and wager.
    """

    cycles: np.ndarray
    tests: tuple[LifeTest, ...]

    @property
    def standing(self) -> tuple[LifeTest, ...]:
        """Tests whose alarm stands, that which began first before the others."""
        found = [t for t in self.tests if t.evidence.standing is not None]
        return tuple(sorted(found, key=_since))

    def words(self) -> str:
        """Say what stands, since when, and how sure it is."""
        found = self.standing
        if not found:
            return "as predicted"
        first, more = found[0], len(found) - 1
        alarm = first.evidence.standing
        assert alarm is not None, "it stands"
        since, at = (
            np.datetime_as_string(self.cycles[n], unit="m") for n in (alarm.since, alarm.at)
        )
        odds = min(float(first.evidence.log10[-1]), 99.0)
        against = f"{10**odds:.0f}" if odds < 6 else f"10^{odds:.0f}"
        rest = f", and {more} more of the kind" if more else ""
        return (
            f"{first.wager.finding} ({first.of}) since {since}, found at {at}, by chance at most "
            f"once in {against}{rest}"
        )


def _since(test: LifeTest) -> int:
    alarm = test.evidence.standing
    return 0 if alarm is None else alarm.since


def whole_life(
    diagnostics: xr.Dataset,
    settled: np.datetime64,
    regions: Sequence[str],
    *,
    false_alarms: float = FALSE_ALARMS,
) -> WholeLife:
    """Test the statistics of every cycle of a store.

    By the truth, whole and by quarters of the grid, where there is one; by withheld observations;
    and by innovations. Half of the false-alarm rate is shared by the tests of the whole, half by
    those of its parts.

    Arguments:
        diagnostics: the store's group.
        settled: first analysis time after the burn-in.
        regions: names of the quarters of the grid.
        false_alarms: probability of any alarm in the whole life while calibrated.
    """
    rows = diagnostics[[name for name in READ if name in diagnostics]]
    rows = rows.sel(time=slice(settled, None)).load()
    whole, parts = [], []
    for name, channel in _channels(rows):
        more_whole, more_parts = _of_fields(channel, name, regions)
        whole += more_whole
        parts += more_parts
    whole += _of_observations({str(n): rows[n].to_numpy() for n in rows if _is_scalar(rows[n])})
    tests = []
    for group, share in ((whole, 0.5 if parts else 1.0), (parts, 0.5)):
        rates = shares([wager for _, wager, _ in group], false_alarms * share)
        tests += [
            LifeTest(of, wager, watch(wager, series, false_alarms=rate))
            for (of, wager, series), rate in zip(group, rates, strict=True)
        ]
    return WholeLife(rows["time"].to_numpy(), tuple(tests))


Wanted = tuple[str, AbstractWager, Float[np.ndarray, " time"]]


def _is_scalar(rows: xr.DataArray) -> bool:
    return rows.dims == ("time",)


def _channels(rows: xr.Dataset) -> Iterable[tuple[str, xr.Dataset]]:
    """Each channel's statistics by its name; those of a state without channels by none."""
    if CHANNEL not in rows.dims:
        return [("", rows)]
    names = rows[CHANNEL].to_numpy() if CHANNEL in rows.coords else range(rows.sizes[CHANNEL])
    return [(f"{name}, ", rows.isel({CHANNEL: n})) for n, name in enumerate(names)]


def _of_fields(
    rows: xr.Dataset, name: str, names: Sequence[str]
) -> tuple[list[Wanted], list[Wanted]]:
    """Tests against the truth, of the grid as a whole and of its quarters."""
    s = {str(n): rows[n].to_numpy().astype(float) for n in rows.data_vars}
    if not s["squared_error"].any():
        return [], []
    ratio = divide(s["squared_error"], s["variance"])
    mean_error = divide(s["error"], np.sqrt(s["variance"] * s["weight"]))
    whole: list[Wanted] = [(f"{name}error against spread", w, ratio) for w in SPREAD_OF_ERRORS]
    whole.append((f"{name}mean error", Biased(), mean_error))
    parts: list[Wanted] = []
    if "region_variance" in s:
        regions = divide(s["region_squared_error"], s["region_variance"])
        for number in np.flatnonzero(np.any(s["region_weight"] > 0, axis=0)):
            label = f"{name}error against spread in {names[int(number)]}"
            parts += [(label, w, regions[:, number]) for w in SPREAD_OF_ERRORS]
    return whole, parts


def _of_observations(s: Mapping[str, np.ndarray]) -> list[Wanted]:
    """Tests against withheld and used observations, R in what is predicted."""
    found: list[Wanted] = []
    for label, count, total, square, predicted in (
        (
            "innovations",
            s["observations"],
            s["innovation"],
            s["squared_innovation"],
            s["observed_background_variance"] + s["error_variance"],
        ),
        (
            "withheld observations",
            s["withheld_observations"],
            s["withheld_residual"],
            s["withheld_squared_residual"],
            s.get("withheld_predicted_variance", np.zeros_like(s["withheld_observations"])),
        ),
    ):
        if not predicted.any():
            continue
        found += [(label, w, divide(square, predicted)) for w in SPREAD]
        found.append((f"mean of {label}", Biased(), divide(total, np.sqrt(predicted * count))))
    return found
