"""Innovations and residuals of one analysis time, by hand."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from vardax_core.observations.departures import Departures
from vardax_core.observations.operators import PointSampling
from vardax_core.observations.quality import QualityCode
from vardax_core.types import Observations

OPERATOR = PointSampling(jnp.arange(1, 6), (6,))
"""Observes all points but the first."""
BACKGROUND = jnp.asarray([[9.0, 0, 1, 2, 3, 4], [9.0, 2, 1, 4, 3, 4], [9.0, 4, 1, 6, 3, 4]])
"""The observed members have the means 2, 1, 4, 3, 4 and the variances 4, 0, 4, 0, 0."""
NAN = jnp.nan
KEPT, FIRST_GUESS, MISSING, WITHHELD = (
    int(QualityCode[name]) for name in ("KEPT", "FIRST_GUESS", "MISSING", "WITHHELD")
)
QUALITY = jnp.asarray([KEPT, KEPT, KEPT, MISSING, WITHHELD], jnp.int8)


def row(*values, sd=(0.5, 1.0, 1.5, 2.0, 2.5)):
    """An older row in which all is seen, and this one."""
    now = jnp.asarray(values)
    return Observations.from_values(
        jnp.stack([jnp.full(5, 100.0), now]),
        jnp.broadcast_to(jnp.asarray(sd), (2, 5)),
        jnp.asarray([0, 60]),
    )


@pytest.fixture
def window():
    return row(3.0, 21.0, 3.0, NAN, NAN)


@pytest.fixture
def formed(window):
    hidden = row(50.0, NAN, NAN, NAN, 6.0)
    return Departures.of(OPERATOR, BACKGROUND, window, quality=QUALITY, withheld=hidden, limit=4.0)


def test_innovations_by_hand(formed):
    np.testing.assert_array_equal(formed.mean, [2, 1, 4, 3, 4])
    np.testing.assert_allclose(formed.variance, [4, 0, 4, 0, 0], atol=1e-12)
    np.testing.assert_array_equal(formed.innovation, [1, 20, -1, NAN, 2])
    np.testing.assert_array_equal(formed.values, [3, 21, 3, NAN, 6])
    np.testing.assert_allclose(formed.expected_variance[:3], [4.25, 1, 6.25])
    np.testing.assert_allclose(formed.normalised[:3], [1 / 4.25**0.5, 20, -0.4])


def test_what_is_refused_and_what_is_withheld_enter_no_analysis(formed, window):
    """The second is 20 standard deviations away. The first was observed, so that nothing withheld
    takes its place."""
    np.testing.assert_array_equal(formed.used, [True, False, True, False, False])
    np.testing.assert_array_equal(formed.rejected, np.arange(5) == 1)
    np.testing.assert_array_equal(formed.withheld, np.arange(5) == 4)
    np.testing.assert_array_equal(formed.quality, [KEPT, FIRST_GUESS, KEPT, MISSING, WITHHELD])
    seen = formed.window(window)
    np.testing.assert_array_equal(seen.mask[-1], formed.used)
    np.testing.assert_array_equal(seen.mask[0], window.mask[0])
    np.testing.assert_array_equal(seen.values, window.values)


def test_only_the_last_of_several_rows_loses_what_was_refused(formed):
    """Of a window of three times."""
    older = row(3.0, 21.0, 3.0, NAN, NAN)
    three = Observations(
        jnp.concatenate([older.values[:1], older.values]),
        jnp.ones((3, 5), bool),
        jnp.concatenate([older.error_sd[:1], older.error_sd]),
        jnp.asarray([-60, 0, 60]),
    )
    seen = formed.window(three)
    np.testing.assert_array_equal(seen.mask, [[True] * 5, [True] * 5, formed.used])


def test_a_withheld_observation_has_its_own_error(formed):
    """And not the one that stands where nothing is seen."""
    np.testing.assert_array_equal(formed.error_sd[jnp.asarray([0, 4])], [0.5, 2.5])


def test_without_a_check_all_that_is_observed_is_used(window):
    formed = Departures.of(OPERATOR, BACKGROUND, window)
    np.testing.assert_array_equal(formed.used, window.mask[-1])
    np.testing.assert_array_equal(formed.quality, [KEPT, KEPT, KEPT, MISSING, MISSING])
    assert not formed.rejected.any()
    assert not formed.withheld.any()


def test_the_mean_of_the_used_equivalents_varies_as_their_correlation_says(formed):
    """Members 0, 2, 4 and 2, 4, 6: their mean varies by 4, that of two independent ones by 2."""
    np.testing.assert_allclose(formed.mean_variance, 4.0)
    other = BACKGROUND.at[:, 3].set(BACKGROUND[::-1, 3])
    window = row(3.0, NAN, 3.0, NAN, NAN)
    np.testing.assert_allclose(Departures.of(OPERATOR, other, window).mean_variance, 0, atol=1e-12)
    one = row(3.0, NAN, NAN, NAN, NAN)
    np.testing.assert_allclose(Departures.of(OPERATOR, BACKGROUND, one).mean_variance, 4.0)
    nothing = row(*[NAN] * 5)
    assert Departures.of(OPERATOR, BACKGROUND, nothing).mean_variance == 0


def test_residuals_by_hand(formed):
    mean = jnp.asarray([0.0, 2.5, 9.0, 3.5, 3.0, 5.0])
    ensemble = mean[None] + jnp.asarray([-1.0, 0.0, 1.0])[:, None]
    found = formed.residuals(OPERATOR, mean, ensemble)
    np.testing.assert_array_equal(found.residual, [0.5, 12, -0.5, NAN, 1])
    np.testing.assert_array_equal(found.increment, [0.5, 8, -0.5, 0, 1])
    np.testing.assert_allclose(found.variance, np.ones(5))


def test_a_whole_network_that_is_off_is_the_background_s_fault(window):
    """Then the limit grows with the median; one observation beyond that is refused still."""
    off = dataclasses.replace(window, values=window.values.at[-1, :3].set([-58.0, -59.0, 65.0]))
    formed = Departures.of(OPERATOR, BACKGROUND, off, limit=4.0)
    assert formed.used[:3].all()
    off = dataclasses.replace(window, values=window.values.at[-1, :3].set([-58.0, -9e3, 65.0]))
    assert Departures.of(OPERATOR, BACKGROUND, off, limit=4.0).rejected.tolist()[:3] == [
        False,
        True,
        False,
    ]
