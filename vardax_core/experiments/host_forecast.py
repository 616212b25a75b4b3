"""The background of one cycle from a model that runs outside of vardax, member by member."""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import xarray as xr
from jaxtyping import Float

from vardax_core.cycling.cycle import CycleProgram
from vardax_core.cycling.passed import CycleState
from vardax_core.data.timeaxis import from_minutes, to_minutes
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.host_files import (
    MemberError,
    StateForm,
    input_digest,
    read_dataset,
    stamp,
    write_dataset,
)
from vardax_core.experiments.host_models import AbstractHost, host_of
from vardax_core.store import ExperimentStore
from vardax_core.store.files import replace_file, storage_errors, writer_lock
from vardax_core.words import counted

ATTEMPTS = 2
SHOWN = 3
"""Lost members of which an error tells all."""
OUTPUT, RECORD = "output.nc", "made.json"
LOCK_WAIT = 10.0
"""Seconds to wait for another process that makes the same members."""


class HostForecastError(ValueError):
    """More than half of the members of a forecast are lost."""


@dataclasses.dataclass(frozen=True)
class LostMember:
    """A member without a forecast.

    Attributes:
        number: of the member.
        why: in words.
        tail: last lines that its model wrote to stderr.
        folder: of its last attempt.
    """

    number: int
    why: str
    tail: str
    folder: pathlib.Path

    def account(self) -> str:
        """Say all that is known."""
        lines = f":\n{self.tail}" if self.tail else ""
        return f"member {self.number}: {self.why} (in {self.folder}){lines}"


@dataclasses.dataclass(frozen=True)
class HostMembers:
    """The forecast of an ensemble.

    Attributes:
        members: valid at the target time; NaN where one is lost.
        lost: those.
        target: valid time, minutes since `MINUTES_EPOCH`.
    """

    members: Float[np.ndarray, "member *state"]
    lost: tuple[LostMember, ...]
    target: int

    def warnings(self) -> tuple[str, ...]:
        """Say which members are lost, and what stands in their place."""
        if not self.lost:
            return ()
        time = from_minutes(np.array([self.target]))[0].astype("datetime64[m]")
        which = "; ".join(f"member {lost.number}: {lost.why}" for lost in self.lost)
        return (
            f"{time}: {counted(len(self.lost), 'member')} of {len(self.members)} had no forecast "
            f"after {ATTEMPTS} attempts and left out of the analysis ({which})",
        )


