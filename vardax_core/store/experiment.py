"""The groups of a forecast-analysis experiment and of its observations, named and described after
CF."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vardax_core.state.units import squared_unit
from vardax_core.store.errors import StructureError
from vardax_core.store.layout import (
    TIME,
    TIME_UNITS,
    Attributes,
    ChunkPlan,
    Coordinate,
    Group,
    Layout,
    Variable,
)

NOT_ARRIVED = np.iinfo(np.int64).min
"""The `arrival_time` of an observation that never arrived."""
OBSERVATIONS, NATURE_RUN, PLATFORMS, GRID = "observations", "nature_run", "platforms", "grid"
OBSERVED = (OBSERVATIONS, NATURE_RUN, PLATFORMS, GRID)
"""The groups of an observation store; a store of an earlier version has the first three itself."""


@dataclass(frozen=True)
class StateDescription:
    """What the state is.

    Attributes:
        name: variable name, for example `t2m`.
        coords: one coordinate per state dimension, in the order of the axes; further entries may
            be auxiliary coordinates along the same dimensions.
        attrs: CF attributes (standard_name, long_name, units).
        dtype: float dtype.
    """

    name: str
    coords: tuple[Coordinate, ...]
    attrs: Attributes
    dtype: str = "float32"

    @property
    def dims(self) -> tuple[str, ...]:
        """State dimensions in the order of the axes."""
        return tuple(dict.fromkeys(d for c in self.coords for d in c.dims))


@dataclass(frozen=True)
class Diagnostic:
    """One number or one small array per cycle.

    Attributes:
        sizes: trailing dimensions and their lengths, in order; empty for a scalar.
        dtype: NumPy name of the dtype.
        attrs: CF attributes.
    """

    sizes: Mapping[str, int] = field(default_factory=dict)
    dtype: str = "float64"
    attrs: Attributes = field(default_factory=dict)


def _trailing_sizes(diagnostics: Mapping[str, Diagnostic]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for name, diagnostic in diagnostics.items():
        for dim, size in diagnostic.sizes.items():
            if sizes.setdefault(dim, size) != size:
                raise StructureError(
                    f"Diagnostic {name!r}: dimension {dim!r} has length {size} here and "
                    f"{sizes[dim]} in another diagnostic. Rename one of the two."
                )
    return sizes


@dataclass(frozen=True)
class ObservedDescription:
    """What the values of observations are.

    Attributes:
        values: name, attributes and dtype of the values.
        coords: the coordinate of the observation dimension first (for example `station`), then
            further ones along it (`latitude`, `longitude`).
        quality_flags: meaning (one word) and int8 code of every quality-control flag.
        reported: whether the observations are real, records in columns that are more in time.
    """

    values: StateDescription
    coords: tuple[Coordinate, ...]
    quality_flags: Mapping[str, int]
    reported: bool = False

    @property
    def units(self) -> Attributes:
        """The attribute `units`, where there is one."""
        attrs = self.values.attrs
        return {"units": attrs["units"]} if "units" in attrs else {}

    @property
    def long_name(self) -> str:
        """What the values are, for people."""
        return str(self.values.attrs.get("long_name", self.values.name))

    @property
    def dims(self) -> tuple[str, str]:
        """Dimensions of a column."""
        return TIME, self.coords[0].dims[0]

    def column(self, name: str, description: str, attrs: Attributes) -> Variable:
        """Numbers of the values' type, one for each observation."""
        named = {"long_name": f"{description} {self.long_name}", **attrs}
        return Variable(name, self.dims, self.values.dtype, named)

    @property
    def quality(self) -> Variable:
        """The quality-control flag of each observation."""
        return Variable(
            "quality_control",
            self.dims,
            "int8",
            {
                "long_name": "quality control flag",
                "standard_name": "quality_flag",
                "flag_values": list(self.quality_flags.values()),
                "flag_meanings": " ".join(self.quality_flags),
            },
            self.quality_flags["missing"] if self.reported else None,
        )


