"""The parameters of a run, and what the same run is with another method."""

import pytest

from flows.parameters import ExperimentParameters
from vardax_core.experiments.settings import Method


@pytest.mark.parametrize("method", Method)
def test_every_method_can_be_set_beside_a_network_in_half_precision(method, tmp_path):
    chosen = ExperimentParameters(
        dataset="lorenz96", precision="bfloat16", lag=2, root=tmp_path
    ).of_method(method)
    settings = chosen.experiment().settings
    assert settings.method is method
    assert settings.precision == ("bfloat16" if method is Method.AMORTIZED else "float32")
    assert settings.lag == (2 if method in (Method.ETKF, Method.AMORTIZED) else 0)


def test_half_precision_is_refused_where_a_method_has_no_network(tmp_path):
    chosen = ExperimentParameters(
        dataset="lorenz96", method="etkf", precision="bfloat16", root=tmp_path
    )
    with pytest.raises(ValueError, match="choose float32 or float64"):
        chosen.experiment()
