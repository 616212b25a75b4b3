"""From a recipe to validated observations and their truth, in one call."""

import contextlib
import dataclasses
import datetime
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from vardax_core.data.account import AbstractAccount, ReportsAccount, account_of
from vardax_core.data.binning import bin_stations
from vardax_core.data.contracts import (
    nature_run_schema,
    observations_schema,
    reports_schema,
    validate,
)
from vardax_core.data.errors import RecipeError
from vardax_core.data.masks import mask_truth
from vardax_core.data.recipe import Recipe
from vardax_core.data.reports import last_observed, read_reports
from vardax_core.data.screening import screen
from vardax_core.data.sources import Source, open_source, select_period
from vardax_core.data.space import state_grid
from vardax_core.data.state_frame import data_folders, prior_digest, state_frame
from vardax_core.data.timeaxis import instant_to_minutes, to_minutes
from vardax_core.data.truth_sources import TwinSource
from vardax_core.data.twin import observe, simulate_nature_run

SIMULATED = "simulated"
"""In the place of a digest, for a truth that is not in a file."""


@dataclasses.dataclass(frozen=True)
class Ingested:
    """What `ingest` returns.

    Attributes:
        observations: dataset on (time, station); see `observe` and, where they are real,
            `read_reports`.
        frame: the axes of the states, and their mask.
        nature_run: the truth on (time, *state), NaN where the source is missing or out of bounds;
            None where there is no truth.
        recipe: the recipe as used, with the draw and the seed of this call.
        reopen: opens the whole file that they come from; None for a twin, and real observations.
        account: what was taken and what was not.
        platforms: names of the platforms of real observations by their number.
    """

    observations: xr.Dataset
    frame: xr.Dataset
    nature_run: xr.Dataset | None
    recipe: Recipe
    reopen: Callable[[], Source] | None
    account: AbstractAccount
    platforms: tuple[str, ...] = ()

    @property
    def source_sha256(self) -> str:
        """Identity of the file that the truth or the prior was read from."""
        read = self.frame if self.nature_run is None else self.nature_run
        return source_digest(read.attrs)


def source_digest(attrs: Mapping[Any, Any]) -> str:
    """Identity of what a dataset with these attributes was read from, as stores record it."""
    return str(attrs.get("source_sha256", SIMULATED))


def ingest(
    recipe: Recipe,
    *,
    draw: int | None = None,
    seed: int | None = None,
    start: datetime.datetime | None = None,
    end: datetime.datetime | None = None,
    data_dir: pathlib.Path | None = None,
    cache_dir: pathlib.Path | None = None,
    path: str | pathlib.Path | None = None,
    partly: bool = False,
    known: Sequence[str] = (),
) -> Ingested:
    """Make the observations of a recipe and the truth they were drawn from, or read real ones.

    Arguments:
        recipe: where the observations come from.
        draw: another draw of the stations; see `Recipe.with_draw`.
        seed: other observation errors and, for a twin, another nature run.
        start, end: first and last valid time; by default all that the recipe's training period,
            cycles and windows need. Any part of it gives the same numbers bit for bit.
        data_dir, cache_dir, path: where the file of the nature run is; see `open_source`.
        partly: whether a file that ends within the period is taken as far as it goes.
        known: names of platforms that have a number already.

    Raises:
        RecipeError: if the draw does not apply to the recipe.
        SourceError: if the nature run cannot be used; see `vardax_core.data.errors`.
        ContractError: if the result is not what the contracts say.
    """
    if draw is not None:
        recipe = recipe.with_draw(draw)
    if seed is not None:
        recipe = recipe.with_seed(seed)
    first, last = recipe.span
    first = first if start is None else instant_to_minutes(start)
    last = last if end is None else instant_to_minutes(end)
    if recipe.reported:
        if path is not None:
            raise RecipeError(
                f"Recipe '{recipe.name}': real observations come from the files that the recipe "
                f"names; got the source {str(path)!r}. Leave it out, or name the file in the "
                "recipe."
            )
        return _reported(recipe, data_folders(data_dir), first, last, partly, known)
    source = reopen = None
    if isinstance(recipe.source, TwinSource):
        raw = simulate_nature_run(recipe, start=first, end=last)
    else:
        reopen = functools.partial(
            open_source, recipe, data_dir=data_dir, cache_dir=cache_dir, path=path
        )
        with contextlib.closing(reopen()) as source:
            raw = source.read(select_period(source, first, last, partly=partly))
    nature_run = validate(mask_truth(raw, recipe), nature_run_schema(recipe))
    grid = state_grid(raw, recipe)
    screened = screen(observe(raw, recipe), recipe, grid)
    observations = validate(bin_stations(screened, raw, recipe), observations_schema(recipe))
    account = account_of(recipe, source, (first, last), raw, screened, observations)
    return Ingested(observations, nature_run, nature_run, recipe, reopen, account)


def _reported(
    recipe: Recipe,
    folders: Sequence[pathlib.Path],
    first: int,
    last: int,
    partly: bool,
    known: Sequence[str],
) -> Ingested:
    """Read real observations; of a source that is to be taken partly, no time after its last."""
    frame = state_frame(recipe, folders).assign_attrs(source_sha256=prior_digest(recipe, folders))
    reports = read_reports(recipe, frame, folders, start=first, end=last, known=known)
    observations, waiting = reports.observations, np.empty(0, np.int64)
    if partly:
        times, end = to_minutes(observations["time"].values), last_observed(reports)
        taken = times <= (first - 1 if end is None else end)
        due = times <= instant_to_minutes(recipe.period.end)
        waiting, observations = times[~taken & due], observations.isel(time=taken)
    validate(observations, reports_schema(recipe))
    return Ingested(
        observations=observations,
        frame=frame,
        nature_run=None,
        recipe=recipe,
        reopen=None,
        account=ReportsAccount(reports.accounts, waiting, reports.refused),
        platforms=reports.platforms,
    )
