"""Stores as earlier versions laid them out."""

import dataclasses
import shutil

from vardax_core.data import Ingested
from vardax_core.data.reports import IDENTITY, OWN_CODE, SUPERSEDED_AT
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.store_layout import observed_layout, store_layout
from vardax_core.store import ExperimentStore
from vardax_core.store.store import OBSERVATION_STORE

REVISIONS = (IDENTITY, OWN_CODE, SUPERSEDED_AT)


def store_with_its_observations(
    made: Experiment, ingested: Ingested, segment: int
) -> ExperimentStore:
    """A store that holds its observations itself, and no revisions of them."""
    aside = dataclasses.replace(made, root=made.root / "aside")
    kept = aside.create_observations(ingested)
    record = dict(aside.create_store().experiment)
    del record[OBSERVATION_STORE]
    cycled = store_layout(made.recipe, made.settings, kept, segment)
    own = []
    for group in observed_layout(made.recipe, ingested).groups:
        variables = tuple(v for v in group.variables if v.name not in REVISIONS)
        own += [dataclasses.replace(group, variables=variables)] * (group.name != "grid")
    shutil.rmtree(aside.root)
    layout = dataclasses.replace(cycled, groups=(*own, *cycled.groups))
    return ExperimentStore.create(made.store_location, layout, record)
