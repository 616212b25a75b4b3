"""Settings of the LETKF become parts of its analysis."""

import numpy as np
import pytest

from tests.methods import runs
from vardax_core.analysis.ensemble.inflation import (
    RelaxationToPriorPerturbations,
    RelaxationToPriorSpread,
)
from vardax_core.analysis.ensemble.letkf import LETKF
from vardax_core.methods.registry import MethodSettingsError, method_of


def step_of(tmp_path, **options):
    made = runs.experiment(tmp_path, runs.recipe(), "letkf", **options)
    return made.program().step


def test_settings_become_parts_of_the_step(tmp_path):
    outer = step_of(tmp_path, spacing=3, rtps=0.2, rtpp=0.5, adaptive=0.05)
    assert isinstance(outer, RelaxationToPriorSpread)
    assert outer.weight == 0.2
    assert isinstance(outer.step, RelaxationToPriorPerturbations)
    assert outer.step.weight == 0.5
    inner = outer.step.step
    assert isinstance(inner, LETKF)
    assert inner.uncertainty == 0.05
    np.testing.assert_array_equal(inner.network.lattice.nodes, [0, 3, 6, 9])


def test_a_setting_that_cannot_be_is_refused():
    for bad in ({"spacing": 0}, {"rtps": 1.5}, {"rtpp": -0.1}, {"across": 2}, {"adaptive": -1}):
        with pytest.raises(MethodSettingsError, match=next(iter(bad))):
            method_of("letkf", bad)
