"""A first recipe from profiles, and from fields at several levels."""

import numpy as np
import pytest
import xarray as xr

from tests.data.station_files import write_fields, write_stations
from vardax_core.data import RecipeError, SourceError, ingest
from vardax_core.data.drafts.write import write_draft
from vardax_core.observations.quality import QUALITY_CONTROL, QualityCode


def drafted(folder, files, **options):
    """The recipe that is drafted from files in a folder."""
    made = write_draft("new", files, data_dir=folder, datasets=folder / "datasets", **options)
    return made.recipe, (made.folder / "recipe.yaml").read_text()


def write_deep(path, column, marks):
    """Stations of which each time has a value for each of the marks, in a column of these."""
    write_stations(path, days=2)
    header, *rows = path.read_text().splitlines()
    deep = [f"{row[:-1]}{n},{mark}" for row in rows for n, mark in enumerate(marks)]
    path.write_text("\n".join([f"{header},{column}", *deep]) + "\n")
    return len(rows)


def test_profiles_are_drafted_with_the_levels_next_to_the_surface(tmp_path):
    number = write_deep(tmp_path / "deep.csv", "PRES", (5, 200))
    write_fields(tmp_path / "maps.nc")
    recipe, text = drafted(tmp_path, ["deep.csv"], prior="maps.nc")
    (stream,) = recipe.streams
    assert (stream.source.columns.value, stream.source.columns.level) == ("temp", "PRES")
    assert stream.source.levels == (5.0, 5.0)
    assert "# open: 2 levels from 5 to 200" in text
    codes = ingest(recipe, data_dir=tmp_path, partly=True).observations[QUALITY_CONTROL]
    used = int(np.isin(codes, (QualityCode.KEPT, QualityCode.WITHHELD)).sum())
    assert 0.8 * number < used <= number

    source = stream.source.model_copy(update={"levels": None})
    streams = (stream.model_copy(update={"source": source}),)
    with pytest.raises(RecipeError, match=r"columns\.level has 2 levels from 5 to 200"):
        ingest(recipe.model_copy(update={"streams": streams}), data_dir=tmp_path, partly=True)


def test_profiles_whose_levels_are_not_found_say_what_to_write(tmp_path):
    write_deep(tmp_path / "deep.csv", "bin", (1, 2))
    with pytest.raises(SourceError, match=r"source\.columns, such as \{\.\.\., platform: NAME"):
        drafted(tmp_path, ["deep.csv"], values=["temp"])


@pytest.mark.parametrize(
    ("levels", "expected"),
    [([-1.0, -0.5, 0.0], 0.0), ([-2.0, -80.0], -2.0), ([0.0, 5.0], 0.0), ([1000.0, 850.0], 1000.0)],
)
def test_fields_below_the_surface_are_taken_at_it(tmp_path, levels, expected):
    write_stations(tmp_path / "stations.csv", days=2)
    write_fields(tmp_path / "one.nc")
    with xr.open_dataset(tmp_path / "one.nc") as data:
        made = xr.concat([data - n for n in range(len(levels))], "z", combine_attrs="override")
        made["t2m"].attrs = data["t2m"].attrs
        made.assign_coords(z=levels).to_netcdf(tmp_path / "maps.nc")
    recipe, _ = drafted(tmp_path, ["stations.csv"], prior="maps.nc")
    assert recipe.prior.select == {"z": expected}
