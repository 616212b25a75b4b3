"""What a rank histogram looks like when nothing is wrong."""

import functools

import numpy as np
from jaxtyping import Float

DRAWS, AT_ONCE = 400_000, 10_000


@functools.cache
def matched_rank_histogram(members: int) -> Float[np.ndarray, " rank"]:
    """Rank histogram, relative to a flat one, of ensembles with the mean and spread of the truth.

    An ensemble whose mean and spread are those of the distribution of the truth, and not those of
    a sample from it, is no set of equals with the truth: its outermost members are too far out,
    by a few per cent, and the first and last ranks come too seldom. So it is with every analysis
    that gives its members the mean and the spread that it found. The histogram is flat only where
    the spread falls short of the error.

    Arguments:
        members: number of members, at least 2.

    Returns:
        Frequencies of the ranks for Gaussian members and truths, of mean 1, to about .5 %.

    Source: Fortin et al. (2014), doi:10.1175/JHM-D-14-0008.1, on the same factor between the
    spread and the error of the mean.
    """
    draw = np.random.default_rng(0)
    ranks = np.zeros(members + 1)
    for _ in range(DRAWS // AT_ONCE):
        sample = draw.standard_normal((AT_ONCE, members))
        sample -= sample.mean(axis=1, keepdims=True)
        sample /= sample.std(axis=1, ddof=1, keepdims=True)
        truth = draw.standard_normal((AT_ONCE, 1))
        ranks += np.bincount(np.sum(sample < truth, axis=1), minlength=members + 1)
    # The two ends are alike.
    return (ranks + ranks[::-1]) / (2 * DRAWS) * (members + 1)