class HostForecast:
    """Makes the members of a cycle's background.

    Each runs in a fresh folder below that of the experiment. A forecast that was made stays beside
    a digest of what it was made from until its cycle is committed, so that a run that died makes
    only the others.

    Attributes:
        name: of the experiment.
        folder: of its members.
        host: the model.
        form: of the states.
        seed: of the experiment.
    """

    def __init__(
        self, name: str, folder: pathlib.Path, host: AbstractHost, form: StateForm, seed: int
    ):
        self.name = name
        self.folder = folder
        self.host = host
        self.form = form
        self.seed = seed

    @classmethod
    def of(
        cls, experiment: Experiment, store: ExperimentStore, program: CycleProgram
    ) -> "HostForecast":
        """The host model of an experiment's recipe.

        Raises:
            RecipeError: it cannot be run here.
        """
        frame = store.dataset("analysis")
        possible = _possible(program, len(experiment.recipe.variables))
        form = StateForm.of(experiment.recipe, frame, possible, experiment.settings.dtype)
        label = f"{experiment.label}-{experiment.digest[:8]}"
        folder = experiment.root.absolute() / "host" / experiment.group_name / label
        seed = experiment.settings.seed
        return cls(experiment.name, folder, host_of(experiment.recipe), form, seed)

    def background(self, state: CycleState, time: np.datetime64) -> HostMembers:
        """Forecast the ensemble of the last cycle.

        Arguments:
            state: as that cycle left it.
            time: analysis time of the next.
        """
        target = int(to_minutes(np.asarray([time]))[0])
        return self.members(np.asarray(state.ensemble), int(state.time), target)

    def members(
        self, ensemble: Float[np.ndarray, "member *state"], start: int, target: int
    ) -> HostMembers:
        """Forecast an ensemble.

        Arguments:
            start, target: valid times, minutes since `MINUTES_EPOCH`.

        Raises:
            HostForecastError: more than half of the members are lost.
            StoreBusyError: another process makes them.
            StorageError: the file system refuses.
        """
        folder = self.folder / stamp(target)
        with storage_errors(self.folder, "write to"):
            folder.mkdir(parents=True, exist_ok=True)
        self._clear_before(target)
        with writer_lock(folder, LOCK_WAIT):
            pool = ThreadPoolExecutor(self.host.parallel, "member")
            try:
                found = list(
                    pool.map(
                        lambda number: self._member(
                            folder / f"member-{number:04d}", ensemble[number], start, target, number
                        ),
                        range(len(ensemble)),
                    )
                )
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self.host.stop()
                raise
            finally:
                pool.shutdown()
        lost = tuple(member for member in found if isinstance(member, LostMember))
        if 2 * len(lost) > len(ensemble):
            raise HostForecastError(self._account(lost, len(ensemble), target))
        nothing = np.full(ensemble.shape[1:], np.nan, ensemble.dtype)
        made = [nothing if isinstance(one, LostMember) else one for one in found]
        return HostMembers(np.stack(made), lost, target)

    def clear(self, time: np.datetime64) -> None:
        """Remove the members of a cycle that is committed, and of those before it."""
        self._clear_before(int(to_minutes(np.asarray([time]))[0]) + 1)

    def _clear_before(self, minute: int) -> None:
        for path in self.folder.glob("*T*"):
            if path.name.removesuffix(".lock") >= stamp(minute):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _member(
        self,
        folder: pathlib.Path,
        state: Float[np.ndarray, "*state"],
        start: int,
        target: int,
        number: int,
    ) -> Float[np.ndarray, "*state"] | LostMember:
        seed = _member_seed(self.seed, target, number)
        given = self.form.dataset(state, start, target, number, seed)
        digest = input_digest(given, self.host.identity)
        with storage_errors(folder, "write to"):
            folder.mkdir(exist_ok=True)
            made = self._made_before(folder, digest, target, state)
            if made is not None:
                return made
            for left in folder.glob("attempt-*"):
                shutil.rmtree(left, ignore_errors=True)
            for attempt in range(1, ATTEMPTS + 1):
                work = pathlib.Path(tempfile.mkdtemp(prefix=f"attempt-{attempt}-", dir=folder))
                try:
                    return self._made_now(folder, work, digest, given, target, state)
                except MemberError as error:
                    lost = LostMember(number, str(error), error.tail, work)
        return lost

    def _made_now(
        self,
        folder: pathlib.Path,
        work: pathlib.Path,
        digest: str,
        given: xr.Dataset,
        target: int,
        state: Float[np.ndarray, "*state"],
    ) -> Float[np.ndarray, "*state"]:
        field = self.form.field(self.host.forecast(given, work), target, state)
        kept = given.assign(self.form.variables(field))
        kept = kept.assign_coords(time=from_minutes(np.array([target]))[0])
        write_dataset(kept, folder / OUTPUT)
        record = {"input": digest, "field": hashlib.sha256(field.tobytes()).hexdigest()}
        replace_file(folder / RECORD, json.dumps(record).encode())
        shutil.rmtree(work, ignore_errors=True)
        return field

    def _made_before(
        self, folder: pathlib.Path, digest: str, target: int, state: Float[np.ndarray, "*state"]
    ) -> Float[np.ndarray, "*state"] | None:
        """The forecast that an earlier run made from the very same, if it is whole."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            record = json.loads((folder / RECORD).read_bytes())
            field = self.form.field(read_dataset(folder / OUTPUT), target, state)
            whole = hashlib.sha256(field.tobytes()).hexdigest()
            if record == {"input": digest, "field": whole}:
                return field
        return None

    def _account(self, lost: tuple[LostMember, ...], members: int, target: int) -> str:
        time = from_minutes(np.array([target]))[0].astype("datetime64[m]")
        shown = "\n".join(member.account() for member in lost[:SHOWN])
        more = len(lost) - SHOWN
        rest = f"\nand {counted(more, 'member')} more." if more > 0 else ""
        return (
            f"{self.name}: {len(lost)} of {counted(members, 'member')} have no forecast for {time} "
            f"after {ATTEMPTS} attempts, more than half; no analysis is made, and nothing is "
            "committed. Mend the model and run again: forecasts that were made are kept.\n"
            f"{shown}{rest}"
        )


def _possible(program: CycleProgram, variables: int) -> list[tuple[float, float]]:
    """Smallest and largest possible value of each variable, a climate's deviation beyond its
    bounds."""
    slack = np.zeros(variables)
    if program.climate is not None:
        sd = np.asarray(program.climate.sd, float)
        slack += sd.max() if sd.shape[:1] != (variables,) else sd.reshape(variables, -1).max(axis=1)
    low, high = (
        np.broadcast_to(np.asarray(bound, float).reshape(-1), (variables,))
        for bound in program.valid_range
    )
    return [(float(a), float(b)) for a, b in zip(low - slack, high + slack, strict=True)]


def _member_seed(seed: int, target: int, member: int) -> int:
    """A number for what is random in a model, the same whenever the member is run again."""
    digest = hashlib.sha256(f"{seed}/{target}/{member}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
