"""The model registry: whole versions, checked before they are read."""

import json

import equinox as eqx
import jax
import numpy as np
import pytest

from vardax_core.analysis.amortized.heads.regression import RegressionHead
from vardax_core.training.registry import (
    ArchitectureError,
    ModelNameError,
    ModelNotFoundError,
    ModelRegistry,
    RegistryError,
    UnknownFactoryError,
    WeightsChecksumError,
    content_digest,
)

HYPER = {"context_dim": 3, "size": 2, "hidden_dim": 4}


def make_head(context_dim, size, hidden_dim, seed=0):
    key = jax.random.key(seed)
    return RegressionHead(context_dim, (size,), hidden_dim=hidden_dim, key=key)


FACTORIES = {"tests.head": make_head}


def store(registry, seed=5, **metadata):
    return registry.save(
        "twin",
        make_head(**HYPER, seed=seed),
        factory="tests.head",
        hyperparameters=HYPER,
        metadata=metadata,
    )


@pytest.fixture
def registry(tmp_path):
    return ModelRegistry(tmp_path)


def test_what_was_saved_is_loaded(registry):
    saved = store(registry, metrics={"loss": 0.5})
    model, version = registry.load("twin", factories=FACTORIES)
    expected = jax.tree.leaves(eqx.filter(make_head(**HYPER, seed=5), eqx.is_array))
    for got, want in zip(jax.tree.leaves(eqx.filter(model, eqx.is_array)), expected, strict=True):
        np.testing.assert_array_equal(got, want)
    assert version == saved
    assert version.manifest["metadata"] == {"metrics": {"loss": 0.5}}
    assert version.manifest["libraries"]["equinox"] == eqx.__version__


def test_versions_count_up_and_the_latest_is_loaded(registry):
    assert registry.versions("twin") == []
    first, second = store(registry, seed=1), store(registry, seed=2)
    assert [v.version for v in registry.versions("twin")] == [1, 2]
    assert registry.latest("twin") == second
    assert registry.load("twin", 1, factories=FACTORIES)[1] == first


def test_the_same_model_has_the_same_files(registry, tmp_path):
    first = store(registry)
    second = store(ModelRegistry(tmp_path / "other"))
    assert first.path.name == second.path.name
    for name in ("weights.eqx", "manifest.json"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()


def test_models_are_found_by_what_they_were_trained_with(registry):
    digest = content_digest({"steps": 10, "seed": 1})
    assert digest == content_digest({"seed": 1, "steps": 10})
    assert registry.find("twin", training_digest=digest) is None
    saved = store(registry, training_digest=digest)
    store(registry, seed=6, training_digest="other")
    assert registry.find("twin", training_digest=digest) == saved


def test_one_flipped_bit_is_found_before_the_weights_are_read(registry):
    weights = store(registry).path / "weights.eqx"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    built = []
    with pytest.raises(WeightsChecksumError, match=r"expected sha256.*got.*Restore"):
        registry.load("twin", factories={"tests.head": lambda **kw: built.append(kw)})
    assert built == []


def test_weights_swapped_together_with_the_manifest_are_found(registry):
    good, other = store(registry, seed=1), store(registry, seed=2)
    for name in ("weights.eqx", "manifest.json"):
        (good.path / name).write_bytes((other.path / name).read_bytes())
    with pytest.raises(WeightsChecksumError, match=str(good.path)):
        registry.load("twin", 1, factories=FACTORIES)


def test_the_file_cannot_choose_what_is_called(registry):
    saved = store(registry)
    manifest = saved.path / "manifest.json"
    content = json.loads(manifest.read_text()) | {"factory": "os.system"}
    manifest.write_text(json.dumps(content))
    with pytest.raises(UnknownFactoryError, match=r"'os\.system'.*tests\.head"):
        registry.load("twin", factories=FACTORIES)


@pytest.mark.parametrize(
    "factory",
    [
        lambda **kw: make_head(**(kw | {"hidden_dim": 5})),
        lambda **kw: make_head(**kw).network,
        lambda **kw: make_head(**kw).scaling,
        lambda width: make_head(3, 2, width),
    ],
    ids=["wider", "more leaves stored", "fewer leaves", "other arguments"],
)
def test_weights_of_another_architecture_are_refused(registry, factory):
    store(registry)
    with pytest.raises(ArchitectureError, match=r"tests\.head"):
        registry.load("twin", factories={"tests.head": factory})


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", "a\\b"])
def test_names_that_could_be_paths_are_refused(registry, name):
    with pytest.raises(ModelNameError, match="letters, digits"):
        registry.versions(name)


def test_missing_models_and_versions_are_named(registry):
    with pytest.raises(ModelNotFoundError, match="no model 'twin'"):
        registry.load("twin", factories=FACTORIES)
    store(registry)
    with pytest.raises(ModelNotFoundError, match=r"no version 7; it has \[1\]"):
        registry.load("twin", 7, factories=FACTORIES)


def test_metadata_that_is_no_json_leaves_nothing_behind(registry):
    for bad in (float("nan"), object()):
        with pytest.raises(RegistryError, match="JSON values"):
            store(registry, loss=bad)
    assert registry.versions("twin") == []
    assert list(registry.root.glob("twin/*")) == []


def test_a_half_written_version_is_not_a_version(registry, monkeypatch):
    def no_rename(*args):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("os.rename", no_rename)
        with pytest.raises(OSError, match="disk full"):
            store(registry)
    assert registry.versions("twin") == []
    assert store(registry).path.is_dir()
