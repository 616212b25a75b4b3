"""Switches on every check that production leaves off, before vardax is imported."""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Programs here run for milliseconds and would compile for seconds.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Equal programs are compiled once for all workers and for the processes that tests start.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

import jax
from jaxtyping import install_import_hook

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

_hook = install_import_hook("vardax_core", "beartype.beartype")

import pytest


@pytest.fixture
def key():
    return jax.random.key(0)


def pytest_collection_modifyitems(items):
    """The longest tests first, so that no worker is left alone with them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("flows") is None)


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Compiled programs of earlier modules would fill the memory."""
    yield
    jax.clear_caches()
