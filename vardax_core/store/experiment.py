"""The groups of a forecast-analysis experiment, named and described after CF."""

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


def experiment_layout(
    *,
    state: StateDescription,
    further: tuple[StateDescription, ...] = (),
    observed: StateDescription | None = None,
    diagnostic_coords: tuple[Coordinate, ...] = (),
    n_members: int,
    observation_coords: tuple[Coordinate, ...],
    quality_flags: Mapping[str, int],
    diagnostics: Mapping[str, Diagnostic],
    chunks: ChunkPlan,
    nature_run: bool = True,
    reported: tuple[Variable, ...] = (),
    lag: int = 0,
    corrected: bool = False,
) -> Layout:
    """The layout of a forecast-analysis experiment.

    Args:
        state: name, coordinates, attributes and dtype of the state, or of its first channel.
        further: the same of its other channels, on the same grid.
        observed: what the values of observations are; by default the state.
        diagnostic_coords: coordinates of the diagnostics.
        n_members: ensemble size M.
        observation_coords: the coordinate of the observation dimension first (for example
            `station`), then further ones along it (`latitude`, `longitude`).
        quality_flags: meaning (one word) and int8 code of every quality-control flag.
        diagnostics: what is kept of each cycle beside the fields, by name.
        chunks: how arrays are cut into objects.
        nature_run: whether the truth is known and kept.
        reported: what more is kept of every real observation; there is then a group `platforms`.
        lag: cycles that a smoothed analysis waits for; 0 for none.
        corrected: whether a bias is taken off real observations, and kept beside them.

    Raises:
        StructureError: coordinates, dimensions or names contradict each other.
    """
    obs_dim = observation_coords[0].dims[0]
    seen = state if observed is None else observed
    units = {"units": seen.attrs["units"]} if "units" in seen.attrs else {}
    long_name = seen.attrs.get("long_name", seen.name)
    quality = Variable(
        "quality_control",
        (TIME, obs_dim),
        "int8",
        {
            "long_name": "quality control flag",
            "standard_name": "quality_flag",
            "flag_values": list(quality_flags.values()),
            "flag_meanings": " ".join(quality_flags),
        },
        quality_flags["missing"] if reported else None,
    )

    error = dict(units)
    if "standard_name" in seen.attrs:
        error["standard_name"] = f"{seen.attrs['standard_name']} standard_error"

    def column(name: str, description: str, attrs: Attributes) -> Variable:
        return Variable(
            name, (TIME, obs_dim), state.dtype, {"long_name": f"{description} {long_name}", **attrs}
        )

    variance = {name: squared_unit(unit) for name, unit in units.items()}
    observations = Group(
        "observations",
        (
            column(seen.name, "observed", {**seen.attrs, "long_name": f"observed {long_name}"}),
            column(f"{seen.name}_error", "observation error standard deviation of", error),
            quality,
            Variable(
                "arrival_time",
                (TIME, obs_dim),
                "int64",
                {
                    "long_name": "time at which the observation arrived",
                    "units": TIME_UNITS,
                    "calendar": "proleptic_gregorian",
                    "_FillValue": NOT_ARRIVED,
                },
                NOT_ARRIVED,
            ),
            *reported,
        ),
        observation_coords,
    )
    of_records = (
        column("analysis_equivalent_variance", "analysis ensemble variance of", variance),
        column("applied_error", "error standard deviation in use of", error),
        *((column("bias_correction", "bias taken off the observed", units),) if corrected else ()),
    )
    innovations = Group(
        "innovations",
        (
            column("background_departure", "observation minus background (O-B) of", units),
            column("analysis_departure", "observation minus analysis (O-A) of", units),
            column("background_equivalent_variance", "background ensemble variance of", variance),
            *(of_records if reported else ()),
            quality,
        ),
        observation_coords,
    )
    member = Coordinate(
        "member",
        ("member",),
        np.arange(n_members, dtype=np.int32),
        {"standard_name": "realization", "long_name": "ensemble member", "units": "1"},
    )
    channels = (state, *further)
    ensembles = tuple(
        Variable(one.name, (TIME, "member", *one.dims), one.dtype, one.attrs) for one in channels
    )

    def statistic(suffix: str, description: str, method: str) -> tuple[Variable, ...]:
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
            for one in channels
        )

    analysis = (
        *ensembles,
        *statistic("mean", "analysis mean", "mean"),
        *statistic("spread", "analysis spread", "standard_deviation"),
    )
    smoothed = Group(
        "smoothed",
        (
            *statistic("mean", f"mean {lag} cycles before time, smoothed,", "mean"),
            *statistic(
                "spread", f"spread {lag} cycles before time, smoothed,", "standard_deviation"
            ),
        ),
        state.coords,
        {
            "lag": lag,
            "comment": f"at each time the analysis of {lag} cycles before it, given all "
            "observations up to that time",
        },
    )
    truth = Group(
        "nature_run",
        tuple(Variable(one.name, (TIME, *one.dims), one.dtype, one.attrs) for one in channels),
        state.coords,
    )
    scalars = Group(
        "diagnostics",
        tuple(Variable(n, (TIME, *d.sizes), d.dtype, d.attrs) for n, d in diagnostics.items()),
        diagnostic_coords,
        sizes=_trailing_sizes(diagnostics),
    )
    return Layout(
        groups=(
            observations,
            *((truth,) if nature_run else ()),
            Group("background", ensembles, (member, *state.coords)),
            Group("analysis", analysis, (member, *state.coords)),
            *((smoothed,) if lag else ()),
            *((Group("platforms"),) if reported else ()),
            innovations,
            scalars,
            Group("state"),
            Group("streams"),
            Group("calibration"),
        ),
        chunks=chunks,
    )
