"""What the flows are called with that make cycles again, and set runs side by side."""

from datetime import timedelta
from functools import cached_property

import numpy as np
from pydantic import Field, ValidationError, model_validator

from flows.fields import Form
from vardax_core.data.rejected import Rejection
from vardax_core.data.scalars import Instant, Interval
from vardax_core.data.timeaxis import from_minutes, instant_to_minutes
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.rerun import RerunError
from vardax_core.store import ExperimentStore
from vardax_core.words import faults_of


class PeriodParameters(Form):
    """A period of an experiment."""

    since: Instant | None = Field(
        None, description="First analysis time (UTC); empty: the first after the burn-in."
    )
    until: Instant | None = Field(
        None, description="Last analysis time (UTC); empty: the last that is in the store."
    )

    @model_validator(mode="after")
    def _in_order(self) -> "PeriodParameters":
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValueError(f"since {self.since} is after until {self.until}; exchange the two")
        return self

    def cycles(
        self, experiment: Experiment, store: ExperimentStore
    ) -> tuple[np.datetime64, np.datetime64]:
        """First and last analysis time.

        Raises:
            RerunError: the store has no cycle in it.
        """
        times = store.dataset(store.cycle_group)["time"].values
        wanted = times[experiment.recipe.burn_in :] if self.since is None else times
        if self.since is not None:
            wanted = wanted[wanted >= from_minutes(np.array([instant_to_minutes(self.since)]))[0]]
        if self.until is not None:
            wanted = wanted[wanted <= from_minutes(np.array([instant_to_minutes(self.until)]))[0]]
        if not wanted.size:
            span = f"those from {times[0]} to {times[-1]}" if times.size else "none"
            raise RerunError(
                f"{store.location}: expected cycles from {self.since or 'the end of the burn-in'} "
                f"to {self.until or 'the last'}, but it has {span}; choose a period in that, or "
                "run it on."
            )
        return wanted[0], wanted[-1]


class WithheldParameters(PeriodParameters):
    """What is withheld, and for which cycles."""

    streams: tuple[str, ...] = Field((), description="Names of streams of observations.")
    platforms: tuple[str, ...] = Field(
        (),
        description="Names of platforms; of simulated observations, numbers of stations, also as "
        "0-19.",
    )
    keep: bool = Field(
        False, description="Keep the cycles without them on their branch of the store."
    )

    @model_validator(mode="after")
    def _something(self) -> "WithheldParameters":
        if not (self.streams or self.platforms):
            raise ValueError("name a stream or a platform that is to be withheld")
        return self

    def names(self, experiment: Experiment) -> tuple[str, ...]:
        """Every platform, ranges of stations written out."""
        if experiment.recipe.reported:
            return self.platforms
        found: list[str] = []
        for text in self.platforms:
            first, _, last = text.partition("-")
            ends = (first, last or first)
            if not all(end.strip().isdigit() for end in ends):
                raise ValueError(
                    f"platforms: expected numbers of stations, such as 7 or 0-19, got {text!r}."
                )
            found += map(str, range(int(ends[0]), int(ends[1]) + 1))
        return tuple(found)


class ReplayParameters(PeriodParameters):
    """A moment at which analyses are to be as they would have been."""

    moment: Instant = Field(
        description="What arrived later (UTC) is not known, and what was corrected later is as it "
        "was."
    )
    early: Interval = Field(
        timedelta(hours=3),
        description="Real time for which the early analyses wait, such as 3h; the late ones have "
        "all that arrived by the moment.",
    )


class RejectionParameters(Form):
    """An entry of the reject list: observations that are not used for a while."""

    platform: str | None = Field(
        None, description="Name of the platform; of simulated observations the station's number."
    )
    stream: str | None = Field(None, description="Name of its stream, or of a whole stream.")
    since: Instant = Field(description="First valid time (UTC) that is rejected.")
    until: Instant | None = Field(None, description="Last one; empty: for good.")
    reason: str = Field(description="Why, in a sentence.")
    decided_by: str = Field(description="Who decided it.")

    @cached_property
    def entry(self) -> Rejection:
        """The entry as the list has it."""
        return Rejection.model_validate(self.model_dump(exclude_none=True))

    @model_validator(mode="after")
    def _right(self) -> "RejectionParameters":
        try:
            self.entry  # noqa: B018 (raises)
        except ValidationError as error:
            raise ValueError("; ".join(faults_of(error))) from error
        return self


class RelistParameters(Form):
    """What is done with the cycles that a changed reject list concerns."""

    reject: RejectionParameters | None = Field(
        None,
        description="An entry to add to the list first; one with the same platform, stream and "
        "first time is replaced. Leave None to take the list as it is.",
    )
    lift: bool = Field(False, description="Take that entry off the list instead.")
    publish: bool = Field(
        False,
        description="Make them what readers have. Without it they are made on a branch, and the "
        "page shows the difference.",
    )

    @model_validator(mode="after")
    def _what_is_lifted(self) -> "RelistParameters":
        if self.lift and self.reject is None:
            raise ValueError("lift: fill in under reject which entry is taken off the list")
        return self
