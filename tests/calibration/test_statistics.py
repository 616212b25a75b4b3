"""Sums of a cycle: hand-worked values, peers, laws, and points that cannot be scored."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scoringrules

from tests.departures import departures_of, residuals_of
from vardax_core.calibration import statistics as st
from vardax_core.calibration.dataset import statistics_dataset
from vardax_core.calibration.score_definitions import DEFINITIONS, SMOOTHED_DEFINITIONS
from vardax_core.calibration.scores import compute_scores
from vardax_core.observations.departures import mean_equivalent_variance

from .samples import cycle_sums, dates, linear_cycles, view_of

SUMS_OF = jax.jit(cycle_sums)


def small_cycle(key, dtype=jnp.float64, **changes):
    """Two points and three observations that can be worked by hand."""

    def array(*values):
        return jnp.asarray(values, dtype)

    fields = {
        "truth": array(1.0, 3.0),
        "weights": array(1.0, 0.5),
        "mean": array(1.5, 2.0),
        "spread": array(0.5, 0.4),
        "ensemble": jnp.asarray([[1.2, 1.6], [1.8, 2.0], [1.5, 2.4]], dtype),
        "background_mean": array(0.0, 3.0),
        "background_spread": array(1.0, 2.0),
        "departures": departures_of(
            array(2.0, -1.0, 7.0),
            variance=array(3.0, 1.0, 1.0),
            error_sd=array(1.0, 1.0, 1.0),
            used=jnp.array([True, True, False]),
            withheld=jnp.array([False, False, True]),
            mean_variance=1.75,
        ),
        "residuals": residuals_of(array(1.0, -0.5, 6.0), variance=array(0.0, 0.0, 3.0)),
    }
    return SUMS_OF(**{**fields, **changes}, key=key)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_sums_worked_by_hand(key, dtype):
    sums = small_cycle(key, dtype)
    assert {value.dtype for value in sums.values()} == {jnp.dtype(dtype)}
    weight = 1.5
    expected = {
        "cycles": 1,
        "weight": weight,
        "squared_weight": 1.25,
        "non_finite_weight": 0,
        "ensemble_weight": weight,
        "error": 0.5 - 0.5,
        "absolute_error": 0.5 + 0.5,
        "squared_error": 0.25 + 0.5,
        "variance": 0.25 + 0.5 * 0.16,
        "rmse": math.sqrt(0.75 / weight),
        "spread": math.sqrt(0.33 / weight),
        "background_error": -1.0,
        "background_absolute_error": 1.0,
        "background_squared_error": 1.0,
        "background_variance": 1.0 + 0.5 * 4.0,
        "background_rmse": math.sqrt(1 / weight),
        "background_spread": math.sqrt(3 / weight),
        # Point 1: mean |x - y| = 0.5, pairs 2 (0.6 + 0.3 + 0.3) / 12 = 0.2. Point 2: 1 - 1.6 / 6.
        "crps_fair_sum": (0.5 - 0.2) + 0.5 * (1.0 - 1.6 / 6),
        "observations": 2,
        "innovation": 1.0,
        "squared_innovation": 5.0,
        "residual": 0.5,
        "squared_residual": 1.25,
        "innovation_residual": 2.5,
        "observed_background_variance": 4.0,
        "error_variance": 2.0,
        "innovation_sum_variance": 2**2 * 1.75 + 2.0,
        "chi2": 4 / 4 + 1 / 2,
        "withheld_observations": 1,
        "withheld_residual": 6.0,
        "withheld_squared_residual": 36.0,
        "withheld_squared_innovation": 49.0,
        "withheld_chi2": 36 / 4,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(sums[name], value, rtol=1e-6, atol=1e-6, err_msg=name)
    # The first truth is 1 sd below its mean, the second 2.5 sd above: inside from 0.7 and 0.99 on.
    np.testing.assert_allclose(sums["coverage"], [0] * 6 + [1] * 4 + [1.5])
    np.testing.assert_allclose(sums["rank_histogram"], [1, 0, 0, 0.5])
    # Phi(-1) = 0.159 and Phi(2.5) = 0.994.
    assert float(sums["pit_histogram"][3]) == 1
    assert float(sums["pit_histogram"][19]) == 0.5
    # Bin 24 + 4 log2(0.5) = 20; 4 log2(0.4) = -5.3, so bin 18.
    assert float(sums["binned_weight"][20]) == 1
    np.testing.assert_allclose(sums["binned_squared_error"][18], 0.5, rtol=1e-6)
    np.testing.assert_allclose(sums["binned_variance"][18], 0.08, rtol=1e-6)


@pytest.mark.parametrize("members", [17, st.LARGEST_PAIRED_ENSEMBLE + 1])
def test_crps_agrees_with_scoringrules(key, members):
    keys = jax.random.split(key, 4)
    truth = 2 * jax.random.normal(keys[0], (500,))
    mean = jax.random.normal(keys[1], (500,))
    spread = jnp.exp(jax.random.normal(keys[2], (500,)))
    ensemble = mean[None] + jax.random.normal(keys[3], (members, 500))
    gaussian = scoringrules.crps_normal(np.array(truth), np.array(mean), np.array(spread))
    np.testing.assert_allclose(st.gaussian_crps(truth, mean, spread), gaussian, atol=1e-10)
    fair = scoringrules.crps_ensemble(
        np.array(truth), np.array(ensemble), m_axis=0, estimator="fair"
    )
    np.testing.assert_allclose(st.fair_crps(truth, ensemble), fair, atol=1e-10)


def random_cycle(key, shape, members=6, **how):
    """A view of a cycle of random numbers, of which one observation of three is used."""
    keys = jax.random.split(key, 3)
    ensemble = jax.random.normal(keys[1], (members, *shape))
    observed = jnp.arange(3.0)
    smoothed = st.Smoothed(jnp.zeros(shape), jnp.ones(shape), jnp.full(shape, 2.0))
    return view_of(
        truth=jax.random.normal(keys[0], shape),
        weights=jnp.ones(shape),
        mean=jnp.mean(ensemble, axis=0),
        spread=jnp.std(ensemble, axis=0),
        ensemble=ensemble,
        background_mean=jnp.zeros(shape),
        background_spread=jnp.ones(shape),
        departures=departures_of(observed, observed, observed, observed > 1),
        residuals=residuals_of(observed),
        smoothed=smoothed,
        key=keys[2],
        **how,
    )


@pytest.mark.parametrize("shape", [(), (7,), (2, 4, 3)])
def test_any_state_shape(key, shape):
    sums = jax.jit(st.cycle_statistics)(random_cycle(key, shape))
    size = math.prod(shape)
    for name in ("weight", "pit_histogram", "rank_histogram", "binned_weight", "region_weight"):
        assert float(jnp.sum(sums[name])) == size
    assert float(sums["smoothed_squared_error"]) == 4 * size


@pytest.mark.parametrize(
    "statistic",
    [*st.STATISTICS, *st.SMOOTHED_STATISTICS],
    ids=lambda statistic: type(statistic).__name__,
)
@pytest.mark.parametrize("channels", [False, True])
def test_a_statistic_gives_what_it_declares(key, statistic, channels):
    """Its names, its sizes, and of a state with channels one more axis where it is of fields."""
    members = 5
    shape = (2, 4, 3) if channels else (4, 3)
    view = random_cycle(key, shape, members, channels=channels)
    found = jax.eval_shape(statistic.of, view)
    assert set(found) == {one.name for one in statistic.sums}
    per_channel = isinstance(statistic, st.AbstractFieldStatistic) and channels
    for one in statistic.sums:
        sizes = tuple(one.sizes(members).values())
        assert found[one.name].shape == ((2, *sizes) if per_channel else sizes), one.name


def test_every_sum_has_its_own_name_and_a_divisor_that_is_there():
    everything = (*st.STATISTICS, *st.SMOOTHED_STATISTICS, *st.REPORTED_STATISTICS)
    names = [one.name for s in everything for one in s.sums]
    assert len(set(names)) == len(names) == len(st.SUMS)
    divisors = {one.divisor for one in st.SUMS.values()} - {None}
    assert divisors <= set(names)
    assert all(st.SUMS[name].divisor is None for name in divisors)
    assert {d.needs for d in (*DEFINITIONS, *SMOOTHED_DEFINITIONS)} <= set(names)


def test_the_channels_of_a_state_are_scored_apart(key):
    """As if each were a state of its own, with its own missing truths and weights; observations
    belong to no channel."""
    shape, members = (2, 5, 4), 6
    keys = jax.random.split(key, 6)
    scale = jnp.asarray([1.0, 30.0]).reshape(1, 2, 1, 1)
    ensemble = scale * jax.random.normal(keys[0], (members, *shape))
    fields = {
        "truth": jax.random.normal(keys[1], shape).at[1, 0, 0].set(jnp.nan),
        "weights": jax.random.uniform(keys[2], shape).at[0, 2].set(0.0),
        "mean": jnp.mean(ensemble, axis=0),
        "spread": jnp.std(ensemble, axis=0, ddof=1).at[0, 1, 1].set(jnp.nan),
        "ensemble": ensemble,
        "background_mean": jax.random.normal(keys[3], shape),
        "background_spread": jnp.ones(shape),
    }
    observed = jnp.arange(3.0)
    rest = {
        "departures": departures_of(observed, observed, observed + 1, observed > 0),
        "residuals": residuals_of(observed / 2),
        "key": keys[4],
    }
    together = jax.jit(lambda: cycle_sums(**fields, **rest, channels=True))()
    per_channel = {
        one.name
        for s in st.STATISTICS
        if isinstance(s, st.AbstractFieldStatistic)
        for one in s.sums
    }
    for channel in range(2):
        alone = SUMS_OF(
            **{n: x[:, channel] if n == "ensemble" else x[channel] for n, x in fields.items()},
            **rest,
        )
        for name, value in alone.items():
            found = together[name][channel] if name in per_channel else together[name]
            np.testing.assert_allclose(found, value, rtol=1e-12, err_msg=name)
    assert together["non_finite_weight"].tolist() == [float(fields["weights"][0, 1, 1]), 0.0]


def test_points_without_truth_or_weight_change_nothing(key):
    """Adding points that cannot be scored, whatever they hold, leaves every sum as it was."""
    one = jnp.asarray
    nan, inf = jnp.nan, jnp.inf
    used = jnp.array([True, True, False])
    plain = small_cycle(
        key,
        departures=departures_of(
            one([2.0, -1.0, 7.0]), one([3.0, 1.0, 1.0]), jnp.ones(3), used, mean_variance=1.75
        ),
    )
    padded = small_cycle(
        key,
        truth=one([1.0, 3.0, nan, 5.0]),
        weights=one([1.0, 0.5, 1.0, 0.0]),
        mean=one([1.5, 2.0, nan, nan]),
        spread=one([0.5, 0.4, 0.0, inf]),
        ensemble=one([[1.2, 1.6, nan, 0.0], [1.8, 2.0, 0.0, inf], [1.5, 2.4, 0.0, 0.0]]),
        background_mean=one([0.0, 3.0, 1e300, nan]),
        background_spread=one([1.0, 2.0, nan, nan]),
        departures=departures_of(
            one([2.0, -1.0, nan]),
            one([3.0, 1.0, nan]),
            one([1.0, 1.0, nan]),
            used,
            mean_variance=1.75,
        ),
        residuals=residuals_of(one([1.0, -0.5, inf])),
    )
    for name, value in plain.items():
        found = padded[name]
        if name.startswith("region_"):
            # The grid has grown, and with it its quarters.
            found, value = found.sum(), value.sum()
        np.testing.assert_array_equal(found, value, err_msg=name)


def test_non_finite_analysis_is_counted_and_kept_out(key):
    sums = small_cycle(key, mean=jnp.array([1.5, jnp.nan]))
    assert float(sums["non_finite_weight"]) == 0.5
    assert float(sums["weight"]) == 1.0
    assert all(bool(jnp.all(jnp.isfinite(value))) for value in sums.values())


def test_no_truth_no_observation_gives_zero_sums(key):
    ones = jnp.ones(3)
    sums = small_cycle(
        key, truth=jnp.full(2, jnp.nan), departures=departures_of(ones, ones, ones, ones < 1)
    )
    for name, value in sums.items():
        assert float(jnp.sum(jnp.abs(value))) == 0.0, name


def test_zero_spread_scores_as_a_point_forecast(key):
    truth, mean, zero = jnp.array([1.0, 2.0]), jnp.array([1.5, 2.0]), jnp.zeros(2)
    np.testing.assert_array_equal(st.gaussian_crps(truth, mean, zero), [0.5, 0.0])
    sums = small_cycle(key, spread=zero)
    assert all(bool(jnp.all(jnp.isfinite(value))) for value in sums.values())
    assert float(jnp.sum(sums["coverage"])) == 0.0


def test_one_member_has_no_fair_crps(key):
    sums = small_cycle(key, ensemble=jnp.array([[1.2, 1.6]]))
    assert float(sums["ensemble_weight"]) == 0.0
    assert float(sums["crps_fair_sum"]) == 0.0
    np.testing.assert_array_equal(sums["rank_histogram"], [1.0, 0.5])


def test_ties_are_broken_evenly(key):
    """A truth equal to all 3 members has each of the ranks 0 to 3 equally often: 4000 draws give
    1000 each, standard deviation 27.4; 5 of them are allowed."""
    truth = jnp.zeros(4000)
    ranks = st.truth_rank(truth, jnp.zeros((3, 4000)), key=key)
    counts = np.bincount(np.asarray(ranks), minlength=4)
    assert len(counts) == 4
    np.testing.assert_allclose(counts, 1000, atol=137)
    np.testing.assert_array_equal(ranks, st.truth_rank(truth, jnp.zeros((3, 4000)), key=key))


def test_permuted_members_give_equal_sums(key):
    ensemble = jnp.array([[1.2, 1.6], [1.8, 2.0], [1.5, 2.4]])
    plain, turned = small_cycle(key, ensemble=ensemble), small_cycle(key, ensemble=ensemble[::-1])
    for name, value in plain.items():
        np.testing.assert_allclose(turned[name], value, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("cuts", [[], [1], [7, 50], list(range(0, 100, 3))])
def test_sums_add_over_any_cut(key, cuts):
    sums = linear_cycles(key, cycles=100)
    for name, value in sums.items():
        parts = [part.sum(axis=0) for part in np.split(np.asarray(value), cuts)]
        whole = np.asarray(value).sum(axis=0)
        scale = np.abs(np.asarray(value)).sum(axis=0)
        assert np.all(np.abs(np.sum(parts, axis=0) - whole) <= 1e-13 * scale), name


def test_calibrated_cycles_are_found_calibrated(key):
    """With n = 20000 independent truths drawn from their own N(mean, spread^2): standardised sums
    lie within 5 standard errors of theory, so a right code fails once in a million runs."""
    sums = linear_cycles(key, cycles=500)
    total = {name: np.asarray(value).sum(axis=0) for name, value in sums.items()}
    n = total["weight"]
    levels = np.array(st.COVERAGE_LEVELS)
    z = (total["coverage"] / n - levels) / np.sqrt(levels * (1 - levels) / n)
    assert np.max(np.abs(z)) < 5
    for name in ("pit_histogram", "rank_histogram"):
        p = 1 / len(total[name])
        assert np.max(np.abs(total[name] / n - p)) < 5 * np.sqrt(p * (1 - p) / n), name
    # e^2 - s^2 has variance 2 s^4, and E s^4 / (E s^2)^2 = 1.34 for s uniform in (0.5, 1.5).
    assert abs(total["squared_error"] / total["variance"] - 1) < 5 * np.sqrt(2 * 1.34 / n)
    # A calibrated Gaussian has expected CRPS s / sqrt(pi); its standard deviation is below s.
    mean_sd = 0.2
    expected = mean_sd / np.sqrt(np.pi)
    assert abs(total["crps_gaussian_sum"] / n - expected) < 5 * 1.1 * mean_sd / np.sqrt(n)
    assert abs(total["crps_fair_sum"] / n - expected) < 5 * 1.5 * mean_sd / np.sqrt(n)
    count = total["observations"]
    assert abs(total["chi2"] / count - 1) < 5 * np.sqrt(2 / count)
    # Desroziers: E (O-A)(O-B) = R = 1 with variance 2 R^2 at the optimal gain.
    assert abs(total["innovation_residual"] / count - 1) < 5 * np.sqrt(2 / count)


def test_what_has_the_name_of_a_score_is_that_score(key):
    """A reader of the diagnostics takes `rmse` for an RMSE; an undivided sum has another name."""
    sums = small_cycle(key)
    data = statistics_dataset({k: np.asarray(v)[None] for k, v in sums.items()}, dates(1))
    scores = compute_scores(data, key=key, resamples=0)
    shared = set(scores.values) & set(sums)
    assert {"rmse", "spread", "energy_score"} <= shared
    for name in shared:
        np.testing.assert_allclose(scores[name], float(sums[name]), rtol=1e-6, err_msg=name)
    assert "ensemble_weight" in data["crps_fair_sum"].attrs["comment"]


def test_limits_of_the_mean_innovation_hold_for_correlated_background_errors(key):
    """Background errors of which half the variance is common to all 60 observations: the mean
    innovation has the variance 0.5 + 0.5 / 60 + 0.25 / 60, sixteen times that of independent ones.
    Of 400 cycles 5 +- 1.1 % are beyond 1.96 expected standard deviations; 39 members know their
    variance to a fifth, which makes it 5.7 %."""
    cycles, members, size = 400, 39, 60

    def one(k):
        keys = jax.random.split(k, 3)
        common = jax.random.normal(keys[0], (members + 1, 1))
        own = jax.random.normal(keys[1], (members + 1, size))
        fields = math.sqrt(0.5) * (common + own)
        innovation = fields[0] + 0.5 * jax.random.normal(keys[2], (size,))
        used = jnp.ones(size, bool)
        variance = mean_equivalent_variance(fields[1:], used) + 0.25 / size
        return jnp.abs(jnp.mean(innovation)) > 1.96 * jnp.sqrt(variance)

    share = float(jnp.mean(jax.vmap(one)(jax.random.split(key, cycles))))
    assert 0.02 < share < 0.095
