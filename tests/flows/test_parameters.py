"""The parameters of a run, and what the same run is with another method."""

import pytest

from flows.parameters import ExperimentParameters
from vardax_core.data import load_recipe
from vardax_core.experiments.problem import prior_of
from vardax_core.experiments.settings import available_methods
from vardax_core.methods.registry import method_of


@pytest.mark.parametrize("method", available_methods(load_recipe("lorenz96")))
def test_every_method_can_be_set_beside_a_network_in_half_precision(method, tmp_path):
    chosen = ExperimentParameters(
        dataset="lorenz96", precision="bfloat16", lag=2, root=tmp_path
    ).of_method(method)
    settings = chosen.experiment().settings
    assert settings.method == method
    kind = method_of(method)
    assert settings.precision == ("bfloat16" if kind.half_precision else "float32")
    carried = kind.carries_members(prior_of(chosen.recipe()))
    assert settings.lag == (2 if carried else 0)


def test_half_precision_is_refused_where_a_method_has_no_network(tmp_path):
    chosen = ExperimentParameters(
        dataset="lorenz96", method="etkf", precision="bfloat16", root=tmp_path
    )
    with pytest.raises(ValueError, match="choose float32 or float64"):
        chosen.experiment()
