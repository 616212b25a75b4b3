"""Who may go to work: reports by sha, the champion and the one before it, reasons that are kept."""

import json

import equinox as eqx
import jax
import pytest

from vardax_core.calibration.gates.base import GateResult
from vardax_core.calibration.gates.report import write_gate_report
from vardax_core.training.promotion import (
    NoChampionError,
    UnprovenModelError,
    champion,
    gates_folder,
    override_reason,
    promote,
    require_proven,
    rollback,
)
from vardax_core.training.registry import ModelRegistry


@pytest.fixture
def registry(tmp_path):
    return ModelRegistry(tmp_path / "models")


def trained(registry, seed=0):
    model = eqx.nn.Linear(2, 3, key=jax.random.key(seed))
    return registry.save("m", model, factory="linear", hyperparameters={}, metadata={})


def judged(version, passed=True, sha256=None):
    """Write a gate report beside the weights of a version."""
    result = GateResult("coordinates", passed, 0.1, 0.01, 0.1, 500, (), "a sentence")
    provenance = {"weights sha256": sha256 or version.sha256}
    write_gate_report(gates_folder(version), [result], title="Gates", provenance=provenance)
    return version


def test_weights_without_a_report_are_refused_in_words_that_help(registry):
    version = trained(registry)
    with pytest.raises(UnprovenModelError, match=r"no gate report.*vardax validate"):
        require_proven(registry, version)
    with pytest.raises(UnprovenModelError, match="no gate report"):
        promote(registry, version)
    assert champion(registry, "m") is None


def test_a_pass_makes_the_champion(registry):
    version = judged(trained(registry))
    entry = promote(registry, version)
    require_proven(registry, version)
    assert champion(registry, "m") == entry
    assert (entry.version, entry.sha256) == (version.path.name, version.sha256)
    assert entry.override is None


def test_a_failure_leaves_the_champion_where_it_was(registry):
    first, second = judged(trained(registry)), judged(trained(registry, 1), passed=False)
    promote(registry, first)
    for action in (promote, require_proven):
        with pytest.raises(UnprovenModelError, match=r"did not pass: coordinates.*--override"):
            action(registry, second)
    assert champion(registry, "m").version == first.path.name


def test_a_report_on_other_weights_is_no_report(registry):
    version = judged(trained(registry), sha256="0" * 64)
    with pytest.raises(UnprovenModelError, match="about the weights 000000000000"):
        require_proven(registry, version)


def test_an_override_needs_a_reason_which_is_kept(registry):
    version = judged(trained(registry), passed=False)
    with pytest.raises(UnprovenModelError, match="needs a reason"):
        promote(registry, version, override=" ")
    entry = promote(registry, version, override="the storm is tomorrow")
    require_proven(registry, version)
    assert entry.override == override_reason(version) == "the storm is tomorrow"
    kept = json.loads((gates_folder(version) / "override.json").read_text())
    assert kept["sha256"] == version.sha256
    with pytest.raises(UnprovenModelError, match="no gate report to override"):
        promote(registry, trained(registry, 1), override="why not")


def test_a_rollback_gives_the_place_back_and_refuses_the_one_taken_back(registry):
    first, second = judged(trained(registry)), judged(trained(registry, 1))
    promote(registry, first)
    with pytest.raises(NoChampionError, match="none to go back to"):
        rollback(registry, "m")
    promote(registry, second)
    assert rollback(registry, "m").version == first.path.name
    assert champion(registry, "m").version == first.path.name
    require_proven(registry, first)
    with pytest.raises(UnprovenModelError, match="rolled back"):
        require_proven(registry, second)
    promote(registry, second)
    require_proven(registry, second)
    assert champion(registry, "m").version == second.path.name
