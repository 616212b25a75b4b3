"""Where maps of real observations are made: the axes of a recipe's states, and their mask."""

import contextlib
import hashlib
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Bool

from vardax_core.data.channel_fields import open_fields
from vardax_core.data.channels import stacked
from vardax_core.data.conventions import attributes_of, global_attributes
from vardax_core.data.errors import RecipeError, SourceFormatError, TimeAxisError
from vardax_core.data.fields import on_axes, with_named_axes
from vardax_core.data.masks import STATE_MASK, mask_truth
from vardax_core.data.places import open_place, sha256_of
from vardax_core.data.recipe import Recipe
from vardax_core.data.reported import FieldFiles, GridMask, PriorFields
from vardax_core.data.sources import COORDINATE_ATTRS
from vardax_core.data.streams.files import Found, find_files
from vardax_core.data.streams.numbers import flagged_as
from vardax_core.data.timeaxis import from_minutes, instant_to_minutes
from vardax_core.paths import default_cache_dir, folder_setting


def data_folders(data_dir: pathlib.Path | None = None) -> tuple[pathlib.Path, ...]:
    """The folders that files are looked for in: `VARDAX_DATA_DIR`, several with the separator of
    paths between them, and the cache."""
    if data_dir is not None:
        return (data_dir, default_cache_dir())
    named = os.environ.get("VARDAX_DATA_DIR", "").strip()
    if os.pathsep in named:
        return (*map(pathlib.Path, filter(None, named.split(os.pathsep))), default_cache_dir())
    folder = folder_setting("VARDAX_DATA_DIR")
    return (default_cache_dir(),) if folder is None else (folder, default_cache_dir())


def state_frame(recipe: Recipe, folders: Sequence[pathlib.Path]) -> xr.Dataset:
    """Find the axes of a recipe's states, and which of their points belong to the state.

    Returns:
        A dataset without a time: the coordinates of the recipe's state_dims, with their meaning as
        attributes, and `STATE_MASK` where some points do not belong to the state.

    Raises:
        RecipeError: the recipe says nothing of a grid.
        SourceError: a file that it names cannot be used.
    """
    grid = recipe.grid
    if grid is None and recipe.prior is None:
        raise RecipeError(f"Recipe '{recipe.name}': it says nothing of a grid; give one.")
    if grid is None:
        fields = prior_fields(recipe, folders)
        frame = xr.Dataset(coords={dim: fields[dim] for dim in recipe.state_dims})
        known = np.asarray(stacked(fields, recipe).notnull().any("time"), bool)
        if recipe.channels:
            known = np.asarray(known.all(axis=0))
    else:
        frame = _axes(recipe, folders)
        shape = tuple(frame.sizes[dim] for dim in recipe.state_dims)
        known = np.ones(shape, bool) if grid.mask is None else _mask(grid.mask, recipe, folders)
        if known.shape != shape:
            raise SourceFormatError(
                f"Recipe '{recipe.name}': the mask has {known.shape} points and the grid {shape}; "
                "take both from one file (grid.like), or write a mask on the grid."
            )
    if not known.any():
        raise SourceFormatError(f"Recipe '{recipe.name}': {_no_point(recipe)}")
    frame.attrs = global_attributes(recipe)
    if known.all():
        return frame
    attrs = {
        "long_name": "points that belong to the state",
        "flag_values": [0, 1],
        "flag_meanings": "outside state",
    }
    return frame.assign_coords({STATE_MASK: (recipe.state_dims, known.astype(np.int8), attrs)})


def _no_point(recipe: Recipe) -> str:
    if recipe.grid is not None or recipe.prior is None:
        return "no point of the grid belongs to the state; correct the mask."
    bounds = ", ".join(
        f"{one.name} {one.valid_min:g} to {one.valid_max:g} {one.units}" for one in recipe.variables
    )
    return (
        f"the prior has no values: everything in {[file.name for file in recipe.prior.files]} is "
        f"missing (NaN) or out of bounds ({bounds}); name files with values, or correct the bounds."
    )


