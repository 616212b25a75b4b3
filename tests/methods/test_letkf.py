"""Settings of the LETKF become parts of its analysis."""

import pytest

from tests.methods import runs
from vardax_core.analysis.ensemble.inflation import (
    RelaxationToPriorPerturbations,
    RelaxationToPriorSpread,
)
from vardax_core.analysis.ensemble.letkf import LETKF
from vardax_core.data.space import simulated_grid
from vardax_core.experiments.problem import prior_of, problem_of
from vardax_core.methods.registry import MethodSettingsError, method_of


def step_of(**options):
    recipe = runs.recipe()
    problem = problem_of(recipe, prior_of(recipe), simulated_grid(recipe), 12)
    return method_of("letkf", options).build(problem, None).step


def test_settings_become_parts_of_the_step():
    outer = step_of(spacing=3, rtps=0.2, rtpp=0.5, adaptive=0.05)
    assert isinstance(outer, RelaxationToPriorSpread)
    assert outer.weight == 0.2
    assert isinstance(outer.step, RelaxationToPriorPerturbations)
    assert outer.step.weight == 0.5
    inner = outer.step.step
    assert isinstance(inner, LETKF)
    assert inner.uncertainty == 0.05
    assert inner.network.spacing == 3
    assert inner.network.indices.shape[0] == 4


def test_a_setting_that_cannot_be_is_refused():
    for bad in ({"spacing": 0}, {"rtps": 1.5}, {"rtpp": -0.1}, {"across": 2}, {"adaptive": -1}):
        with pytest.raises(MethodSettingsError, match=next(iter(bad))):
            method_of("letkf", bad)
