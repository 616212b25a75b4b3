"""Bad recipes, files, arrays and parameters: each ends in its named error, and nothing is lost."""

import copy

import numpy as np
import pytest
import xarray as xr

from tests.experiments import small
from tests.store import twin
from vardax_core.cycling.streams import StreamPlanError, cut_streams
from vardax_core.data import (
    PeriodError,
    RecipeError,
    SourceError,
    SourceFormatError,
    SourceNotFoundError,
    TimeAxisError,
    UnitsError,
    ingest,
)
from vardax_core.data.recipe import validate_recipe
from vardax_core.experiments.settings import ExperimentSettings
from vardax_core.observations.quality import QualityCode
from vardax_core.store import (
    BranchError,
    LocationError,
    OverwriteError,
    RetentionError,
    SnapshotNotFoundError,
    StoreNotFoundError,
    StructureError,
    content_digest,
    location_of,
    thin,
)

TIMES = np.datetime64("2019-03-01T00", "ns") + np.arange(9) * np.timedelta64(1, "h")


def put(*path_and_value):
    *path, last, value = path_and_value

    def change(values):
        for key in path:
            values = values[key]
        values[last] = value

    return change


def drop(*path):
    def change(values):
        for key in path[:-1]:
            values = values[key]
        del values[path[-1]]

    return change


