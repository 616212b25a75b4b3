"""Trial cycles of real weather: who may go to work after them, and who may not."""

import equinox as eqx
import pytest

from tests.support import real_data_dir
from vardax_core.data import load_recipe
from vardax_core.data.recipe import validate_recipe
from vardax_core.data.timeaxis import duration_to_minutes
from vardax_core.experiments import validation
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import ExperimentSettings, TrainingSettings
from vardax_core.experiments.trial import SIBLING, WEIGHTS, TrialPlan, judge_trial, networks_of
from vardax_core.methods.amortized.method import AmortizedMethod
from vardax_core.training.promotion import UnprovenModelError, promote, require_proven

RECIPE = load_recipe("era5-t2m-uk")
PLAN = TrialPlan(share=0.1, densities=(1.0,))
FILE = "era5_t2m_uk_2019-03.nc"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    settings = ExperimentSettings(
        method="amortized", members=10, training=TrainingSettings(steps=10)
    )
    made = Experiment(RECIPE, settings, tmp_path_factory.mktemp("trial"))
    made.train(made.training_run(real_data_dir() / FILE), lambda *_: None)
    return made


def judged(made):
    steps = []
    report = validation.validate(
        made,
        trial=PLAN,
        path=real_data_dir() / FILE,
        progress=lambda done, total, _: steps.append((done, total)),
    )
    assert steps
    return report, validation.trained(made, path=real_data_dir() / FILE)


def verdicts(report):
    rows = [line.split("|") for line in report.markdown.read_text().splitlines()]
    return {row[1].strip(): row[2].strip(" *") for row in rows if len(row) > 5 and "," in row[1]}


def test_the_sibling_never_met_what_it_is_tried_on():
    plan = TrialPlan()
    networks = networks_of(RECIPE, plan, 33 * 49)
    assert [made.network.count for made in networks.values()] == [20, 81, 162]
    interval = duration_to_minutes(RECIPE.cycle_interval)
    for made in networks.values():
        assert made.training.start == RECIPE.training.start
        # No observation of the first window is at a time that the sibling learned from.
        assert made.period.start - made.training.end >= RECIPE.cycle_interval
        assert RECIPE.training.end - made.period.end < RECIPE.cycle_interval
        held_out = made.period.end - made.period.start
        share = held_out / (RECIPE.training.end - RECIPE.training.start)
        assert share == pytest.approx(plan.share, abs=0.01)
        assert (RECIPE.period.start - made.period.start).total_seconds() % (60 * interval) == 0
        assert made.network.seed != RECIPE.network.seed


def test_networks_fit_the_grid():
    counts = [made.network.count for made in networks_of(RECIPE, TrialPlan(), 100).values()]
    assert counts == [20, 81, 91]
    twice = networks_of(RECIPE, TrialPlan(densities=(2.0, 4.0), draws=2), 100)
    assert list(twice) == ["91 stations, draw 1", "91 stations, draw 2"]


def test_a_training_period_that_is_too_short_does_not_pass(tmp_path):
    values = RECIPE.model_dump(mode="json")
    values["training"]["start"] = "2019-03-19T00:00:00Z"
    made = Experiment(
        validate_recipe(values, "short"), ExperimentSettings(method="amortized"), tmp_path
    )
    (result,) = judge_trial(made, None, TrialPlan(), lambda *_: None).results
    assert not result.passed
    assert "hold 4 cycles, of 8 that are needed" in result.message


@pytest.mark.ladder
def test_weights_go_to_work_after_their_trial_and_damaged_ones_do_not(trained):
    version = validation.trained(trained, path=real_data_dir() / FILE)
    with pytest.raises(UnprovenModelError, match="no gate report"):
        require_proven(trained.registry, version)
    report, version = judged(trained)
    found = verdicts(report)
    names = [f"{n}, {who}" for who in (SIBLING, WEIGHTS) for n in ("spread", "bias", "skill")]
    assert set(names) <= set(found)
    assert version.sha256 in report.markdown.read_text()
    assert found[f"skill, {WEIGHTS}"] == "passed"

    name = validation.trained_name(trained)
    manifest = version.manifest
    assert manifest["metadata"]["convergence"]["words"].startswith("Training")
    model, _ = trained.registry.load(name, version.version, factories=AmortizedMethod().factories)
    # So sure of its statistics that it hardly listens to the observations.
    damaged = eqx.tree_at(
        lambda m: m.statistics.covariances, model, replace_fn=lambda held: held / 100
    )
    trained.registry.save(
        name,
        damaged,
        factory=manifest["factory"],
        hyperparameters=manifest["hyperparameters"],
        metadata=manifest["metadata"],
    )
    report, second = judged(trained)
    assert second.sha256 != version.sha256
    assert not report.passed
    again = verdicts(report)
    assert again[f"skill, {WEIGHTS}"] == "failed"
    # The sibling is trained anew and knows nothing of the damage.
    assert again[f"skill, {SIBLING}"] == found[f"skill, {SIBLING}"]
    with pytest.raises(UnprovenModelError, match=f"did not pass: .*skill, {WEIGHTS}"):
        require_proven(trained.registry, second)
    with pytest.raises(UnprovenModelError, match="override"):
        promote(trained.registry, second)
