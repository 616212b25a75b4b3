"""Every deployment's form, filled in as its descriptions say."""

import importlib
import os
from unittest import mock

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect.exceptions import ParameterTypeError

from flows.naming import called
from flows.serve import DEPLOYMENTS
from tests.experiments import small
from tests.support import prefect_server
from vardax_core.data import datasets_dir
from vardax_core.experiments.settings import available_methods
from vardax_core.methods.registry import registered_methods

FILE = yaml.safe_load((DEPLOYMENTS / "prefect.yaml").read_text())
FORMS = {
    made["name"]: made
    for made in FILE["deployments"]
    if not made["name"].startswith("streams")  # backfills submit these
}
DEMONSTRATION = {name for name, made in FORMS.items() if "demonstration" in made.get("tags", [])}
REASON = {"reason": "a test"}


def flow_of(name):
    path, flow = FORMS[name]["entrypoint"].split(":")
    return getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), flow)


def filled(name, **fields):
    """The parameters of a deployment's run, with more of its fields filled in."""
    asked = FORMS[name]["parameters"] | (REASON if name == "hold" else {})
    for field, value in fields.items():
        both = isinstance(value, dict) and field in asked
        asked = asked | {field: asked[field] | value if both else value}
    return flow_of(name).validate_parameters(asked)


def stores_of(name, checked):
    """Every store that a run may write to; none where it is not about an experiment."""
    if "experiment" not in checked:
        return set()
    experiment = checked["experiment"]
    matrix = checked.get("matrix")
    if matrix is not None:
        cases = matrix.cases(experiment)
    else:
        every = name == "everything" and checked["methods"] is None
        methods = available_methods(experiment.recipe()) if every else (experiment.method,)
        cases = [experiment.of_method(method) for method in methods]
    return {str(case.experiment().store_location) for case in cases}


def test_the_demonstration_has_a_store_that_no_other_form_touches():
    own = set().union(*(stores_of(name, filled(name)) for name in DEMONSTRATION))
    assert {"demonstration", "daily", "watch"} == DEMONSTRATION
    assert len(own) == 1
    for name in FORMS.keys() - DEMONSTRATION:
        assert not stores_of(name, filled(name)) & own, name


def properties(schema, of):
    return of["definitions"][schema["$ref"].rpartition("/")[2]]["properties"]


GROUPS = ("experiment", "target", "plan", "matrix", "about", "draft", "what", "period")
"""Fields of a form that hold fields of their own."""


@pytest.mark.parametrize("name", sorted(FORMS))
def test_every_field_that_may_be_empty_can_be(name, monkeypatch, tmp_path):
    """A form sends null, or a text without a letter, for a field that was cleared."""
    monkeypatch.setenv("VARDAX_ROOT", str(tmp_path))
    whole = flow_of(name).parameters.model_dump()
    plain = filled(name)
    for empty in ("", " ", None):
        emptied = {}
        for field, schema in whole["properties"].items():
            if field in GROUPS:
                reference = schema if "$ref" in schema else schema["allOf"][0]
                given = FORMS[name]["parameters"].get(field, {})
                inner = properties(reference, whole)
                emptied[field] = {key: empty for key in inner if key not in given}
            elif empty is None and field not in FORMS[name]["parameters"] | REASON:
                emptied[field] = empty
        checked = filled(name, **emptied)
        assert {k: checked[k] for k in plain} == plain


CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "method": st.sampled_from(list(registered_methods())),
        "station_draw": st.sampled_from([None, 0, 3]),
        "source_path": st.sampled_from(["", "/nonexistent", "s3://bucket/a.nc", "~/a"]),
        "stores": st.sampled_from(["", "~/stores", "s3://bucket/prefix", "gs://bucket/x"]),
        "root": st.sampled_from(["", "~/x", "s3://bucket/x", "here"]),
        "members": st.sampled_from([None, 2, 24, 1]),
        "options": st.sampled_from([{}, {"inflation": 1.02}, {"no": 1}]),
        "seed": st.sampled_from([None, 1, 2**32]),
        "cut_off": st.sampled_from(["", "3h", "PT3H", "soon"]),
        "lag": st.integers(0, 3),
        "precision": st.sampled_from(["bfloat16", "float32"]),
    },
)
PLANS = st.fixed_dictionaries(
    {},
    optional={
        "until": st.sampled_from([None, "2000-02-01", "1999-01-01"]),
        "follow": st.sampled_from(["period", "schedule", "demonstration"]),
        "runner": st.sampled_from(["local", "dask", "pool"]),
        "dask_address": st.sampled_from(["", "tcp://host:8786"]),
        "workers": st.sampled_from([2, 3]),
        "deployment": st.sampled_from(["", "fill/streams-on-gpu"]),
    },
)


@pytest.mark.slow
@given(name=st.sampled_from(sorted(FORMS)), experiment=CHOICES, plan=PLANS)
@settings(max_examples=150, deadline=None)
def test_a_form_is_taken_or_refused_in_words(name, experiment, plan):
    takes = flow_of(name).parameters.properties
    fields = {"experiment": experiment} if "experiment" in takes else {}
    if "plan" in takes:
        fields["plan"] = plan
    elif "target" in takes:
        fields["target"] = {k: v for k, v in plan.items() if k in ("until", "follow")}
    said = refusal_of(name, fields)
    assert said is None or len(said) > 20
    assert "errors.pydantic.dev" not in (said or "")


def refusal_of(name, fields):
    """What a run of a filled form is refused with, or None."""
    try:
        checked = filled(name, **fields)
        stores_of(name, checked)
        for target in {"plan", "target"} & checked.keys():
            checked[target].check(checked["experiment"].recipe())
    except (ParameterTypeError, ValueError) as refused:
        return str(refused)
    return None


@pytest.fixture
def place(tmp_path, monkeypatch):
    with mock.patch.dict(os.environ):
        small.write_recipe(tmp_path / "datasets")
        (tmp_path / "datasets" / "lorenz96").symlink_to(datasets_dir() / "lorenz96")
        os.environ["VARDAX_DATASETS_DIR"] = str(tmp_path / "datasets")
        os.environ["VARDAX_ROOT"] = str(tmp_path / "root")
        small.shorten_segments(monkeypatch.setattr)
        yield tmp_path / "root" / "experiments" / "small"


@pytest.mark.ladder
@pytest.mark.flows
def test_a_report_s_methods_are_set_beside_the_experiment_s_own(place):
    """Also twice, and where one has no cycle and another was not run."""
    made = {
        method: small.experiment_of(place.parents[1], method, steps=3600)
        for method in ("climatology", "oi", "etkf")
    }
    for method, experiment in made.items():
        store = small.ingested_store(experiment)
        if method != "etkf":
            small.catch_up(experiment, store)
    about = {"dataset": "small", "method": "climatology", "members": small.MEMBERS}
    with prefect_server():
        methods = ["oi", "oi", "etkf", "amortized"]
        given = filled("daily", experiment=about, methods=methods, recent_days=1)
        comparison = called(flow_of("daily"), *given.values())
        given = filled("on-gpu", experiment=about | {"seed": 3}, target={"until": "1999-01-01"})
        with pytest.raises(ValueError, match="asked for cycles until 1999-01-01"):
            called(flow_of("on-gpu"), *given.values())
    assert list(comparison.scores) == ["oi", "climatology"]
    assert comparison.left_out == {
        "etkf": "it has no cycle, climatology 30 cycles to 2000-01-08T06:00",
        "amortized": "it was not run",
    }
    assert not (place / "climatology-seed-3").exists()
