"""Copies of one data set in every format and place give the same observations."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import boto3
import icechunk
import numpy as np
import pytest
import xarray as xr
import zarr
from moto.server import ThreadedMotoServer

from tests.support import real_data_dir
from vardax_core.data import (
    SourceFormatError,
    SourceNotFoundError,
    SourceReplacedError,
    ingest,
    load_recipe,
    open_nature_run,
)
from vardax_core.data.places import content_sha256, open_place
from vardax_core.experiments.assimilate import Assimilation, pending_cycles
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import ExperimentSettings
from vardax_core.store import content_digest

RECIPE = load_recipe("era5-t2m-uk")
GRIB = "era5-2mt-2019-03-uk.grib"


class Files(SimpleHTTPRequestHandler):
    """A web server that keeps no log."""

    def log_message(self, *arguments):
        """Nothing."""


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """The GRIB file and copies of it: NetCDF, zarr of both versions, icechunk, S3."""
    folder = tmp_path_factory.mktemp("copies")
    grib = real_data_dir() / GRIB
    dataset = open_place(grib, folder).dataset[["t2m"]].load().drop_encoding()
    dataset = dataset.drop_vars([c for c in dataset.coords if c not in dataset.dims])
    places = {"grib": grib, "netcdf": folder / "copy.nc", "icechunk": folder / "ice"}
    dataset.to_netcdf(places["netcdf"])
    for version in (2, 3):
        places[f"zarr{version}"] = folder / f"v{version}.zarr"
        dataset.to_zarr(places[f"zarr{version}"], zarr_format=version, consolidated=False)
    storage = icechunk.local_filesystem_storage(str(places["icechunk"]))
    session = icechunk.Repository.create(storage).writable_session("main")
    dataset.to_zarr(session.store, zarr_format=3, consolidated=False)
    session.commit("copy")

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="copies")
        client.upload_file(str(places["netcdf"]), "copies", "weather/copy.nc")
        for path in places["zarr3"].rglob("*"):
            if path.is_file():
                key = f"weather/{path.relative_to(folder)}"
                client.upload_file(str(path), "copies", key)
        places["s3-netcdf"] = "s3://copies/weather/copy.nc"
        places["s3-zarr"] = "s3://copies/weather/v3.zarr"
        files = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(folder)))
        threading.Thread(target=files.serve_forever, daemon=True).start()
        # A plain web server lists nothing, so the metadata must be in one place.
        zarr.consolidate_metadata(places["zarr2"])
        places["http-zarr"] = f"http://127.0.0.1:{files.server_port}/v2.zarr"
        yield places
        files.shutdown()
    server.stop()


NAMES = ["grib", "netcdf", "zarr2", "zarr3", "icechunk", "s3-netcdf", "s3-zarr", "http-zarr"]


@pytest.fixture(scope="module")
def one(copies, tmp_path_factory):
    """What the GRIB file gives."""
    cache = tmp_path_factory.mktemp("cache")
    return open_nature_run(RECIPE, path=copies["grib"], cache_dir=cache)


@pytest.mark.parametrize("name", NAMES[1:])
def test_every_copy_reads_the_same_and_lazily(copies, one, tmp_path, name):
    other = open_nature_run(RECIPE, path=copies[name], cache_dir=tmp_path)
    assert other["t2m"].chunks is not None
    assert one.attrs["source_sha256"] == other.attrs["source_sha256"]
    some = {"time": slice(100, 103)}
    xr.testing.assert_identical(one["t2m"].isel(some).load(), other["t2m"].isel(some).load())


def cycled(root, place):
    """Two segments of a method that learns nothing but hourly means."""
    settings = ExperimentSettings(method="climatology", members=4)
    made = Experiment(RECIPE, settings, root)
    learned = ingest(
        RECIPE,
        start=RECIPE.training.start,
        end=RECIPE.training.end,
        path=place,
        cache_dir=root,
    ).nature_run
    made.train(learned, lambda *_: None)
    ingested = ingest(RECIPE, start=RECIPE.period.start, path=place, cache_dir=root)
    store = made.create_store(ingested)
    made.append_observations(store, ingested)
    times = pending_cycles(made, store, np.datetime64("2019-03-23T00"))
    list(Assimilation(made, store, made.prepare(store)).run(times))
    return content_digest(store)


@pytest.mark.ladder
def test_the_recipe_cycled_from_any_copy_gives_the_same_store(copies, tmp_path):
    digests = {name: cycled(tmp_path / name, copies[name]) for name in NAMES}
    assert len(set(digests.values())) == 1, digests


@pytest.mark.slow
def test_the_recipe_cycled_from_grib_and_s3_gives_the_same_store(copies, tmp_path):
    digests = {cycled(tmp_path / name, copies[name]) for name in ("grib", "s3-zarr")}
    assert len(digests) == 1


def test_places_without_data_are_refused(copies, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.zarr").mkdir()
    (tmp_path / "broken.zarr" / "zarr.json").write_text("{")
    for place, error, says in (
        (tmp_path / "none.nc", SourceNotFoundError, "correct the path"),
        ("s3://copies/weather/none.nc", SourceNotFoundError, "correct the URL"),
        (tmp_path / "empty", SourceFormatError, "neither a zarr nor an icechunk directory"),
        (tmp_path / "broken.zarr", SourceFormatError, "cannot be read with zarr"),
        ("ftp://host/file.nc", SourceFormatError, "ftp://host/file.nc"),
    ):
        with pytest.raises(error, match=says):
            open_nature_run(RECIPE, path=place, cache_dir=tmp_path)


def test_a_file_that_is_replaced_while_it_is_read_is_refused(copies, tmp_path, monkeypatch):
    path = tmp_path / "given.nc"
    path.write_bytes(copies["netcdf"].read_bytes())
    load = xr.Dataset.load

    def replaced_meanwhile(self, **keywords):
        loaded = load(self, **keywords)
        path.write_bytes(copies["netcdf"].read_bytes())
        return loaded

    monkeypatch.setattr(xr.Dataset, "load", replaced_meanwhile)
    with pytest.raises(SourceReplacedError, match=r"given\.nc: .* while it was read"):
        ingest(RECIPE, start=RECIPE.period.start, path=path)


def test_the_digest_of_a_field_sees_values_and_coordinates_and_no_format():
    field = xr.DataArray(
        np.arange(6.0).reshape(2, 3),
        dims=("time", "x"),
        coords={"time": np.array(["2000-01-01", "2000-01-02"], "M8[ns]"), "x": [1.0, 2.0, 3.0]},
    )
    digest = content_sha256(field)
    assert content_sha256(field.astype("float32").chunk(time=1)) == digest
    changed = [field + 1, field.assign_coords(x=[1.0, 2.0, 4.0])]
    assert digest not in {content_sha256(each) for each in changed}
