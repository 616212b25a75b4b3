"""The same store in S3: an S3-compatible server in this process."""

import boto3
import numpy as np
import pytest
import xarray as xr
from moto.server import ThreadedMotoServer

from tests.experiments import small
from tests.store import twin
from vardax_core.experiments.ingesting import take_observations
from vardax_core.store import (
    ExperimentStore,
    LocationError,
    StoreExistsError,
    StoreNotFoundError,
    SupersededError,
    content_digest,
    location_of,
    summarize,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def endpoint():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def url(endpoint, monkeypatch, request):
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket-{abs(hash(request.node.name))}"
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/experiments/twin"


def test_a_store_in_s3_has_the_content_of_a_local_one(url, store):
    with pytest.raises(StoreNotFoundError, match=url):
        ExperimentStore.open(url)
    remote = twin.create(url)
    with pytest.raises(StoreExistsError, match=url):
        twin.create(url)
    for each in (store, remote):
        with each.writer() as writer:
            twin.append(writer, 0, 3)
            twin.append(writer, 3, 8)
    reopened = ExperimentStore.open(url, expected_digest=twin.DIGEST)
    assert content_digest(reopened) == content_digest(store)
    local, far = store.dataset("analysis").load(), reopened.dataset("analysis").load()
    xr.testing.assert_identical(local, far)
    assert summarize(reopened).cycles == 8
    assert summarize(reopened).size_on_disk > 0
    with pytest.raises(LocationError, match="no place for a store"):
        reopened.path  # noqa: B018


def test_of_two_writers_at_once_one_is_superseded(url):
    store = twin.create(url)

    def rival():
        with ExperimentStore.open(url).writer() as writer:
            twin.append(writer, 0, 4)

    with (
        store.writer(before_publish=rival) as writer,
        pytest.raises(SupersededError, match="Nothing was published"),
    ):
        twin.append(writer, 0, 8)
    assert ExperimentStore.open(url).tip().cycles == 4
    with store.writer() as writer:
        assert twin.append(writer, 4, 8).cycles == 8


def test_branches_publish_by_compare_and_swap(url):
    store = twin.create(url)
    store.branches.start("what-if")
    with store.on_branch("what-if").writer() as writer:
        twin.append(writer, 0, 4)
    assert store.tip().cycles == 0
    assert store.branches.publish("what-if").cycles == 4
    np.testing.assert_array_equal(store.state()["cycle"], 4)


def test_observations_lie_beside_an_experiment_there_too(url, tmp_path):
    stores = url.rsplit("/", 1)[0]
    near = small.experiment_of(tmp_path / "near", "climatology")
    far = small.experiment_of(tmp_path / "far", "climatology", stores=stores)
    assert [take_observations(made) for made in (near, far, far)] == [small.CYCLES, small.CYCLES, 0]
    assert str(far.observations_location) == f"{stores}/small/observations"
    assert far.open_store().observations.location == far.observations_location
    assert content_digest(near.open_store()) == content_digest(far.open_store())


def test_places_are_told_apart(tmp_path):
    assert str(location_of("s3://bucket/a/b/")) == "s3://bucket/a/b"
    assert str(location_of("s3://bucket/a").below("b", "c")) == "s3://bucket/a/b/c"
    assert location_of(tmp_path).below("b").directory() == tmp_path / "b"
    for text in ("s3://bucket", "gs://bucket/prefix", "http://host/store"):
        with pytest.raises(LocationError, match=r"s3://bucket/prefix"):
            location_of(text)