RECIPES = {
    "no name": drop("name"),
    "name with a slash": put("name", "a/b"),
    "unknown key": put("burnin", 3),
    "unknown key below": put("variable", "unit", "K"),
    "no units": put("variable", "units", ""),
    "bounds the wrong way": put("variable", "valid_min", 99.0),
    "bound that is no number": put("variable", "valid_max", float("nan")),
    "period that ends before it begins": put("period", "end", "1999-01-01T00:00:00Z"),
    "period that holds no whole number of cycles": put("period", "end", "2000-01-08T05:00:00Z"),
    "instant with seconds": put("period", "start", "2000-01-01T00:00:01Z"),
    "cycle of no length": put("cycle_interval", "0h"),
    "cycle of negative length": put("cycle_interval", "-6h"),
    "duration in no unit": put("cycle_interval", "six hours"),
    "window longer than the cycle": put("window", {"times": 3, "spacing": "6h"}),
    "window without a time": put("window", "times", 0),
    "cycle that is no multiple of observations": put("observation", "interval", "4h"),
    "negative burn-in": put("burn_in", -1),
    "error of zero": put("observation", "error_sd", 0.0),
    "negative seed": put("observation", "seed", -1),
    "source of an unknown kind": put("source", "kind", "ftp"),
    "ring of three variables": put("source", "size", 3),
    "model that there is not": put("source", "model", "lorenz63"),
    "network of an unknown kind": put("network", {"kind": "satellite"}),
    "state of two dimensions for a ring": put("state_dims", ["y", "x"]),
    "list for a mapping": put("variable", ["x"]),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_bad_recipe_is_refused_with_the_key_at_fault(name):
    values = copy.deepcopy(small.recipe().model_dump(mode="json"))
    RECIPES[name](values)
    with pytest.raises(RecipeError, match=r"here: not a valid recipe\.\n  .+"):
        validate_recipe(values, "here")


def field():
    coordinates = {"time": TIMES, "latitude": [58.0, 57.5], "longitude": [0.0, 0.5, 1.0]}
    values = np.full((9, 2, 3), 280.0)
    return xr.Dataset({"t2m": (tuple(coordinates), values, {"units": "K"})}, coordinates)


def field_recipe():
    values = small.recipe().model_dump(mode="json")
    values |= {
        "state_dims": ["latitude", "longitude"],
        "variable": values["variable"]
        | {"name": "t2m", "units": "K", "valid_min": 200.0, "valid_max": 340.0},
        "period": {"start": "2019-03-01T00:00:00Z", "end": "2019-03-01T06:00:00Z"},
        "observation": values["observation"] | {"interval": "1h"},
        "source": {
            "kind": "file",
            "variable": "t2m",
            "files": [{"name": "none.nc", "sha256": "0" * 64}],
        },
    }
    return validate_recipe(values, "field")


def celsius(data):
    data["t2m"].attrs["units"] = "degC"


def no_units(data):
    del data["t2m"].attrs["units"]


FILES = {
    "empty file": (lambda p: p.write_bytes(b""), SourceFormatError, "neither GRIB nor NetCDF"),
    "text": (lambda p: p.write_text("hello"), SourceFormatError, "neither GRIB nor NetCDF"),
    "beginning of a GRIB": (
        lambda p: p.write_bytes(b"GRIB" + bytes(50)),
        SourceFormatError,
        "damaged",
    ),
    "beginning of an HDF": (
        lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n"),
        SourceFormatError,
        "damaged",
    ),
    "half of a file": (
        lambda p: (field().to_netcdf(p), p.write_bytes(p.read_bytes()[: p.stat().st_size // 2])),
        SourceError,
        "damaged",
    ),
    "nothing": (lambda p: None, SourceNotFoundError, "correct the path"),
    "empty directory": (lambda p: p.mkdir(), SourceFormatError, "neither a zarr nor an icechunk"),
    "another variable": (
        lambda p: field().rename(t2m="d2m").to_netcdf(p),
        SourceFormatError,
        r"no variable 't2m', only \['d2m'\]",
    ),
    "degrees Celsius": (
        lambda p: field().pipe(lambda d: (celsius(d), d)[1]).to_netcdf(p),
        UnitsError,
        "'degC', expected 'K'",
    ),
    "no units": (
        lambda p: field().pipe(lambda d: (no_units(d), d)[1]).to_netcdf(p),
        UnitsError,
        "no units attribute",
    ),
    "no time axis": (
        lambda p: field().isel(time=0, drop=True).to_netcdf(p),
        TimeAxisError,
        "no time axis",
    ),
    "times out of order": (
        lambda p: field().isel(time=[0, 2, 1, 3, 4, 5, 6, 7]).to_netcdf(p),
        TimeAxisError,
        "not in time order",
    ),
    "a time twice": (
        lambda p: field().isel(time=[0, 1, 1, 2, 3, 4, 5, 6]).to_netcdf(p),
        TimeAxisError,
        "holds a time twice",
    ),
    "times that are numbers": (
        lambda p: field().assign_coords(time=np.arange(9)).to_netcdf(p),
        TimeAxisError,
        "does not decode",
    ),
    "one dimension too many": (
        lambda p: field().expand_dims(level=[1, 2]).to_netcdf(p),
        SourceFormatError,
        "select one of each level",
    ),
    "no coordinates": (
        lambda p: field().drop_vars("latitude").to_netcdf(p),
        SourceFormatError,
        "each with a coordinate",
    ),
    "another period": (
        lambda p: field().isel(time=slice(2, None)).to_netcdf(p),
        PeriodError,
        "covers 2019-03-01T02:00",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_refused_by_name(tmp_path, name):
    make, error, says = FILES[name]
    path = tmp_path / "given.nc"
    make(path)
    with pytest.raises(error, match=says):
        ingest(field_recipe(), path=path)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (np.nan, QualityCode.MISSING),
        (np.inf, QualityCode.MISSING),
        (999.0, QualityCode.GROSS_ERROR),
    ],
)
def test_a_bad_value_gets_its_code_and_the_rest_is_kept(tmp_path, value, code):
    data = field()
    data["t2m"][3, 1, 1] = value
    data.to_netcdf(tmp_path / "given.nc")
    quality = ingest(field_recipe(), path=tmp_path / "given.nc").observations["quality_control"]
    assert (quality != QualityCode.KEPT).sum() == 1
    assert quality.values[3, 4] == code


def unsorted(groups, times):
    times[:] = times[::-1].copy()


def cut(group, variable, edit):
    def fault(groups, times):
        groups[group][variable] = edit(groups[group][variable])

    return fault


ARRAYS = {
    "a variable too few": (lambda g, t: g["analysis"].pop("t2m_mean"), StructureError),
    "a variable too many": (lambda g, t: g["analysis"].update(a=np.zeros(4)), StructureError),
    "another precision": (cut("background", "t2m", np.float64), StructureError),
    "a member too few": (cut("background", "t2m", lambda x: x[:, 1:]), StructureError),
    "a cycle too few": (cut("diagnostics", "chi2", lambda x: x[1:]), StructureError),
    "an axis too many": (cut("analysis", "t2m", lambda x: x[..., None]), StructureError),
    "times out of order": (unsorted, OverwriteError),
    "a time twice": (lambda g, t: t.__setitem__(2, t[1]), OverwriteError),
    "times that are stored": (lambda g, t: t.__isub__(twin.STEP), OverwriteError),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made = twin.create(tmp_path_factory.mktemp("corpus") / "store")
    with made.writer() as writer:
        twin.append(writer, 0, 4)
    return made


@pytest.mark.parametrize("name", ARRAYS)
def test_bad_arrays_are_refused_and_the_store_keeps_its_content(store, name):
    fault, error = ARRAYS[name]
    before = content_digest(store)
    groups, times, state = twin.segment(4, 8)
    fault(groups, times)
    with store.writer() as writer, pytest.raises(error):
        writer.append(groups, times, state=state, metadata={})
    assert content_digest(store) == before


PARAMETERS = {
    "one member": (lambda s: ExperimentSettings(method="oi", members=1), ValueError),
    "negative seed": (lambda s: ExperimentSettings(method="oi", seed=-1), ValueError),
    "inflation of zero": (
        lambda s: ExperimentSettings(method="etkf", options={"inflation": 0.0}),
        ValueError,
    ),
    "method that there is not": (lambda s: ExperimentSettings(method="magic"), ValueError),
    "option that there is not": (
        lambda s: ExperimentSettings(method="oi", options={"inflation": 1.0}),
        ValueError,
    ),
    "unknown setting": (lambda s: ExperimentSettings(method="oi", member=24), ValueError),
    "no streams": (lambda s: cut_streams(0, 9, streams=0, overlap=1), StreamPlanError),
    "more streams than cycles": (
        lambda s: cut_streams(0, 9, streams=9, overlap=1),
        StreamPlanError,
    ),
    "URL of another service": (lambda s: location_of("gs://bucket/a"), LocationError),
    "store that is nowhere": (lambda s: type(s).open(s.path / "no"), StoreNotFoundError),
    "snapshot that is none": (
        lambda s: s.dataset("analysis", as_of="X" * 20),
        SnapshotNotFoundError,
    ),
    "instant before the store": (lambda s: s.snapshot_of("1999-01-01"), SnapshotNotFoundError),
    "branch that is none": (lambda s: s.on_branch("none"), BranchError),
    "thinning of everything": (
        lambda s: thin(s, np.datetime64("2100-01-01"), members=1),
        RetentionError,
    ),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_bad_parameters_are_refused_and_the_store_keeps_its_content(store, name):
    call, error = PARAMETERS[name]
    before = content_digest(store)
    with pytest.raises(error):
        call(store)
    assert content_digest(store) == before


def test_the_corpus_is_as_large_as_it_is_meant_to_be():
    assert len(RECIPES) + len(FILES) + 3 + len(ARRAYS) + len(PARAMETERS) >= 60
