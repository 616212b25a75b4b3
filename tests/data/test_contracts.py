import numpy as np
import pytest

from tests.support import real_data_dir
from vardax_core.data import (
    ContractError,
    ingest,
    load_recipe,
    nature_run_schema,
    observations_schema,
    validate,
)
from vardax_core.observations.quality import QualityCode

RECIPE = load_recipe("era5-t2m-uk")


@pytest.fixture(scope="module")
def ingested():
    return ingest(RECIPE, path=real_data_dir() / "era5_t2m_uk_2019-03.nc")


def wild_value(data):
    data["t2m"][3, 4] = 1e20
    return data


def kept_nan(data):
    data["t2m"][3, 4] = np.nan
    return data


def unknown_code(data):
    data["quality_control"][3, 4] = 99
    return data


def error_of_zero(data):
    data["t2m_error"][3, 4] = 0
    return data


def missing_error(data):
    data["t2m_error"][3, 4] = np.nan
    return data


def in_celsius(data):
    data["t2m"].attrs["units"] = "degC"
    return data


def doubled_time(data):
    return data.isel(time=[0, 1, 1, 2])


FAULTS = {
    wild_value: "kept values of t2m must be finite and from 200",
    kept_nan: "kept values of t2m must be finite",
    unknown_code: "quality_control: .*must be a quality code from 0 to 12",
    error_of_zero: "t2m_error: .*must be finite and positive",
    missing_error: "t2m_error",
    in_celsius: "t2m: .*expected 'K', got 'degC'",
    doubled_time: "time: .*must increase strictly",
    lambda d: d.assign(t2m=d["t2m"].astype("float64")): "t2m: .*float32",
    lambda d: d.drop_vars("t2m"): "missing required data_var 't2m'",
    lambda d: d.drop_vars("arrival_time"): "arrival_time",
    lambda d: d.drop_vars("grid_index"): "grid_index",
    lambda d: d.rename(station="place"): "station",
}


@pytest.mark.parametrize("chunked", [False, True], ids=["numpy", "dask"])
@pytest.mark.parametrize(("fault", "told"), FAULTS.items())
def test_observations_at_fault_are_refused_in_memory_and_in_dask(fault, told, chunked, ingested):
    data = fault(ingested.observations.copy(deep=True))
    with pytest.raises(ContractError, match=told):
        validate(data.chunk(time=100) if chunked else data, observations_schema(RECIPE))


@pytest.mark.parametrize("chunked", [False, True], ids=["numpy", "dask"])
def test_a_nature_run_at_fault_is_refused_in_memory_and_in_dask(chunked, ingested):
    data = ingested.nature_run.copy(deep=True)
    validate(data.chunk(time=100) if chunked else data, nature_run_schema(RECIPE))
    data["t2m"][5, 6, 7] = 1e20
    with pytest.raises(ContractError, match="must be NaN or from 200"):
        validate(data.chunk(time=100) if chunked else data, nature_run_schema(RECIPE))


def test_a_rejected_value_may_be_anything(ingested):
    data = wild_value(ingested.observations.copy(deep=True))
    data["quality_control"][3, 4] = QualityCode.GROSS_ERROR
    validate(data, observations_schema(RECIPE))


def test_all_faults_are_listed_at_once_and_shortly(ingested):
    data = in_celsius(ingested.observations.copy(deep=True))
    data["t2m_error"][:] = -1
    data["quality_control"][:] = 77
    with pytest.raises(ContractError) as caught:
        validate(data, observations_schema(RECIPE))
    message = str(caught.value)
    assert message.splitlines() == [
        "The observations dataset breaks its contract:",
        "  t2m: attribute mismatch 'units': expected 'K', got 'degC'",
        "  t2m_error: must be finite and positive",
        "  quality_control: must be a quality code from 0 to 12",
        "Correct the source, or what wrote this dataset.",
    ]
