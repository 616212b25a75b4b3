import pytest

from tests.experiments import small
from vardax_core.data import ingest


@pytest.fixture(scope="session")
def observed():
    """The twin's observations and truth."""
    return ingest(small.recipe())


@pytest.fixture(scope="session")
def trained_root(tmp_path_factory):
    """A root whose registry holds the network of the amortized experiment."""
    root = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        small.shorten_training(patch.setattr)
        small.experiment_of(root, "amortized").train(None, lambda *_: None)
    return root


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    small.shorten_segments(monkeypatch.setattr)
    small.shorten_training(monkeypatch.setattr)
