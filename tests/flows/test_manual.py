"""The manual page of every deployment, choices of forms, and what a failed run says."""

import pytest
import yaml
from jsonschema import Draft202012Validator

from flows.failures import failure_page, split
from flows.forms import BASIC, PARTS, as_in_form, manual, page, with_advanced, with_data_sets
from flows.serve import DEPLOYMENTS
from flows.start_page import start_page
from flows.training_page import Course, training_page
from tests.browser import made

FILE = yaml.safe_load((DEPLOYMENTS / "prefect.yaml").read_text())
SAID = manual()


@pytest.mark.parametrize("one", FILE["deployments"], ids=lambda one: one["name"])
def test_every_deployment_has_a_manual_page_with_every_part(one):
    flow = one["entrypoint"].rpartition(":")[2]
    text = page(one["description"], flow, one["name"], SAID)
    assert text.startswith(one["description"].strip())
    for part in PARTS[1:]:
        assert text.count(f"**{part}**") == 1
    assert "\n- *" in text
    for cron in one.get("schedules", ()):
        assert one["name"] in SAID["when"], cron
    # Written again, as every start of the service does, it stays as it is.
    assert page(text, flow, one["name"], SAID) == text


def test_the_manual_is_about_deployments_that_are_there():
    names = {one["name"] for one in FILE["deployments"]}
    flows = {one["entrypoint"].rpartition(":")[2] for one in FILE["deployments"]}
    assert set(SAID["when"]) <= names
    assert set(SAID["flows"]) == flows


def test_a_form_offers_the_data_sets_that_are_there():
    from flows.backfill import backfill

    schema = backfill.parameters.model_dump()
    found = with_data_sets(schema, ["ring", "sea"])
    assert found["definitions"]["ExperimentParameters"]["properties"]["dataset"]["enum"] == [
        "ring",
        "sea",
    ]
    assert "enum" not in schema["definitions"]["ExperimentParameters"]["properties"]["dataset"]
    described = [
        field.get("description")
        for form in found["definitions"].values()
        for field in form.get("properties", {}).values()
    ]
    assert all(described)


@pytest.mark.parametrize(
    ("flow", "message", "kind", "repair"),
    [
        (
            "assimilate",
            "Flow run encountered an exception: UnprovenModelError: no report of x passed.",
            "UnprovenModelError",
            "validate/validate",
        ),
        (
            "backfill",
            "Flow run encountered an exception: vardax_core.data.errors.PeriodError: until 1999",
            "PeriodError",
            "Choose one that the message names",
        ),
        (
            "report",
            "Flow run encountered an exception: RecipeError: Unknown data set 'x'.",
            "RecipeError",
            "run it again",
        ),
        (
            "validate",
            "Flow run encountered an exception: UnprovenModelError: x did not pass: coordinates.",
            "UnprovenModelError",
            "validate again",
        ),
        ("report", "something else", "", "Nobody expected this"),
        (
            "report",
            "Flow run encountered an exception: NameError: name 'x' is not defined",
            "NameError",
            "Nobody expected this",
        ),
    ],
)
def test_a_failed_run_says_what_happened_and_what_to_do(flow, message, kind, repair):
    assert split(message)[0] == kind
    text = failure_page(flow, message, "abc")
    assert repair in text
    assert "Traceback" not in text
    assert "Flow run encountered" not in text
    assert "/deployments/deployment/abc/run" in text


def test_the_start_page_links_to_every_experiment(tmp_path):
    made.make(tmp_path, "one-cut-off-3h", shape=(12,), dataset="ring")
    found = start_page("http://127.0.0.1:4200", "http://127.0.0.1:4201", tmp_path)["data"]
    assert "http://127.0.0.1:4201/?dataset=ring&method=one-cut-off-3h" in found
    assert "/artifacts/key/dashboard-ring-one-cut-off-3h" in found
    assert "There is no experiment" in start_page("http://x", None, tmp_path / "none")["data"]


def test_the_page_of_a_training_shows_its_course():
    told = []
    course = Course(lambda *values: told.append(values))
    course(0, 10, {})
    course(0, 10, {"filter": 12.0})
    course(5, 10, {"loss": 3.0})
    course(10, 10, {"loss": 2.0, "spread": 1.0})
    assert len(told) == 4
    assert course.steps == [5, 10]
    assert course.figures["loss"] == [3.0, 2.0]
    text = training_page("Training of x", course, ["It came to its end."], {"version": "0001"})
    assert "| loss | 3.000 | 2.000 | 2.000 |" in text
    assert "It came to its end." in text
    assert "what training lowers" in text
    assert "data:image/png;base64," in text
    assert "data:image" not in training_page("x", Course(lambda *_: None), [], {})


def test_a_form_is_short_and_takes_the_rest_under_advanced_or_beside_it():
    from flows import parameters
    from flows.backfill import backfill

    for model, names in BASIC.items():
        assert set(names) < set(getattr(parameters, model).model_fields)
    whole = backfill.parameters.model_dump()
    schema = with_advanced(whole)
    assert with_advanced(schema) == schema
    shown = schema["definitions"]["BackfillParameters"]["properties"]
    assert [*shown] == ["until", "dry_run", "streams", "advanced"]
    flat = {"experiment": {"dataset": "lorenz96", "cut_off": "3h"}, "plan": {"overlap": 30}}
    apart = as_in_form(flat, schema)
    assert apart == {
        "experiment": {"dataset": "lorenz96", "advanced": {"cut_off": "3h"}},
        "plan": {"advanced": {"overlap": 30}},
    }
    assert as_in_form(apart, schema) == apart
    checker = Draft202012Validator(schema)
    for given in (flat, apart):
        assert checker.is_valid(given)
        checked = backfill.validate_parameters(given)
        assert (checked["experiment"].cut_off.days, checked["plan"].overlap) == (0, 30)
    for wrong in (flat | {"more": 1}, {"experiment": {"dataset": "lorenz96", "membrs": 3}}):
        assert not checker.is_valid(wrong)
    emptied = {"experiment": {"dataset": "lorenz96", "advanced": None}}
    assert backfill.validate_parameters(emptied)["plan"].overlap == 200
