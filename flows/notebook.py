"""What `vardax run` does, for a notebook."""

import os
from pathlib import Path
from typing import Any

import xarray as xr


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
        ValueError: something is not what it should be; the sentence says what to do.
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

    given = {"method": method, "options": options, "members": members, **settings}
    parameters = ExperimentParameters.model_validate(
        {"dataset": named_by(str(recipe)), "root": place, **given}
    )
    target = TargetParameters.model_validate({"until": until})
    target.check(parameters.recipe())
    called(run_flow, parameters, (parameters.method,), target, override)
    return open_tree(parameters.experiment().store_location)
