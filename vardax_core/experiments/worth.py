"""What a stream of observations is worth: the same cycles without it, and its impact as the
ensemble has it."""

import dataclasses
import enum
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float

from vardax_core.calibration.paired import Difference, difference
from vardax_core.data.recipe import Recipe
from vardax_core.data.rejected import Rejection, with_rejected
from vardax_core.data.reports import PLATFORM
from vardax_core.data.timeaxis import minutes_to_instant, to_minutes
from vardax_core.experiments.beside import Beside, Row, beside
from vardax_core.experiments.circumstances import Circumstances
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.impact import Impacts, impacts, lack_of_impacts
from vardax_core.experiments.prepared import Prepared
from vardax_core.experiments.rerun import Rerun
from vardax_core.observations.quality import QualityCode
from vardax_core.store import ExperimentStore
from vardax_core.store.errors import StoreError

PURPOSE = "worth"
"""Begins the names of branches."""
ASKED = "what it is worth is asked"


class Verdict(enum.StrEnum):
    """What withholding observations says of them."""

    USEFUL = "useful"
    HARMFUL = "harmful"
    NOT_SEEN = "of no worth that can be seen"
    TOO_FEW = "not judged, of too few cycles"


class NothingWithheldError(StoreError):
    """A stream or platforms of which the period has no observation that is used."""


@dataclasses.dataclass(frozen=True)
class Impact:
    """What the ensemble says that observations did to forecasts of one cycle.

    Attributes:
        name: of the stream or the platforms.
        observations: that entered.
        mean: impact in a cycle: the change of the mean squared error of the forecast; negative made
            it better.
        found: its difference from none.
    """

    name: str
    observations: int
    mean: float
    found: Difference


@dataclasses.dataclass(frozen=True)
class Worth:
    """What observations are worth.

    Attributes:
        name: of the stream or the platforms.
        withheld: observations that the rerun did not see.
        runs: the cycles as they are, and without these.
        impacts: of these observations and of all others; none where they cannot be estimated.
        lack: why not, empty where they are.
        verified: what the impacts' forecasts were compared with.
        summed: sum of all impacts over the change that really was; 1 where they explain it.
    """

    name: str
    withheld: int
    runs: Beside
    impacts: tuple[Impact, ...]
    lack: str
    verified: str
    summed: float

    @property
    def telling(self) -> Row:
        """The row that decides: of the background, by the truth, or by what both withheld or used.

        Of observations those are taken that both runs have, first all, then the stream with the
        most cycles.
        """
        for by, of in (("truth", "background"), ("withheld observations", "analysis")):
            found = [row for row in self.runs.rows if (row.by, row.of) == (by, of)]
            if found:
                return found[0]
        others = [row for row in self.runs.rows if row.by == "observations"]
        kept = [row for row in others if row.part != self.name] or others
        return max(kept, key=lambda row: row.found.cycles)

    @property
    def verdict(self) -> Verdict:
        """Whether the cycles lose without the observations."""
        found = self.telling.found
        if not np.isfinite(found.low):
            return Verdict.TOO_FEW
        sign = found.sign
        return {1: Verdict.USEFUL, -1: Verdict.HARMFUL}.get(sign, Verdict.NOT_SEEN)


def entries_of(
    recipe: Recipe, streams: Iterable[str], platforms: Iterable[str], first: np.datetime64
) -> tuple[Rejection, ...]:
    """What is to be withheld from the window of a cycle on.

    Arguments:
        recipe: of the observations.
        streams: their names.
        platforms: names, or numbers of stations where observations are simulated.
        first: analysis time.
    """
    since = minutes_to_instant(int(to_minutes(np.array([first]))[0]))
    since -= (recipe.window.times - 1) * recipe.window.spacing
    said = {"since": since, "reason": ASKED, "decided_by": PURPOSE}
    return tuple(
        Rejection.model_validate({key: name, **said})
        for key, names in (("stream", streams), ("platform", platforms))
        for name in names
    )


