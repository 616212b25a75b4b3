"""Results of long computations outlive the process, and nothing that is damaged is taken."""

import os

import numpy as np
import pytest

from vardax_core.analysis.variational import covariance
from vardax_core.remembered import KEPT, remembered


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VARDAX_CACHE_DIR", str(tmp_path))
    return tmp_path / "computed"


def doubled(number, calls):
    def compute():
        calls.append(number)
        return 2.0 * np.asarray([number]), np.arange(3)

    return remembered("double", [np.asarray([number])], compute)


def test_a_result_is_computed_once_and_read_to_the_bit(cache):
    calls = []
    for _ in range(3):
        twice, counted = doubled(0.1, calls)
        assert twice.tobytes() == (2.0 * np.asarray([0.1])).tobytes()
        np.testing.assert_array_equal(counted, [0, 1, 2])
    doubled(0.2, calls)
    assert calls == [0.1, 0.2]


def test_shape_and_type_belong_to_what_a_result_hangs_on(cache):
    calls = []
    for given in (np.zeros(4), np.zeros((2, 2)), np.zeros(4, np.float32), np.zeros(8, np.float32)):
        remembered("kind", [given], lambda given=given: calls.append(given.shape) or (given,))
    assert len(calls) == 4


@pytest.mark.parametrize("content", [b"", b"PK not a zip", b"\x80\x04N."])
def test_a_damaged_result_is_computed_anew(cache, content):
    calls = []
    doubled(0.1, calls)
    (path,) = cache.rglob("*.npz")
    path.write_bytes(content)
    twice, _ = doubled(0.1, calls)
    assert calls == [0.1, 0.1]
    assert twice[0] == 0.2
    doubled(0.1, calls)
    assert len(calls) == 2


def test_a_part_that_was_lost_within_is_noticed(cache):
    """A bit that turned over in the values fails the checksum of the archive."""
    calls = []
    doubled(0.1, calls)
    (path,) = cache.rglob("*.npz")
    content = bytearray(path.read_bytes())
    at = content.index(np.asarray([0.2]).tobytes())
    content[at] ^= 1
    path.write_bytes(content)
    twice, _ = doubled(0.1, calls)
    assert twice[0] == 0.2
    assert len(calls) == 2


def test_a_folder_that_cannot_be_written_costs_nothing_else(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("VARDAX_CACHE_DIR", str(blocked))
    calls = []
    for _ in range(2):
        assert doubled(0.1, calls)[0][0] == 0.2
    assert len(calls) == 2


def test_the_results_that_were_used_last_are_kept(cache):
    calls = []
    for number in range(KEPT + 3):
        doubled(float(number), calls)
        for age, path in enumerate(sorted(cache.rglob("*.npz"), key=lambda p: p.stat().st_mtime)):
            os.utime(path, ns=(age * 10**9, age * 10**9))
    assert len(list(cache.rglob("*.npz"))) == KEPT
    doubled(float(KEPT + 2), calls)
    assert len(calls) == KEPT + 3
    doubled(0.0, calls)
    assert len(calls) == KEPT + 4


def test_the_axes_of_a_large_covariance_are_remembered(cache, monkeypatch):
    monkeypatch.setattr(covariance, "LARGE", 5)
    root = np.random.default_rng(0).normal(size=(6, 6))
    table = covariance.jnp.asarray(root @ root.T)
    first = covariance.principal_axes(table)
    monkeypatch.setattr(covariance.np.linalg, "eigh", lambda _: pytest.fail("computed again"))
    for a, b in zip(first, covariance.principal_axes(table), strict=True):
        assert a.tobytes() == b.tobytes()