def observation_layout(
    *,
    observed: ObservedDescription,
    states: tuple[StateDescription, ...],
    chunks: ChunkPlan,
    nature_run: bool = True,
    further: tuple[Variable, ...] = (),
) -> Layout:
    """The layout of a store of observations.

    Arguments:
        observed: what the observations are.
        states: the channels of a state, all on one grid.
        chunks: how arrays are cut into objects.
        nature_run: whether the truth is known and kept.
        further: what more is kept of every observation.

    Raises:
        StructureError: coordinates, dimensions or names contradict each other.
    """
    attrs, coords = observed.values.attrs, states[0].coords
    error = dict(observed.units)
    if "standard_name" in attrs:
        error["standard_name"] = f"{attrs['standard_name']} standard_error"
    name, described = observed.values.name, f"observed {observed.long_name}"
    observations = Group(
        OBSERVATIONS,
        (
            observed.column(name, "observed", {**attrs, "long_name": described}),
            observed.column(f"{name}_error", "observation error standard deviation of", error),
            observed.quality,
            Variable(
                "arrival_time",
                observed.dims,
                "int64",
                {
                    "long_name": "time at which the observation arrived",
                    "units": TIME_UNITS,
                    "calendar": "proleptic_gregorian",
                    "_FillValue": NOT_ARRIVED,
                },
                NOT_ARRIVED,
            ),
            *further,
        ),
        observed.coords,
    )
    fields = tuple(Variable(one.name, (TIME, *one.dims), one.dtype, one.attrs) for one in states)
    return Layout(
        groups=(
            observations,
            *((Group(NATURE_RUN, fields, coords),) if nature_run else ()),
            *((Group(PLATFORMS),) if observed.reported else ()),
            Group(GRID, (), coords),
        ),
        chunks=chunks,
        cycle_group=OBSERVATIONS,
    )


def _innovations(observed: ObservedDescription, corrected: bool) -> Group:
    units = observed.units
    variance = {name: squared_unit(unit) for name, unit in units.items()}
    of_records = (
        observed.column("analysis_equivalent_variance", "analysis ensemble variance of", variance),
        observed.column("applied_error", "error standard deviation in use of", units),
        *(
            (observed.column("bias_correction", "bias taken off the observed", units),)
            if corrected
            else ()
        ),
    )
    return Group(
        "innovations",
        (
            observed.column("background_departure", "observation minus background (O-B) of", units),
            observed.column("analysis_departure", "observation minus analysis (O-A) of", units),
            observed.column(
                "background_equivalent_variance", "background ensemble variance of", variance
            ),
            *(of_records if observed.reported else ()),
            observed.quality,
        ),
        observed.coords,
    )


def _statistic(
    states: tuple[StateDescription, ...], suffix: str, description: str, method: str
) -> tuple[Variable, ...]:
    return tuple(
        Variable(
            f"{one.name}_{suffix}",
            (TIME, *one.dims),
            one.dtype,
            {
                **one.attrs,
                "long_name": f"{description} of {one.attrs.get('long_name', one.name)}",
                "cell_methods": f"realization: {method}",
            },
        )
        for one in states
    )


def _smoothed(states: tuple[StateDescription, ...], lag: int) -> Group:
    return Group(
        "smoothed",
        (
            *_statistic(states, "mean", f"mean {lag} cycles before time, smoothed,", "mean"),
            *_statistic(
                states,
                "spread",
                f"spread {lag} cycles before time, smoothed,",
                "standard_deviation",
            ),
        ),
        states[0].coords,
        {
            "lag": lag,
            "comment": f"at each time the analysis of {lag} cycles before it, given all "
            "observations up to that time",
        },
    )


def experiment_layout(
    *,
    states: tuple[StateDescription, ...],
    observed: ObservedDescription,
    diagnostic_coords: tuple[Coordinate, ...] = (),
    n_members: int,
    diagnostics: Mapping[str, Diagnostic],
    chunks: ChunkPlan,
    lag: int = 0,
    corrected: bool = False,
) -> Layout:
    """The layout of a forecast-analysis experiment; its observations have a store of their own.

    Arguments:
        states: name, coordinates, attributes and dtype of the channels of a state, all on one
            grid.
        observed: what the observations are.
        diagnostic_coords: coordinates of the diagnostics.
        n_members: ensemble size M.
        diagnostics: what is kept of each cycle beside the fields, by name.
        chunks: how arrays are cut into objects.
        lag: cycles that a smoothed analysis waits for; 0 for none.
        corrected: whether a bias is taken off real observations, and kept beside them.

    Raises:
        StructureError: coordinates, dimensions or names contradict each other.
    """
    coords = states[0].coords
    member = Coordinate(
        "member",
        ("member",),
        np.arange(n_members, dtype=np.int32),
        {"standard_name": "realization", "long_name": "ensemble member", "units": "1"},
    )
    ensembles = tuple(
        Variable(one.name, (TIME, "member", *one.dims), one.dtype, one.attrs) for one in states
    )

    analysis = (
        *ensembles,
        *_statistic(states, "mean", "analysis mean", "mean"),
        *_statistic(states, "spread", "analysis spread", "standard_deviation"),
    )
    scalars = Group(
        "diagnostics",
        tuple(Variable(n, (TIME, *d.sizes), d.dtype, d.attrs) for n, d in diagnostics.items()),
        diagnostic_coords,
        sizes=_trailing_sizes(diagnostics),
    )
    return Layout(
        groups=(
            Group("background", ensembles, (member, *coords)),
            Group("analysis", analysis, (member, *coords)),
            *((_smoothed(states, lag),) if lag else ()),
            _innovations(observed, corrected),
            scalars,
            Group("state"),
            Group("streams"),
            Group("calibration"),
        ),
        chunks=chunks,
    )
