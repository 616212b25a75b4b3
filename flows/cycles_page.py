"""What a run leaves to look at: the last cycles of its experiment, and where they are stored."""

from pathlib import Path

import numpy as np
import xarray as xr
from prefect.artifacts import create_link_artifact, create_table_artifact

from flows.links import address_of
from flows.progress import if_the_server_answers
from vardax_core.calibration.score_definitions import divide
from vardax_core.experiments.experiment import Experiment
from vardax_core.store import ExperimentStore
from vardax_core.words import short

SHOWN = 12
"""Cycles in the table."""
READ = (
    *("observations", "squared_innovation", "chi2"),
    *("squared_error", "variance", "weight", "analysis_method", "result"),
)
"""The diagnostics that it is made of: one number for each cycle."""
CAUSE = "increment_cause"
"""The one that stores of earlier versions do not have."""


def show_cycles(experiment: Experiment, store: ExperimentStore) -> None:
    """Draw the table of the last cycles and the link to the store, as artifacts of the run."""
    place = str(store.location)
    link = place if "://" in place else Path(place).absolute().as_uri()
    with if_the_server_answers("the last cycles are not shown in the UI"):
        create_table_artifact(
            table=last_cycles(store, experiment.recipe.variable.units),
            key=f"cycles-{experiment.key}",
            description=f"Last cycles of {experiment.name}. `vardax open {place}`",
        )
        if address := address_of(experiment):
            create_link_artifact(
                link=address,
                link_text="The analyses, cycle by cycle",
                key=f"browse-{experiment.key}",
                description=f"Analyses of {experiment.name}",
            )
        create_link_artifact(
            link=link,
            link_text=place,
            key=f"store-{experiment.key}",
            description=f"Store of {experiment.name}",
        )


def last_cycles(store: ExperimentStore, units: str) -> list[dict[str, str]]:
    """One row for each of the last cycles, the latest first; of the state's first variable.

    Arguments:
        units: of that variable.
    """
    kept = store.dataset("diagnostics")
    last = kept[[*READ, *({CAUSE} & set(kept))]].isel(time=slice(-SHOWN, None)).load()
    rows = last.isel(time=slice(None, None, -1)).isel(channel=0, missing_dims="ignore")
    unit = "" if units == "1" else f" [{units}]"

    def ratio(above: str, below: str, root: bool = False) -> list[str]:
        values = divide(rows[above].to_numpy(), rows[below].to_numpy())
        return [short(float(v)) for v in (np.sqrt(values) if root else values)]

    columns = {
        "analysis time": [str(time)[:16] for time in rows["time"].to_numpy()],
        "observations": [f"{count:.0f}" for count in rows["observations"].to_numpy()],
        f"O-B rms{unit}": ratio("squared_innovation", "observations", root=True),
        "chi2 (1 is right)": ratio("chi2", "observations"),
        f"RMSE{unit}": ratio("squared_error", "weight", root=True),
        f"spread{unit}": ratio("variance", "weight", root=True),
        "made by": _named(rows["analysis_method"]),
        "result": _named(rows["result"]),
    }
    if CAUSE in rows:
        columns["stopped by"] = _named(rows[CAUSE])
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _named(codes: xr.DataArray) -> list[str]:
    """The meanings of codes; values and meanings stand side by side in the attributes."""
    values = np.atleast_1d(codes.attrs["flag_values"])
    meanings = dict(zip(map(int, values), str(codes.attrs["flag_meanings"]).split(), strict=True))
    return [meanings.get(int(code), str(code)) for code in codes.to_numpy()]
