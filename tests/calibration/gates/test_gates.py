"""Gates: what they let through, what they find, and what they cannot say."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.calibration.gates.base import FAMILY_LEVEL, run_gates
from vardax_core.calibration.gates.context import GateContext, Pairs, PairsError, collect
from vardax_core.calibration.gates.nulls import Tolerance
from vardax_core.calibration.gates.oracle import OracleMarginalsGate, OracleSamplesGate
from vardax_core.calibration.gates.quantities import multiscale, multiscale_names
from vardax_core.calibration.gates.report import (
    MAY_WORK,
    chance_in_words,
    found_in_words,
    write_gate_report,
)
from vardax_core.calibration.gates.sampling import quantity_gate
from vardax_core.calibration.gates.sets import gates_for

from .problem import make


def check(seed, fault="exact", tolerance=Tolerance(), **options):  # noqa: B008
    pairs, strata = make(seed, fault, **options)
    context = collect([pairs], key=jax.random.key(seed), strata=strata)
    return {r.name: r for r in run_gates(gates_for(context, tolerance), context)}


def test_a_right_posterior_passes():
    """24 sets of gates at a rate of 5 %: more than 5 false alarms have a probability of 1e-3."""
    alarms = [not all(r.passed for r in check(seed, n=200).values()) for seed in range(24)]
    assert sum(alarms) <= 5


@pytest.mark.parametrize(
    ("fault", "finder"),
    [
        ("flipped", "coordinates"),
        ("bias 0.3", "coordinates"),
        ("sd 0.8", "coordinates"),
        ("sd 1.25", "coordinates"),
        ("uncorrelated", "projections"),
        ("uncorrelated", "density coverage"),
        ("swapped", "coordinates"),
        ("one mode", "coordinates"),
        ("regime", "coordinates"),
        ("sd 0.8", "TARP coverage"),
        ("flipped", "averaged posterior"),
    ],
)
def test_a_planted_fault_is_found(fault, finder):
    result = check(3, fault)[finder]
    assert not result.passed
    assert result.p_value < 1e-3 or finder == "averaged posterior"
    if fault != "uncorrelated" or finder == "projections":
        assert result.p_value < result.threshold * 1e6


def test_dropped_correlations_leave_the_points_right():
    """The fault is invisible at every point, so the gate that finds it is needed."""
    found = check(3, "uncorrelated")
    assert found["coordinates"].passed
    assert "narrow" in found["projections"].message or "wide" in found["projections"].message


def test_the_norm_of_the_state_alone_would_pass_a_flipped_posterior():
    pairs, _ = make(0, "flipped")
    norm = {"norm": lambda x: jnp.sqrt(jnp.sum(x**2))}
    context = collect([pairs], key=jax.random.key(0), quantities=norm)
    table = context.tables["quantities"]
    alone = GateContext(
        tables={"quantities": type(table)(table.ranks[:, :1], table.draws, ("norm",))}, n=context.n
    )
    assert quantity_gate().check(alone).passed
    assert not check(0, "flipped")["coordinates"].passed


def test_the_worst_stratum_decides_and_is_named():
    result = check(1, "regime")["coordinates"]
    assert not result.passed
    assert result.strata[0].name in ("regime = 0", "regime = 1")
    assert "regime" in result.message


def test_a_tolerance_lets_a_small_bias_through_and_a_large_one_not():
    forgiving = Tolerance(bias=0.15, spread=1.1)
    assert all(r.passed for r in check(5, "bias 0.1", forgiving).values())
    assert not all(r.passed for r in check(5, "bias 0.1").values())
    assert not all(r.passed for r in check(5, "bias 0.4", forgiving).values())
    assert not all(r.passed for r in check(5, "sd 0.75", forgiving).values())


def test_the_chunks_make_no_difference_to_the_ranks():
    pairs, _ = make(2, n=90)
    key = jax.random.key(0)
    whole = collect([pairs], key=key)
    parts = [jax.tree.map(lambda x, k=k: x[k : k + 30], pairs) for k in (0, 30, 60)]
    cut = collect(parts, key=key)
    for family in ("coordinates", "projections", "quantities", "density"):
        np.testing.assert_array_equal(whole.tables[family].ranks, cut.tables[family].ranks)


class TestOracle:
    def test_the_oracle_itself_passes_and_a_tenth_of_bias_does_not(self):
        for fault, passes in (("exact", True), ("bias 0.1", False), ("sd 0.8", False)):
            pairs, _ = make(4, fault, n=200, oracle=True)
            context = collect([pairs], key=jax.random.key(4))
            marginals = OracleMarginalsGate().check(context, level=0.01)
            samples = OracleSamplesGate().check(context, level=0.01)
            assert marginals.passed == passes, marginals.message
            assert samples.passed == (fault != "sd 0.8" and passes) or fault == "bias 0.1"

    def test_false_alarms_of_relabelling(self):
        """40 right models at level 0.05: more than 7 alarms have a probability of 1e-3."""
        alarms = 0
        for seed in range(40):
            pairs, _ = make(100 + seed, n=40, draws=7, size=8, oracle=True)
            context = collect([pairs], key=jax.random.key(seed), families=("agreement",))
            alarms += not OracleSamplesGate().check(context).passed
        assert alarms <= 7


class TestBadInput:
    def test_points_without_truth_say_nothing_and_are_counted(self):
        pairs, _ = make(6)
        truth = pairs.truth.copy()
        truth[:, 7] = np.nan
        holed = Pairs(truth=truth, draws=pairs.draws)
        context = collect([holed], key=jax.random.key(0))
        results = {r.name: r for r in run_gates(gates_for(context), context)}
        assert all(r.passed for r in results.values())
        assert f"{len(truth)} points of cases have no truth" in results["finite draws"].message

    def test_a_draw_that_is_not_finite_fails(self):
        pairs, _ = make(6)
        draws = pairs.draws.copy()
        draws[3, 2, 1] = np.inf
        context = collect([Pairs(truth=pairs.truth, draws=draws)], key=jax.random.key(0))
        result = run_gates(gates_for(context), context)[0]
        assert not result.passed
        assert "not finite" in result.message

    def test_a_constant_field_is_no_fault(self):
        constant = Pairs(truth=np.ones((100, 6)), draws=np.ones((100, 9, 6)))
        context = collect([constant], key=jax.random.key(0))
        assert all(r.passed for r in run_gates(gates_for(context), context))

    def test_no_gate_no_pairs_and_no_oracle_are_said(self):
        with pytest.raises(PairsError, match="no chunk"):
            collect([], key=jax.random.key(0))
        empty = GateContext(tables={})
        with pytest.raises(ValueError, match="no gate"):
            run_gates([], empty)
        for gate in (OracleMarginalsGate(), OracleSamplesGate(), quantity_gate()):
            result = gate.check(empty)
            assert not result.passed
            assert "nothing can be said" in result.message

    def test_arrays_that_do_not_belong_together_are_refused(self):
        with pytest.raises(PairsError, match=r"\(pair, draw"):
            Pairs(truth=np.zeros((4, 3)), draws=np.zeros((4, 5, 2)))
        with pytest.raises(PairsError, match="both the truth and the draws"):
            Pairs(np.zeros((4, 3)), np.zeros((4, 5, 3)), log_prob_truth=np.zeros(4))
        pairs, _ = make(0, n=50)
        with pytest.raises(PairsError, match="labels 3 pairs of 50"):
            collect([pairs], key=jax.random.key(0), strata={"season": np.zeros(3)})

    def test_one_draw_and_one_point_are_enough_to_be_ranked(self):
        rng = np.random.default_rng(0)
        pairs = Pairs(truth=rng.normal(size=(60, 1)), draws=rng.normal(size=(60, 1, 1)))
        context = collect([pairs], key=jax.random.key(0))
        assert all(r.passed for r in run_gates(gates_for(context), context))


@pytest.mark.parametrize("shape", [(1,), (3,), (8,), (5, 4), (2, 4, 4)])
def test_multiscale_has_a_name_for_each_number(shape):
    assert multiscale(jnp.zeros(shape)).shape == (len(multiscale_names(shape)),)


def test_multiscale_worked_by_hand():
    found = multiscale(jnp.array([1.0, 3.0, 5.0]))
    # Pairs (1, 3) and (5, 1), then (2, 3).
    np.testing.assert_allclose(found, [2, 3, -2, 4, 2.5, -1])


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (1.0, "100 %"),
        (0.079, "7.9 %"),
        (1.2e-3, "0.12 %"),
        (1.56e-5, "once in 64 000"),
        (0.0, "less than once in 1 000 000 000"),
    ],
)
def test_a_chance_is_said_in_percent_or_as_once_in_so_many(share, said):
    assert chance_in_words(share) == said


def test_a_page_sets_each_chance_beside_its_limit_and_says_what_follows(tmp_path):
    context = collect([make(3)[0]], key=jax.random.key(0))
    results = run_gates(gates_for(context), context)
    page = write_gate_report(tmp_path, results, title="Gates", provenance={}).markdown.read_text()
    assert MAY_WORK in page
    limit = FAMILY_LEVEL / sum(result.p_value is not None for result in results)
    for result in results:
        if result.p_value is not None:
            assert result.level == pytest.approx(limit)
            assert (result.p_value > result.level) == result.passed
            assert f"fails below {chance_in_words(limit)}" in found_in_words(result)


def test_the_report_says_it_and_keeps_it(tmp_path):
    pairs, strata = make(3, "swapped")
    context = collect([pairs], key=jax.random.key(0), strata=strata)
    results = run_gates(gates_for(context), context)
    report = write_gate_report(tmp_path, results, title="Gates", provenance={"seed": "3"})
    assert not report.passed
    page = report.markdown.read_text()
    assert "**Not passed**: coordinates" in page
    assert "No run makes analyses with these weights" in page
    assert "point 0" in page
    assert "point 20" in page
    assert {p.name for p in tmp_path.glob("*.png")} >= {"coordinates.png", "projections.png"}
    stored = json.loads(report.path.read_text())
    assert stored["passed"] is False
    assert {gate["name"] for gate in stored["gates"]} == {r.name for r in results}
    again = write_gate_report(tmp_path, results, title="Gates", provenance={"seed": "3"})
    assert again.sha256 == report.sha256
