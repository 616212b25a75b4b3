"""How many threads XLA is given."""

import os

import pytest

from flows.parameters import ExperimentParameters
from flows.threads import fit_threads
from vardax_core.data import load_recipe

SIMULATED = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}


@pytest.mark.parametrize(
    ("dataset", "given", "threads"),
    [
        ("lorenz96", {}, "1"),
        ("era5-t2m-uk", {}, None),
        ("lorenz96", {"PJRT_NPROC": "3"}, "3"),
        ("lorenz96", SIMULATED, "5"),
        ("era5-t2m-uk", SIMULATED, "5"),
        ("lorenz96", SIMULATED | {"PJRT_NPROC": "2"}, "2"),
    ],
)
def test_a_ring_has_one_thread_unless_somebody_says_otherwise(monkeypatch, dataset, given, threads):
    for name in ("PJRT_NPROC", "XLA_FLAGS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    fit_threads(load_recipe(dataset))
    assert os.environ.get("PJRT_NPROC") == threads


def test_every_experiment_is_fitted(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr("flows.parameters.fit_threads", lambda recipe: seen.append(recipe.name))
    ExperimentParameters(dataset="lorenz96", root=tmp_path).experiment()
    assert seen == ["lorenz96"]
