"""Training batches from arrays, simulators and zarr, and splits by blocks of time."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zarr

from vardax_core.analysis.amortized.checks import BatchValueError
from vardax_core.training.sources import (
    ArraySource,
    SimulatorSource,
    TrainingDataError,
    ZarrSource,
    block_split,
)
from vardax_core.types import Batch1D

pytestmark = pytest.mark.ladder


def make_batch(n):
    values = jnp.arange(float(n))[:, None, None] * jnp.ones((1, 2, 3))
    return Batch1D(input=values, mask=jnp.ones((n, 2, 3)), target=values[:, 0])


@pytest.fixture
def group(tmp_path):
    batch = make_batch(20)
    root = zarr.open_group(str(tmp_path / "pairs.zarr"), mode="w")
    for name, values in (("obs", batch.input), ("present", batch.mask), ("truth", batch.target)):
        array = root.create_array(
            name, shape=values.shape, chunks=(4, *values.shape[1:]), dtype=float
        )
        array[:] = np.asarray(values)
    return tmp_path / "pairs.zarr"


NAMES = {"input": "obs", "mask": "present", "target": "truth"}


def steps_of(source, first, n):
    recipe = source.recipe(first, n)
    rows = [jax.tree.map(lambda a, i=i: a[i], recipe) for i in range(n)]
    return [np.asarray(source.batch(row).target[:, 0]) for row in rows]


def test_an_epoch_shows_every_sample_once():
    source = ArraySource(make_batch(20), batch_size=5, seed=3)
    epoch = np.concatenate(steps_of(source, 0, 4))
    assert sorted(epoch) == list(range(20))
    assert list(epoch) != list(np.concatenate(steps_of(source, 4, 4)))


def test_a_step_has_the_same_batch_however_it_is_reached(group):
    sources = [
        ArraySource(make_batch(20), batch_size=5, seed=3),
        SimulatorSource(
            lambda k: eqx.tree_at(lambda b: b.target, make_batch(5), jax.random.normal(k, (5, 3))),
            jax.random.key(1),
        ),
        ZarrSource(group, NAMES, kind=Batch1D, index=np.arange(20), batch_size=5, seed=3),
    ]
    for source in sources:
        whole = steps_of(source, 0, 6)
        np.testing.assert_array_equal(whole[4:], steps_of(source, 4, 2))


def test_zarr_gives_the_samples_of_its_index_only(group):
    index = np.array([1, 4, 7, 9, 15])
    source = ZarrSource(group, NAMES, kind=Batch1D, index=index, batch_size=2)
    seen = set(np.concatenate(steps_of(source, 0, 6)).astype(int))
    assert seen == set(index)
    whole = source.read(np.array([15, 1, 4]))
    np.testing.assert_array_equal(whole.target[:, 0], [15.0, 1.0, 4.0])
    np.testing.assert_array_equal(whole.input[:, 0], whole.target)


def test_data_that_cannot_be_used_are_refused(group):
    with pytest.raises(TrainingDataError, match="batch_size is 21 with 20"):
        ArraySource(make_batch(20), batch_size=21)
    bad = eqx.tree_at(lambda b: b.target, make_batch(4), jnp.full((4, 3), jnp.inf))
    with pytest.raises(BatchValueError, match="target"):
        ArraySource(bad, batch_size=2)
    with pytest.raises(TrainingDataError, match=r"\['truths'\] are missing.*'truth'"):
        ZarrSource(group, NAMES | {"target": "truths"}, kind=Batch1D, index=np.arange(3))
    with pytest.raises(TrainingDataError, match="batch_size is 256 with 3"):
        ZarrSource(group, NAMES, kind=Batch1D, index=np.arange(3))
    root = zarr.open_group(str(group), mode="r+")
    root["obs"][3] = np.nan
    source = ZarrSource(group, NAMES, kind=Batch1D, index=np.arange(20), batch_size=20)
    with pytest.raises(BatchValueError, match="is nan"):
        source.recipe(0, 1)


def test_parts_of_a_split_are_a_gap_apart():
    parts = block_split(1003, {"train": 0.6, "validation": 0.2, "test": 0.2}, block=50, gap=7)
    owner = np.full(1003, -1)
    for i, index in enumerate(parts.values()):
        assert len(index) > 0.1 * 1003
        assert np.all(owner[index] == -1)
        owner[index] = i
    kept = np.flatnonzero(owner >= 0)
    neighbours = owner[kept[1:]] != owner[kept[:-1]]
    assert np.all(np.diff(kept)[neighbours] > 7)
    again = block_split(1003, {"train": 0.6, "validation": 0.2, "test": 0.2}, block=50, gap=7)
    assert all(np.array_equal(parts[k], again[k]) for k in parts)


def test_splits_that_mean_nothing_are_refused():
    with pytest.raises(TrainingDataError, match=r"sum to 0\.9"):
        block_split(100, {"a": 0.5, "b": 0.4}, block=10, gap=0)
    with pytest.raises(TrainingDataError, match="gap < block"):
        block_split(100, {"a": 0.5, "b": 0.5}, block=10, gap=10)
    with pytest.raises(TrainingDataError, match="fewer than the 2 parts"):
        block_split(9, {"a": 0.5, "b": 0.5}, block=10, gap=0)
