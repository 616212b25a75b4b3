"""A run from a notebook is that of the command line."""

import os
from unittest import mock

import pytest

import vardax_core as vardax
from tests.experiments import small
from tests.support import prefect_server

pytestmark = [pytest.mark.slow, pytest.mark.flows]


def test_a_recipe_is_run_and_opened(tmp_path, monkeypatch):
    small.write_recipe(tmp_path / "own")
    small.shorten_segments(monkeypatch.setattr)
    recipe = tmp_path / "own" / "small" / "recipe.yaml"
    asked = {"method": "etkf", "members": 6, "until": "2000-01-03T18", "root": tmp_path / "root"}
    with mock.patch.dict(os.environ), prefect_server():
        tree = vardax.run(recipe, **asked, options={"inflation": 1.1})
        assert tree["analysis"].sizes["time"] == 12
        assert tree.attrs["experiment"] == "small/etkf-inflation-1.1"
        again = vardax.run(recipe, **asked, options={"inflation": 1.1})
        assert again.attrs == tree.attrs
        with pytest.raises(ValueError, match="there is no method 'letfk'; did you mean 'letkf'"):
            vardax.run(recipe, **(asked | {"method": "letfk"}))
        with pytest.raises(ValueError, match="until: expected an analysis time such as"):
            vardax.run(recipe, **(asked | {"until": "noon"}))
