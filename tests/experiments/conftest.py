import tempfile

import jax
import pytest

from tests.experiments import small
from vardax_core.data import ingest
from vardax_core.experiments.settings import Method

# Every `Assimilation` compiles its own segment; with this, equal programs are compiled once.
_compiled = tempfile.TemporaryDirectory(prefix="vardax-compiled-")
if jax.config.jax_compilation_cache_dir is None:
    jax.config.update("jax_compilation_cache_dir", _compiled.name)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture(scope="session")
def observed():
    """The twin's observations and truth."""
    return ingest(small.recipe())


@pytest.fixture(scope="session")
def trained_root(tmp_path_factory):
    """A root whose registry holds the network of the amortized experiment."""
    root = tmp_path_factory.mktemp("trained")
    small.experiment_of(root, Method.AMORTIZED).train(None, lambda *_: None)
    return root


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch):
    small.shorten_segments(monkeypatch.setattr)