def rerun_without(
    experiment: Experiment,
    store: ExperimentStore,
    prepared: Prepared,
    entries: Sequence[Rejection],
    first: np.datetime64,
    last: np.datetime64,
) -> Rerun:
    """The cycles of a period without some observations, to be run.

    Raises:
        NothingWithheldError: if none of them is used in the period.
        RerunError: see `Rerun`.
    """
    usual = Circumstances.usual(experiment.recipe, experiment.settings)
    if not mentioned(experiment, store, entries, first, last).any():
        known = ", ".join(one.name for one in experiment.recipe.streams or ())
        raise NothingWithheldError(
            f"{experiment.name}: no cycle from {first} to {last} uses an observation of "
            f"{name_of(entries)}; name one of {known or 'the stations, by their numbers'}, or "
            "another period."
        )
    changed = dataclasses.replace(usual, withheld=tuple(entries))
    return Rerun(experiment, store, prepared, changed, first=first, last=last, purpose=PURPOSE)


def name_of(entries: Sequence[Rejection]) -> str:
    """The observations that entries mean, for people."""
    streams = [one.stream for one in entries if one.stream and not one.platform]
    platforms = [one.platform for one in entries if one.platform]
    shown = platforms if len(platforms) <= 4 else [*platforms[:3], f"{len(platforms) - 3} more"]
    return ", ".join([*map(str, streams), *map(str, shown)])


def mentioned(
    experiment: Experiment,
    store: ExperimentStore,
    entries: Sequence[Rejection],
    first: np.datetime64,
    last: np.datetime64,
) -> np.ndarray:
    """Which used observations of the cycles of a period entries mean, (cycle, column)."""
    seen = store.dataset("innovations")[["quality_control"]].sel(time=slice(first, last)).load()
    codes = seen["quality_control"].transpose("time", "station").to_numpy()
    width = codes.shape[1]
    names: tuple[str, ...] = tuple(map(str, range(width)))
    platforms = np.broadcast_to(np.arange(width), codes.shape)
    if experiment.recipe.reported:
        names = experiment.platforms(store)
        kept = store.dataset("observations")[PLATFORM].reindex(time=seen["time"], fill_value=-1)
        platforms = kept.transpose("time", "station").to_numpy()[:, :width]
        width = platforms.shape[1]
    minutes = to_minutes(seen["time"].values)
    used = codes[:, :width] == QualityCode.KEPT
    found = with_rejected(codes[:, :width], minutes, platforms, names, entries)
    return used & (found == QualityCode.REJECTED)


def worth(
    experiment: Experiment,
    store: ExperimentStore,
    prepared: Prepared,
    entries: Sequence[Rejection],
    rerun: Rerun,
    first: np.datetime64,
    last: np.datetime64,
) -> Worth:
    """What observations are worth, once the cycles without them are made.

    Arguments:
        experiment, store, prepared: of the cycles as they are.
        entries: what was withheld.
        rerun: the cycles without it, all made.
        first, last: analysis times of the period.
    """
    work = store.on_branch(rerun.branch)
    name = name_of(entries)
    runs = beside(experiment, store, work, ("with", f"without {name}"), first, last)
    mine = mentioned(experiment, store, entries, first, last)
    lack = lack_of_impacts(experiment, prepared) or ""
    found: tuple[Impact, ...] = ()
    verified, summed = "", float("nan")
    if not lack:
        made = impacts(experiment, store, prepared, first, last)
        found, verified = _by_group(made, mine, name), made.verified
        change = float(made.change.sum())
        summed = float(made.impact.sum()) / change if change else float("nan")
    return Worth(name, int(mine.sum()), runs, found, lack, verified, summed)


def _by_group(made: Impacts, mine: np.ndarray, name: str) -> tuple[Impact, ...]:
    cycles, width = made.impact.shape
    mine = mine[:cycles, :width]
    found = []
    for label, part in ((name, mine), ("all others", ~mine)):
        series: Float[np.ndarray, " cycle"] = np.where(part, made.impact, 0.0).sum(axis=1)
        entered = int((part & (made.impact != 0)).sum())
        found.append(
            Impact(label, entered, float(series.mean()), difference(np.zeros(cycles), series))
        )
    return tuple(found)
