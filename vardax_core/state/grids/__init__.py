"""Grids: where the points of a state are, and everything that is measured between them."""

from vardax_core.state.grids.base import (
    AbstractGrid,
    GridError,
    Neighbours,
    OutsideDomainError,
    PlaceTree,
    Stencil,
    Tiles,
)
from vardax_core.state.grids.curvilinear import Curvilinear
from vardax_core.state.grids.latlon import LatLon
from vardax_core.state.grids.plane import Plane
from vardax_core.state.grids.ring import Ring

__all__ = [
    "AbstractGrid",
    "Curvilinear",
    "GridError",
    "LatLon",
    "Neighbours",
    "OutsideDomainError",
    "PlaceTree",
    "Plane",
    "Ring",
    "Stencil",
    "Tiles",
]
