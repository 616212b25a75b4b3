"""What is drawn of a field that has more points than a picture."""

import numpy as np

from vardax_core.calibration.plots.coarse import as_drawn


def grid(rows, columns):
    return np.meshgrid(np.arange(rows) * 2.0, np.arange(columns) * 1.0, indexing="ij")


def test_a_small_field_stays():
    field = np.random.default_rng(0).normal(size=(5, 7))
    assert as_drawn(*grid(5, 7), field, most=7).field is field


def test_blocks_are_means_of_what_is_known_there():
    field = np.arange(6.0 * 8).reshape(6, 8)
    field[0, :3] = np.nan
    drawn = as_drawn(*grid(6, 8), field, most=3)
    assert drawn.field.shape == (3, 3)
    # Three of the first block's six points are missing, so half are known; the last is short.
    assert drawn.field[0, 0] == np.nanmean(field[:2, :3])
    assert drawn.field[2, 2] == field[4:, 6:].mean()
    assert (drawn.rows[1, 1], drawn.columns[1, 1]) == (5.0, 4.0)
    field[1, 0] = np.nan
    assert np.isnan(as_drawn(*grid(6, 8), field, most=3).field[0, 0])


def test_what_is_linear_stays_so():
    rows, columns = grid(721, 1440)
    drawn = as_drawn(rows, columns, 3 * rows - columns)
    assert max(drawn.field.shape) <= 720
    np.testing.assert_allclose(drawn.field, 3 * drawn.rows - drawn.columns, atol=1e-9)
