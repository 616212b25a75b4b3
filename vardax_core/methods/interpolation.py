"""Local space-time interpolation of observations, wherever and whenever they are."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from pydantic import Field

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.analysis.local.cells import cells_of
from vardax_core.analysis.local.channels import ChannelInterpolation
from vardax_core.analysis.local.covariance import SpaceTimeCovariance
from vardax_core.analysis.local.stations import StationInterpolation
from vardax_core.analysis.local.step import LocalInterpolation
from vardax_core.data.recipe import Recipe
from vardax_core.data.timeaxis import duration_to_minutes
from vardax_core.methods.base import AbstractMethod, Assembly, Problem, Trained
from vardax_core.methods.channels_prior import ChannelsPrior
from vardax_core.methods.field_references import LocalCovariance
from vardax_core.methods.fields_prior import FieldsPrior
from vardax_core.methods.priors import AbstractPrior
from vardax_core.methods.reported_prior import ReportedPrior, ReportedReference
from vardax_core.models.climatology import Climatology
from vardax_core.observations.placement import PlacedPoints, Search
from vardax_core.state.grids import AbstractGrid
from vardax_core.state.lattice import lattice_of
from vardax_core.training.withheld import speed_of

LARGE = 65_536
"""Points of a grid up to which all of them are interpolated, unless a spacing is set."""
FINE, WIDEST = 1 / 6, 4
"""Largest spacing that is usual beyond that: of the shortest length, and in points."""


class InterpolationMethod(AbstractMethod):
    """Every point is analysed from the observations nearest to it, with a covariance and errors
    that were fitted to predictions of withheld observations, or to fields of the past; each of
    several variables from its own."""

    name: ClassVar[str] = "interpolation"
    title: ClassVar[str] = "local optimal interpolation in space and time"
    source: ClassVar[str] = "Bretherton et al. (1976), doi:10.1016/0011-7471(76)90001-2"
    place: ClassVar[int] = 25
    channels: ClassVar[bool] = True

    most: int = Field(60, ge=1, le=500, description="observations that a point is analysed from")
    reach: float = Field(
        6.0, gt=0, description="how far an observation may be, in lengths of the covariance"
    )
    spacing: int | None = Field(
        None,
        ge=1,
        le=20,
        description=f"points from one that is interpolated to the next in each direction, the "
        f"others bilinearly between them: 1 for all, 3 costs a ninth. By default all of a grid of "
        f"up to {LARGE} points; of larger ones as few as a {1 / FINE:.0f}th of the shortest length "
        f"allows, every {WIDEST}th at least",
    )

    def lacks(self, prior: AbstractPrior) -> str | None:
        if prior.reported:
            return None
        if not isinstance(prior, FieldsPrior):
            return "it learns from real observations or fields, and this recipe has a model alone"
        if prior.recipe.channels:
            return "of fields that are taken for the truth it takes those of one variable so far"
        return None

    def learned_as(self, prior: AbstractPrior) -> tuple[str, ...]:
        names = super().learned_as(prior)
        return names if prior.reported else names[-1:]

    def needs_points(self, prior: AbstractPrior) -> bool:
        return True

    def usual(self, prior: AbstractPrior, points: int | None = None) -> bool:
        return prior.reported or (points is not None and prior.is_local(points))

    def uses_background(self, prior: AbstractPrior) -> bool:
        return prior.recipe.forecast_files is not None

    def build(self, problem: Problem, trained: Trained | None) -> Assembly:
        prior = problem.prior
        step: AbstractAnalysisStep
        if isinstance(prior, ChannelsPrior):
            step = ChannelInterpolation(
                PlacedPoints.nowhere(problem.operator.state_shape),
                tuple(
                    local_interpolation(problem, known, self)
                    if number in problem.recipe.observed_channels
                    else None
                    for number, known in enumerate(prior.channels)
                ),
            )
        elif isinstance(prior, FieldsPrior):
            step = station_interpolation(problem, prior, self)
        else:
            assert isinstance(prior, ReportedPrior), "the only other prior that it does not lack"
            step = local_interpolation(problem, prior.reference, self)
        return Assembly.of(prior, step, prior.climatology)

    def search(
        self, grid: AbstractGrid, covariance: SpaceTimeCovariance, sides: tuple[float, ...] = ()
    ) -> Search:
        """Which observations are looked for around a point.

        Arguments:
            sides: of boxes by which dense observations are thinned.
        """
        lengths = np.asarray(covariance.lengths, np.float64)
        finite = lengths[np.isfinite(lengths)]
        spacing = self.spacing
        if spacing is None:
            spacing = usual_spacing(grid, float(finite.min(initial=np.inf)))
        radius = self.reach * float(finite.max(initial=1.0))
        return Search(radius, self.most, speed_of(covariance), sides, spacing=spacing)


def usual_spacing(grid: AbstractGrid, length: float) -> int:
    """Points from one that is interpolated to the next, where none is set.

    Arguments:
        length: the shortest of the covariance, in the grid's unit.
    """
    if grid.size <= LARGE:
        return 1
    side = float(np.mean(grid.areas())) ** (1 / len(grid.shape))
    return int(np.clip(FINE * length / side, 1, WIDEST))


def local_interpolation(
    problem: Problem, known: ReportedReference, method: InterpolationMethod
) -> LocalInterpolation:
    """The interpolation by what was learned from real observations."""
    sides = tuple(float(side) for side in known.sides)
    return _unplaced(
        problem,
        known.climatology,
        LocalCovariance(known.covariance, known.scale, jnp.ones((), jnp.float32)),
        known.errors[2],
        method.search(problem.grid, known.covariance, sides),
    )


def station_interpolation(
    problem: Problem, prior: FieldsPrior, method: InterpolationMethod
) -> StationInterpolation:
    """The interpolation by what was learned from fields, of stations at points of the grid."""
    known, stations = prior.local_covariance, problem.stations
    assert stations is not None, "observations of fields are of stations"
    nothing = jnp.zeros((), jnp.float32)
    search = method.search(problem.grid, known.covariance)
    unplaced = _unplaced(problem, prior.climatology, known, nothing, search)
    return StationInterpolation.of(
        problem.operator,
        unplaced,
        problem.grid,
        stations,
        window_offsets(problem.recipe),
        known.error_factor,
    )


def window_offsets(recipe: Recipe) -> Int[np.ndarray, " row"]:
    """Minutes of the times of a window from the analysis, which is the last."""
    window = recipe.window
    return np.arange(1 - window.times, 1) * duration_to_minutes(window.spacing)


def _unplaced(
    problem: Problem,
    climatology: Climatology,
    known: LocalCovariance,
    shared_sd: Float[Array, ""],
    search: Search,
) -> LocalInterpolation:
    grid = problem.grid
    lattice = None if search.spacing == 1 else lattice_of(grid, search.spacing)
    if lattice is not None:
        inside = lattice.nodes
    else:
        inside = np.flatnonzero(np.ones(grid.size, bool) if grid.mask is None else grid.mask)
    straight = grid.embedded(grid.points()[inside])
    nothing = jnp.zeros((0, straight.shape[1]), jnp.float32)
    return LocalInterpolation(
        operator=PlacedPoints.nowhere(grid.shape),
        climatology=climatology,
        covariance=known.covariance,
        scale=known.scale,
        shared_sd=shared_sd,
        points=jnp.asarray(inside, jnp.int32),
        targets=jnp.asarray(straight, jnp.float32),
        records=nothing,
        minutes=nothing[:, 0],
        platforms=jnp.zeros(0, jnp.int32),
        nearest=jnp.full(
            (grid.size if lattice is None else inside.size, search.most), -1, jnp.int32
        ),
        about_background=problem.recipe.forecast_files is not None,
        wanted=search,
        cells=cells_of(lattice),
    )
