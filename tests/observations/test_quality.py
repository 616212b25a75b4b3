import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from vardax_core.observations.quality import (
    QualityCode,
    check_bounds,
    first_guess_check,
    flag_attributes,
)


def test_the_flag_attributes_name_every_code_once():
    attributes = flag_attributes()
    meanings = attributes["flag_meanings"].split()
    assert attributes["flag_values"].dtype == np.int8
    assert dict(zip(meanings, attributes["flag_values"], strict=True)) == {
        "kept": 0,
        "gross_error": 1,
        "outside_domain": 2,
        "duplicate": 3,
        "thinned": 4,
        "blacklisted": 5,
        "failed_operator": 6,
        "first_guess": 7,
        "missing": 8,
        "not_arrived": 9,
        "withheld": 10,
        "superseded": 11,
        "rejected": 12,
    }


@pytest.mark.parametrize("chunked", [False, True])
def test_the_bounds_check_flags_and_keeps_older_codes(chunked):
    values = np.array([200, 340, 199.9, 340.1, np.nan, np.inf, 1e20, 1e20], "float32")
    codes = np.zeros(8, np.int8)
    codes[7] = QualityCode.BLACKLISTED
    data = xr.Dataset(
        {
            "t": ("station", values, {"units": "K"}),
            "quality_control": ("station", codes, flag_attributes()),
        }
    )
    checked = check_bounds(data.chunk() if chunked else data, "t", 200.0, 340.0)
    assert checked["quality_control"].dtype == np.int8
    assert checked["quality_control"].values.tolist() == [0, 0, 1, 1, 8, 8, 1, 5]
    assert np.isnan(checked["t"].values).tolist() == [False] * 4 + [True, True, False, False]
    assert checked["t"].dtype == np.float32
    assert checked["t"].attrs == {"units": "K"}
    assert set(checked["quality_control"].attrs) == set(flag_attributes())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_first_guess_check_rejects_beyond_k_standard_deviations(dtype):
    # sqrt(HBH' + R) = sqrt(9 + 16) = 5, so the limit for k = 3 is 15.
    innovation = jnp.array([15.0, -15.0, 15.01, -15.01, jnp.nan, 0.0, 99.0], dtype)
    mask = jnp.array([True] * 5 + [False] * 2)
    accepted, codes = jax.jit(
        lambda d, m: first_guess_check(d, jnp.full_like(d, 9.0), jnp.full_like(d, 4.0), m, k=3.0)
    )(innovation, mask)
    assert accepted.tolist() == [True, True, False, False, False, False, False]
    assert codes.tolist() == [0, 0, 7, 7, 7, 8, 8]
    assert codes.dtype == jnp.int8
