"""What `vardax run` does, for a notebook."""

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import xarray as xr
from pydantic import ValidationError


class RunError(ValueError):
    """An argument of a run with a value that it cannot have."""


def run(
    recipe: str | Path,
    *,
    method: str | None = None,
    options: dict[str, Any] | None = None,
    members: int | None = None,
    until: str | None = None,
    root: str | Path | None = None,
    override: str | None = None,
    **settings: Any,
) -> xr.DataTree:
    """Ingest, train, validate, assimilate and report with one method, and open the result.

    Bars show the progress. What is done is not done again.

    Arguments:
        recipe: name of a data set, or path of its recipe.
        method: by default the one of highest skill that is usual for the data set.
        options: settings of the method, such as `{"inflation": 1.05}`.
        members: of the ensemble.
        until: last analysis time (ISO 8601, UTC); by default the end of the period.
        root: folder of all runs; by default VARDAX_ROOT or `.vardax`.
        override: why weights go to work although a gate fails.
        settings: further fields of `ExperimentParameters`, such as `seed` or `cut_off`.

    Raises:
        RunError: an argument is not what it should be.
        ValueError: a recipe, a source or a store is not; the sentence says what to do.
    """
    from flows.environment import chosen_root, configure
    from vardax_core.data import named_by

    place = chosen_root(root)
    configure(place)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    from flows.naming import called
    from flows.parameters import ExperimentParameters, TargetParameters
    from flows.run import run as run_flow
    from vardax_core.notebook.tree import open_tree
    from vardax_core.words import faults_of

    given = {"method": method, "options": options, "members": members, **settings}
    try:
        parameters = ExperimentParameters.model_validate(
            {"dataset": named_by(str(recipe)), "root": place, **given}
        )
    except ValidationError as error:
        raise RunError("\n".join(faults_of(error))) from error
    try:
        target = TargetParameters(until=None if until is None else datetime.fromisoformat(until))
    except ValueError as error:
        raise RunError(
            f"until: expected an analysis time such as 2019-03-01T12, got {until!r}."
        ) from error
    target.check(parameters.recipe())
    called(run_flow, parameters, (parameters.method,), target, override)
    return open_tree(parameters.experiment().store_location)