def prior_fields(recipe: Recipe, folders: Sequence[pathlib.Path]) -> xr.Dataset:
    """Read the fields that a recipe's methods may learn from, in the order of their times.

    Returns:
        The recipe's variables on (time, *state_dims), float32, NaN where they are missing or out
        of bounds; with the attribute `source_sha256` of all files.

    Raises:
        RecipeError: the recipe names none.
        SourceError: a file cannot be used, or none has a time in the prior's period.
    """
    prior = recipe.prior
    if prior is None:
        raise RecipeError(f"Recipe '{recipe.name}': it names no fields to learn from (prior).")
    parts, found = [], find_files(prior.files, folders)
    for file in found:
        opened = open_fields(file.path, file.name, recipe, prior, default_cache_dir())
        with contextlib.closing(opened):
            part = xr.Dataset(opened.fields).astype(np.float32)
            parts.append(_within(part, prior).load())
        parts[-1] = _at_points_of(parts[0], parts[-1], recipe, file.name)
        file.check_unchanged()
    dataset = xr.concat(parts, "time").sortby("time") if len(parts) > 1 else parts[0]
    if not dataset.sizes["time"]:
        raise TimeAxisError(
            f"Recipe '{recipe.name}': none of the files {[file.name for file in found]} has a time "
            "in the prior's period; correct prior.start and prior.end."
        )
    if (np.diff(dataset["time"].values) == np.timedelta64(0)).any():
        raise TimeAxisError(
            f"Recipe '{recipe.name}': the files of the prior have some times twice; name files "
            "that follow each other."
        )
    dataset = mask_truth(dataset, recipe).drop_encoding()
    for variable in recipe.variables:
        dataset[variable.name].attrs = attributes_of(variable)
    for dim in recipe.state_dims:
        dataset[dim].attrs = COORDINATE_ATTRS.get(dim, dict(dataset[dim].attrs))
    dataset.attrs = global_attributes(recipe) | {"source_sha256": files_sha256(found)}
    return dataset


def _at_points_of(first: xr.Dataset, part: xr.Dataset, recipe: Recipe, name: str) -> xr.Dataset:
    """The fields of a file at the points of those of the first, in their order."""
    placed = part.map(lambda field: on_axes(field, first, recipe.state_dims, name))
    return placed.assign_coords({dim: first[dim] for dim in recipe.state_dims})


def prior_digest(recipe: Recipe, folders: Sequence[pathlib.Path]) -> str:
    """SHA-256 of the files of a recipe's prior; `observed` where there is none."""
    if recipe.prior is None:
        return "observed"
    return files_sha256(find_files(recipe.prior.files, folders))


def files_sha256(found: Sequence[Found]) -> str:
    """SHA-256 of files, whatever folder they are in."""
    digest = hashlib.sha256()
    for file in found:
        own = sha256_of(file.path) if file.path.is_file() else str(file.identity)
        digest.update(f"{file.name}\n{own}\n".encode())
    return digest.hexdigest()


@contextlib.contextmanager
def _opened(file: Found, variable: str) -> Iterator[xr.Dataset]:
    opened = open_place(file.path, default_cache_dir(), variable=variable)
    with contextlib.closing(opened.dataset):
        yield opened.dataset


def _within(fields: xr.Dataset, prior: PriorFields) -> xr.Dataset:
    instants = (
        None if instant is None else from_minutes(np.array([instant_to_minutes(instant)]))[0]
        for instant in (prior.start, prior.end)
    )
    return fields.sel(time=slice(*instants))


def _axes(recipe: Recipe, folders: Sequence[pathlib.Path]) -> xr.Dataset:
    grid = recipe.grid
    assert grid is not None, "asked for with a grid"
    if grid.like is not None:
        field = one_field(grid.like, recipe, folders)
        coords = {dim: (dim, field[dim].values, dict(field[dim].attrs)) for dim in field.dims}
    else:
        coords = {
            dim: (dim, axis.points(), {} if axis.units is None else {"units": axis.units})
            for dim, axis in grid.axes.items()
        }
    for dim, (_, _, attrs) in coords.items():
        if not attrs.get("units"):
            attrs |= COORDINATE_ATTRS.get(str(dim), {})
    return xr.Dataset(coords=coords)


def _mask(
    mask: GridMask, recipe: Recipe, folders: Sequence[pathlib.Path]
) -> Bool[np.ndarray, "*state"]:
    field = one_field(mask, recipe, folders)
    return flagged_as(field.to_numpy(), mask.accept)


def one_field(wanted: FieldFiles, recipe: Recipe, folders: Sequence[pathlib.Path]) -> xr.DataArray:
    """One field of a variable on the recipe's axes, whatever its time and units."""
    file = find_files(wanted.files, folders)[0]
    with _opened(file, wanted.variable) as dataset:
        if wanted.variable not in dataset.data_vars:
            raise SourceFormatError(
                f"{file.name}: there is no variable '{wanted.variable}', only "
                f"{sorted(map(str, dataset.data_vars))}; correct the recipe's grid."
            )
        field = with_named_axes(dataset[wanted.variable], recipe)
        lacking = [dim for dim in recipe.state_dims if dim not in field.dims]
        if lacking:
            raise SourceFormatError(
                f"{file.name}: variable '{wanted.variable}' has the dimensions "
                f"{list(map(str, field.dims))}, expected {list(recipe.state_dims)}; name a "
                "variable on these axes."
            )
        rest = {dim: 0 for dim in field.dims if dim not in recipe.state_dims}
        return field.isel(rest).transpose(*recipe.state_dims).load()
