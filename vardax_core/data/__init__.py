"""Recipes of data sets, and the way from a recipe to validated observations."""

from vardax_core.data.catalogue import (
    datasets_dir,
    list_recipes,
    load_recipe,
    named_by,
    read_recipe,
    recipe_file,
)
from vardax_core.data.contracts import nature_run_schema, observations_schema, validate
from vardax_core.data.errors import (
    ChecksumError,
    ContractError,
    PeriodError,
    RecipeError,
    SourceError,
    SourceFormatError,
    SourceNotFoundError,
    SourceReplacedError,
    SourceUnreachableError,
    TimeAxisError,
    UnitsError,
)
from vardax_core.data.ingest import Ingested, ingest
from vardax_core.data.masks import mask_truth
from vardax_core.data.recipe import Recipe, validate_recipe
from vardax_core.data.sources import locate, open_nature_run
from vardax_core.data.timeaxis import from_minutes, instant_to_minutes, to_minutes
from vardax_core.data.twin import draw_network, observe, simulate_nature_run, twin_model
from vardax_core.data.window import cycle_times, windows

__all__ = [
    "ChecksumError",
    "ContractError",
    "Ingested",
    "PeriodError",
    "Recipe",
    "RecipeError",
    "SourceError",
    "SourceFormatError",
    "SourceNotFoundError",
    "SourceReplacedError",
    "SourceUnreachableError",
    "TimeAxisError",
    "UnitsError",
    "cycle_times",
    "datasets_dir",
    "draw_network",
    "from_minutes",
    "ingest",
    "instant_to_minutes",
    "list_recipes",
    "load_recipe",
    "locate",
    "mask_truth",
    "named_by",
    "nature_run_schema",
    "observations_schema",
    "observe",
    "open_nature_run",
    "read_recipe",
    "recipe_file",
    "simulate_nature_run",
    "to_minutes",
    "twin_model",
    "validate",
    "validate_recipe",
    "windows",
]
