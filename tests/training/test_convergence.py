"""The verdict on a training, from curves of which the truth is known."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vardax_core.training.convergence import CERTAIN, WORTHWHILE, judged

COUNT = 40
STEPS = 100 * np.arange(1, COUNT + 1)


def decaying(time: float, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """A loss that falls from 1 to 0 with a time in shares of the training."""
    share = np.arange(COUNT) / COUNT
    return np.exp(-share / time) + noise * np.random.default_rng(seed).normal(size=COUNT)


@pytest.mark.parametrize(
    ("time", "finished"), [(0.05, True), (0.1, True), (0.3, False), (2, False)]
)
def test_a_training_is_done_when_its_second_half_brought_little(time, finished):
    """exp(-.4375 / t) of the fall is left for the second half: .02 % and 1.3 % to 80 %."""
    verdict = judged(STEPS, decaying(time))
    left = np.exp(-0.4375 / time)
    assert finished == (left < 2 * WORTHWHILE)
    assert verdict.finished == finished
    assert verdict.words.startswith("Training is done" if finished else "Training is not done")
    assert verdict.steps == verdict.best_step == 4000


@given(seed=st.integers(0, 10**6))
def test_noise_alone_is_no_fall(seed):
    """Ten standard errors, known to a third or so themselves: one seed in 60 000 has six."""
    losses = np.random.default_rng(seed).normal(size=COUNT)
    verdict = judged(STEPS, losses)
    assert verdict.brought <= 10 * verdict.noise
    assert not verdict.wild


@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3), seed=st.integers(0, 1000))
def test_the_unit_of_a_loss_does_not_matter(scale, shift, seed):
    losses = decaying(0.3, 0.02, seed)
    first, second = judged(STEPS, losses), judged(STEPS, shift + scale * losses)
    assert first.finished == second.finished
    assert first.falling == second.falling
    assert [step for step, _ in first.wild] == [step for step, _ in second.wild]


def test_a_fall_within_the_noise_is_said_with_the_noise():
    verdict = next(
        found
        for found in (judged(STEPS, decaying(0.05, 0.5, seed)) for seed in range(40))
        if found.finished and found.brought > WORTHWHILE * found.whole
    )
    assert "as far as its noise lets tell" in verdict.words
    assert f"{verdict.brought:.2g} +- {CERTAIN * verdict.noise:.2g}" in verdict.words
    assert "no longer fell" in judged(STEPS, np.linspace(0.0, 1e-9, COUNT)).words


def test_a_wild_stretch_is_named():
    losses = decaying(0.05, 0.01)
    losses[13] = 948.0
    verdict = judged(STEPS, losses)
    assert verdict.wild == ((1400, 948.0),)
    assert not verdict.finished
    assert not verdict.falling
    assert "around step 1400 the loss was 948" in verdict.words


def test_a_loss_that_is_not_finite_is_wild_and_can_be_stored():
    losses = decaying(0.05)
    losses[20] = np.nan
    verdict = judged(STEPS, losses)
    assert not verdict.finished
    stored = json.loads(json.dumps(verdict.numbers(), allow_nan=False))
    assert stored["wild"] == [[2100, None]]
    assert stored["words"] == verdict.words


def test_a_high_start_is_no_wild_stretch():
    losses = decaying(0.05)
    losses[0] = 50.0
    assert not judged(STEPS, losses).wild


def test_a_training_that_stopped_by_itself_is_done():
    losses = np.concatenate([decaying(0.3)[:20], np.full(10, 0.5)])
    verdict = judged(STEPS[:30], losses, stopped=True)
    assert verdict.finished
    assert verdict.best_step == 2000


def test_three_losses_are_too_few():
    verdict = judged(STEPS[:3], [1.0, 0.5, 0.5])
    assert not verdict.finished
    assert "too short to tell" in verdict.words


def test_a_curve_and_its_steps_belong_together():
    with pytest.raises(ValueError, match="got 2 losses and 40 numbers"):
        judged(STEPS, [1.0, 2.0])
