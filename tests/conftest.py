"""Switches on every check that production leaves off, before vardax is imported."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

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
