"""Adding to the store of the observations of a data set."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import zarr
from jaxtyping import Bool

from vardax_core.data.channels import names_of
from vardax_core.data.ingest import Ingested
from vardax_core.data.recipe import Recipe
from vardax_core.data.reports import IDENTITY, OWN_CODE, SUPERSEDED_AT
from vardax_core.data.timeaxis import to_minutes
from vardax_core.experiments.continuity import late_reports, overlap_with
from vardax_core.experiments.revise import Revision, revised
from vardax_core.experiments.store_layout import STATION, filled_to, platform_table, width_for
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.store import ExperimentStore
from vardax_core.store.experiment import NATURE_RUN, OBSERVATIONS, PLATFORMS
from vardax_core.store.layout import TIME
from vardax_core.store.repository import dimensions

REVISED = "revised"
"""Commit metadata key: times that were revised, each with the earliest arrival of what revises it,
in minutes."""
WRITER_WAIT = 60.0
"""Seconds to wait for another process that writes to the store."""


def add_observations(
    recipe: Recipe,
    store: ExperimentStore,
    ingested: Ingested,
    tell: Callable[[str], None] = lambda _: None,
) -> int:
    """Add the observations and truths that a store lacks; the number of new times.

    A simulated source may have grown since: it is then another one as a whole, and must agree with
    the store at every time that both have; see `overlap_with`. Real observations that came, or were
    corrected, after their times had been taken are added to their times; see `revised`.

    Arguments:
        store: what holds the observations.
        tell: called with what somebody who runs this should see.

    Raises:
        SourceChangedError: if they come from another source than those in the store.
    """
    last = store.tip(OBSERVATIONS).last_time
    minutes = to_minutes(ingested.observations["time"].values)
    new = minutes > (np.iinfo(np.int64).min if last is None else last)
    overlap = overlap_with(store, ingested)
    for warning in overlap.warnings() if overlap else ():
        tell(warning)
    held, revision = store.groups(), None
    if recipe.reported and IDENTITY not in held[OBSERVATIONS]:
        ingested = _as_before_revisions(ingested)
        for warning in late_reports(store, ingested, last) if last is not None else ():
            tell(warning)
    elif recipe.reported and last is not None:
        revision = _revision(recipe, held[OBSERVATIONS], ingested, last)
    if not new.any() and revision is None:
        return 0
    width = _width(held[OBSERVATIONS], ingested, revision)
    groups = _groups(recipe, ingested, new, width)
    groups = {name: _as_stored(held[name], arrays) for name, arrays in groups.items()}
    record: dict[str, Any] = {"kind": "ingest", "source_sha256": ingested.source_sha256}
    if revision is not None:
        record[REVISED] = np.stack([revision.minutes, revision.since], axis=1).tolist()
    with store.writer(wait=WRITER_WAIT) as writer:
        writer.append(
            groups,
            minutes[new],
            replace={PLATFORMS: platform_table(ingested.platforms)} if recipe.reported else {},
            widths={STATION: width} if recipe.reported else {},
            revise=[] if revision is None else list(revision.pieces(width)),
            metadata=record,
        )
    if revision is not None:
        tell(revision.sentence)
    return int(new.sum())


def _width(group: zarr.Group, ingested: Ingested, revision: Revision | None) -> int:
    """Columns that a store has once everything is in it."""
    wanted = [int(group[STATION].shape[0])]  # type: ignore[union-attr]
    if ingested.recipe.reported:
        wanted.append(width_for(ingested.observations.sizes[STATION]))
    if revision is not None and revision.width > max(wanted):
        wanted.append(width_for(revision.width))
    return max(wanted)


def _groups(
    recipe: Recipe, ingested: Ingested, new: Bool[np.ndarray, " time"], width: int
) -> dict[str, dict[str, np.ndarray]]:
    """What is added at the times that are new."""
    observations = ingested.observations.isel(time=new)
    columns = {
        str(name): array.transpose(TIME, STATION).to_numpy()
        for name, array in observations.data_vars.items()
    }
    groups = {OBSERVATIONS: filled_to(columns, width) if recipe.reported else columns}
    if ingested.nature_run is not None:
        truth = ingested.nature_run.sel(time=observations[TIME])
        truth = truth.transpose(TIME, *recipe.state_dims, ...)
        groups[NATURE_RUN] = {name: truth[name].to_numpy() for name in names_of(recipe)}
    return groups


def _revision(recipe: Recipe, group: zarr.Group, ingested: Ingested, last: int) -> Revision | None:
    """What a store's rows become with what was read of their times."""
    minutes, there = to_minutes(ingested.observations["time"].values), np.asarray(group[TIME])
    common = np.isin(minutes, there[there <= last])
    if not common.any():
        return None
    rows = np.searchsorted(there, minutes[common])
    part = slice(int(rows[0]), int(rows[-1]) + 1)
    stored = {
        name: np.asarray(array[part])[rows - rows[0]]
        for name, array in group.arrays()
        if dimensions(array) == (TIME, STATION)
    }
    read = ingested.observations.isel(time=common).transpose(TIME, STATION)
    columns = {str(name): array.to_numpy() for name, array in read.data_vars.items()}
    return revised(recipe, stored, columns, there[rows])


def _as_before_revisions(ingested: Ingested) -> Ingested:
    """What stores of earlier versions hold of real observations: the last version of each."""
    observations = ingested.observations.drop_vars((IDENTITY, SUPERSEDED_AT, OWN_CODE))
    codes, value = observations[QUALITY_CONTROL], observations[ingested.recipe.observed.name]
    last = codes != QualityCode.SUPERSEDED
    kept = {
        QUALITY_CONTROL: codes.where(last, np.int8(QualityCode.MISSING)),
        value.name: value.where(last),
    }
    return dataclasses.replace(ingested, observations=observations.assign(kept))


def _as_stored(group: zarr.Group, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays in the types of a group: stores of earlier versions have those of an experiment."""
    types = {name: array.dtype for name, array in group.arrays()}
    return {
        name: np.ascontiguousarray(values, types.get(name, values.dtype))
        for name, values in arrays.items()
    }
