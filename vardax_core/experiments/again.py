"""A cycle of a store, as its analysis is made again from what is stored."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from vardax_core.analysis.history import history_of
from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.engine import SegmentInput
from vardax_core.cycling.given import without_bias
from vardax_core.cycling.keys import Purpose, cycle_key
from vardax_core.cycling.passed import CycleInput
from vardax_core.data.channels import stacked
from vardax_core.data.errors import PeriodError
from vardax_core.data.recipe import Recipe
from vardax_core.data.timeaxis import from_minutes, to_minutes
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.prepared import experiment_key
from vardax_core.experiments.segments import SegmentReader
from vardax_core.observations.placement import with_placement
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode
from vardax_core.store import ExperimentStore
from vardax_core.types import Observations, ensemble_mean


@dataclasses.dataclass(frozen=True)
class MadeAgain:
    """What an analysis is made of.

    Attributes:
        number: of the cycle in its store.
        program: with the places of the cycle's records.
        members: of the background.
        observations: the window as the analysis saw it.
        equivalents: H of the members' mean, for every row of the window.
        innovations: what the store holds of the departures.
        key: of the analysis.
        times, columns: where each observation of the window is in the store; a column of -1 where
            there is none.
    """

    number: int
    program: CycleProgram
    members: Float[Array, "member *state"]
    observations: Observations
    equivalents: Float[Array, "window obs"]
    innovations: xr.Dataset
    key: PRNGKeyArray
    times: Shaped[np.ndarray, "#window obs"]
    columns: Int[np.ndarray, "#window obs"]

    @property
    def innovation(self) -> Float[Array, "window obs"]:
        """Observed minus background, 0 where nothing is used."""
        seen = self.observations
        return jnp.where(seen.mask, seen.values - self.equivalents, 0.0)


def made_again(experiment: Experiment, store: ExperimentStore, time: np.datetime64) -> MadeAgain:
    """Read what a cycle was made of, in double precision where JAX has it switched on.

    What a method remembers of past departures is not stored of each cycle and is taken to be as
    usual.

    Raises:
        PeriodError: if there is no such cycle in the store.
    """
    number = _cycle(store, time)
    background = _states(store.dataset("background").isel(time=number).load(), experiment.recipe)
    program, given, times, columns = _problem(experiment, store, time)
    innovations = store.dataset("innovations").isel(time=number).load()
    codes = innovations[QUALITY_CONTROL].to_numpy()
    observations = _used(given.observations, codes, innovations)
    dtype = observations.values.dtype
    members = jnp.asarray(background, dtype)
    expected = program.step.operator(ensemble_mean(members))[None]
    history = history_of(program.step)
    if history is not None:
        usual = history.init(codes.size, dtype)
        observations = dataclasses.replace(observations, past=history.standardised(usual))
    return MadeAgain(
        number=number,
        program=program,
        members=members,
        observations=observations,
        equivalents=jnp.broadcast_to(expected, observations.values.shape),
        innovations=innovations,
        key=cycle_key(experiment_key(experiment.settings.seed), number, Purpose.ANALYSIS),
        times=times,
        columns=columns,
    )


def _cycle(store: ExperimentStore, time: np.datetime64) -> int:
    times = to_minutes(store.dataset("analysis")["time"].values)
    wanted = int(to_minutes(np.asarray([time]))[0])
    found = int(np.searchsorted(times, wanted))
    if found == times.size or times[found] != wanted:
        known = "none was made yet; assimilate first."
        if times.size:
            nearest = times[np.abs(times - wanted).argmin()]
            first, near, last = from_minutes(np.asarray([times[0], nearest, times[-1]])).astype(
                "M8[m]"
            )
            known = f"the nearest is {near}, of those from {first} to {last}; name one of them."
        asked = time.astype("datetime64[m]")
        raise PeriodError(f"{store.location}: expected the time of a cycle, got {asked}: {known}")
    return found


def _states(members: xr.Dataset, recipe: Recipe) -> Float[np.ndarray, "member *state"]:
    """The members; points that do not belong to the state hold the mean of the others."""
    found = stacked(members, recipe).transpose("member", ...).to_numpy().astype(np.float64)
    return np.where(np.isfinite(found), found, np.nanmean(found))


def _problem(
    experiment: Experiment, store: ExperimentStore, time: np.datetime64
) -> tuple[CycleProgram, CycleInput, np.ndarray, np.ndarray]:
    """The program with the places of a cycle's records, what the cycle is given, and where in the
    store that is."""
    prepared = experiment.prepare(store)
    if jax.dtypes.canonicalize_dtype(np.float64) == np.float64:
        prepared = prepared.in_precision("float64")
    program = prepared.program
    reader = SegmentReader(store, experiment.recipe, experiment.settings, 1, program)
    read = jax.tree.map(_widest, reader.read(np.asarray([time])))
    given = SegmentInput(**read).cycles()
    one: CycleInput = jax.tree.map(lambda x: jnp.asarray(x)[0], given)
    if one.placement is not None:
        program = with_placement(program, one.placement)
    return program, one, *reader.origins(time)


def _widest(array: np.ndarray) -> Array:
    """The array on the device, in double precision where it is of floating point and JAX has it."""
    return jnp.asarray(array, np.float64 if np.asarray(array).dtype.kind == "f" else None)


def _used(observations: Observations, codes: np.ndarray, innovations: xr.Dataset) -> Observations:
    """The window as the analysis saw it."""
    width = observations.mask.shape[1]
    kept = np.ones(width, bool)
    kept[: codes.size] = codes[:width] == QualityCode.KEPT
    if "bias_correction" in innovations:
        taken = np.zeros(width)
        known = np.nan_to_num(innovations["bias_correction"].to_numpy())
        taken[: known.size] = known[:width]
        observations = without_bias(observations, jnp.asarray(taken, observations.values.dtype))
    last = observations.mask[-1] & jnp.asarray(kept)
    return dataclasses.replace(observations, mask=observations.mask.at[-1].set(last))
