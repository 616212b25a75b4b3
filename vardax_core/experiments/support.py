"""What the analysis of a cycle rests on, as maps."""

import equinox as eqx
import numpy as np
import xarray as xr

from vardax_core.analysis.base import AbstractSupportedStep
from vardax_core.experiments.again import made_again
from vardax_core.experiments.experiment import Experiment
from vardax_core.store import ExperimentStore

MAPS = {
    "observations_in_reach": "observations in reach",
    "localized_observations": "sum of their localization factors",
    "background_inflation": "factor on the background's anomalies",
    "degrees_of_freedom_for_signal": "degrees of freedom for signal",
}
"""What a method says of every point, and what it is."""
REMOVED = "variance_removed"
"""Share of the background's variance that the analysis has not, of each variable."""


def supported(experiment: Experiment, store: ExperimentStore, time: np.datetime64) -> xr.Dataset:
    """Map what the analysis of a cycle rests on.

    The share of the background's variance that the analysis removed, 1 - (s_a / s_b)^2, is of the
    stored ensembles and there for every method. The fields of `MAPS` are of the method's own
    analysis, which is made again; a method that cannot say them leaves them out, see the attribute
    `comment`.

    Returns:
        Fields on the grid of unit 1, NaN where the state has no point.

    Raises:
        PeriodError: if there is no such cycle in the store.
    """
    again = made_again(experiment, store, time)
    step, recipe, grid = again.program.step, experiment.recipe, experiment.space(store).grid
    inside = np.ones(grid.shape, bool) if grid.mask is None else np.asarray(grid.mask)
    found: dict[str, xr.DataArray] = {}

    def put(name: str, values: np.ndarray, long_name: str) -> None:
        shown = np.where(inside, np.asarray(values, np.float64).reshape(grid.shape), np.nan)
        attrs = {"long_name": long_name, "units": "1"}
        found[name] = xr.DataArray(shown, dims=recipe.state_dims, attrs=attrs)

    comment = ""
    if isinstance(step, AbstractSupportedStep):
        told = eqx.filter_jit(step.support)(again.members, again.observations)
        values = (told.observations, told.weight, told.inflation, told.signal)
        for (name, long_name), field in zip(MAPS.items(), values, strict=True):
            put(name, np.asarray(field), long_name)
    else:
        comment = f"{experiment.settings.method} does not say what it rests on at every point"
    analysis = store.dataset("analysis").isel(time=again.number)
    background = store.dataset("background").isel(time=again.number)
    for variable in recipe.variables:
        name = variable.name
        before = background[name].std("member", ddof=1).transpose(*recipe.state_dims).to_numpy()
        after = analysis[f"{name}_spread"].transpose(*recipe.state_dims).to_numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(before > 0, 1 - (after / before) ** 2, np.nan)
        said = f"share of the background's variance removed, {name}"
        put(f"{name}_{REMOVED}", share, said)
    return xr.Dataset(found, attrs={"comment": comment, "time": str(time.astype("datetime64[m]"))})
