"""Switches on every check that production leaves off, before vardax is imported."""

import gc
import importlib
import importlib.metadata
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Programs here run for milliseconds and would compile for seconds.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# The lines of source that every operation came from take a tenth of the time of a compilation.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
# As every command does for the small states of these tests: other threads, other last bits.
os.environ.setdefault("PJRT_NPROC", "1")
# XLA stops at a flag that it does not know, so the version must be one that has it.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    flags = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ.setdefault("XLA_FLAGS", flags)
# Equal programs are compiled once for all workers and for the processes that tests start.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

# Those that tests start, and the next run, need not compile what this one has compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

import jax

# It sets up logging, which closes streams that other libraries were given before.
import prefect.main  # noqa: F401
from jaxtyping import install_import_hook

# What is first imported while the hook imports a module has no bytecode of its own.
for name in ("dask.array", "diffrax", "flowjax", "matplotlib.pyplot", "optax", "pandera.xarray"):
    importlib.import_module(name)
for name in ("pydantic", "scipy.optimize", "scipy.stats", "xarray", "zarr", "icechunk", "netCDF4"):
    importlib.import_module(name)

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

if jax.__version__.startswith("0.10."):
    from tests import contexts

    contexts.share()

_hook = install_import_hook("vardax_core", "beartype.beartype")

import psutil
import pytest


@pytest.fixture
def key():
    return jax.random.key(0)


def pytest_collection_modifyitems(items):
    """The longest tests first, so that no worker is left alone with them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("flows") is None)


def pytest_collection_finish():
    """Modules and tests stay to the end, so that no collection of garbage need look at them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


_forgotten_at = 0.0


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Compiled programs of many modules would fill the memory."""
    yield
    global _forgotten_at
    held = psutil.Process().memory_info().rss
    short = psutil.virtual_memory().available < 4e9
    if held > 2.5e9 and (short or held > _forgotten_at + 5e8):
        jax.clear_caches()
        _forgotten_at = psutil.Process().memory_info().rss
