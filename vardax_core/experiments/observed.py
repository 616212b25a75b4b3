"""Adding to the store of the observations of a data set."""

from collections.abc import Callable

import numpy as np
import zarr

from vardax_core.data.channels import names_of
from vardax_core.data.ingest import Ingested
from vardax_core.data.recipe import Recipe
from vardax_core.data.timeaxis import to_minutes
from vardax_core.experiments.continuity import late_reports, overlap_with
from vardax_core.experiments.store_layout import STATION, filled_to, platform_table, width_for
from vardax_core.store import ExperimentStore
from vardax_core.store.experiment import NATURE_RUN, OBSERVATIONS, PLATFORMS

WRITER_WAIT = 60.0
"""Seconds to wait for another process that writes to the store."""


def add_observations(
    recipe: Recipe,
    store: ExperimentStore,
    ingested: Ingested,
    tell: Callable[[str], None] = lambda _: None,
) -> int:
    """Add the observations and truths that a store lacks; the number of new times.

    The source may have grown since: it is then another one as a whole, and must agree with
    the store at every time that both have; see `overlap_with`.

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
    if recipe.reported and last is not None:
        for warning in late_reports(store, ingested, last):
            tell(warning)
    if not new.any():
        return 0
    held = store.groups()
    observations = ingested.observations.isel(time=new)
    columns = {
        str(name): array.transpose("time", STATION).to_numpy()
        for name, array in observations.data_vars.items()
    }
    replace, widths = {}, {}
    if recipe.reported:
        replace[PLATFORMS] = platform_table(ingested.platforms)
        widths[STATION] = width_for(ingested.observations.sizes[STATION])
        width = held[OBSERVATIONS][STATION].shape[0]
        columns = filled_to(columns, max(widths[STATION], width))
    groups = {OBSERVATIONS: columns}
    if ingested.nature_run is not None:
        truth = ingested.nature_run.sel(time=observations["time"])
        truth = truth.transpose("time", *recipe.state_dims, ...)
        groups[NATURE_RUN] = {name: truth[name].to_numpy() for name in names_of(recipe)}
    groups = {name: _as_stored(held[name], arrays) for name, arrays in groups.items()}
    record = {"kind": "ingest", "source_sha256": ingested.source_sha256}
    with store.writer(wait=WRITER_WAIT) as writer:
        writer.append(groups, minutes[new], replace=replace, widths=widths, metadata=record)
    return int(new.sum())


def _as_stored(group: zarr.Group, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays in the types of a group: stores of earlier versions have those of an experiment."""
    types = {name: array.dtype for name, array in group.arrays()}
    return {
        name: np.ascontiguousarray(values, types.get(name, values.dtype))
        for name, values in arrays.items()
    }
