"""The training loop on a problem whose answer is known, with pairs that carry a state."""

import dataclasses
import pathlib
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vardax_core
from vardax_core.training.checkpoint import CheckpointError
from vardax_core.training.loop import LoopSettings, NonFiniteLossError, looks_of, train
from vardax_core.training.objective import AbstractObjective, AbstractPairs, Found
from vardax_core.training.optimizer import OptimizerSettings

SAMPLES, TRUTH = 16, 2.0
RULE = OptimizerSettings(steps=40, learning_rate=0.05, warm_up=4)
SETTINGS = LoopSettings(RULE, chunk=10)
START = {"slope": jnp.zeros((1, 1)), "offset": jnp.ones((1,))}


class Squares(AbstractObjective):
    """Mean squared error of slope x + offset."""

    name: ClassVar[str] = "The line"
    repair: ClassVar[str] = "look at x"
    measures: ClassVar[tuple[str, ...]] = ("offset",)

    def loss(self, weights, given):
        squares = (weights["slope"][0, 0] * given[0] + weights["offset"][0] - given[1]) ** 2
        return jnp.mean(squares), Found(squares, jnp.mean(given[0]), (weights["offset"][0],))


class Walk(AbstractPairs):
    """x about a place that goes on from step to step; y = 2 x. Some steps hold what is not finite.

    Attributes:
        key: folded with the step.
        broken: steps whose sample 3 is NaN.
        restarts: whether every chunk starts anew.
    """

    key: Any
    broken: tuple[int, ...] = eqx.field(static=True, default=())
    restarts: bool = eqx.field(static=True, default=False)

    def deal(self, state, first, count):
        steps = jnp.arange(first, first + count)
        keys = jax.vmap(lambda k: jax.random.fold_in(self.key, k))(steps)
        wrong = jnp.asarray([k in self.broken for k in range(first, first + count)])
        return jnp.zeros(()) if self.restarts else state, (keys, wrong)

    def given(self, state, row):
        key, wrong = row
        x = state + jax.random.normal(key, (SAMPLES,))
        return x.at[3].set(jnp.where(wrong, jnp.nan, x[3])), TRUTH * x

    def follow(self, given, outcome):
        return jnp.where(jnp.isfinite(outcome), 0.5 * outcome, 0.0)


def walk(**options):
    return Walk(jax.random.key(1), **options)


def run(settings=SETTINGS, pairs=None, **options):
    pairs = walk() if pairs is None else pairs
    options = {"state": jnp.zeros(()), **options}
    return train(START, Squares(), pairs, settings, **options)


def assert_same(one, two):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_line_is_found_and_the_curve_says_how():
    rule = OptimizerSettings(steps=400, learning_rate=0.05)
    seen = []
    trained = run(LoopSettings(rule, chunk=50), on_look=seen.append)
    # The pairs have no noise, so that the minimum is zero, where Adam's steps go to zero too.
    np.testing.assert_allclose(trained.weights["slope"], TRUTH, atol=1e-3)
    np.testing.assert_allclose(trained.weights["offset"], 0.0, atol=1e-3)
    assert [look.done for look in seen] == trained.steps == looks_of(400, 50)
    assert [look.loss for look in seen] == trained.curve[:, 0].tolist()
    assert [look.measures[0] for look in seen] == trained.curve[:, 1].tolist()
    assert trained.curve[-1, 0] < 1e-4 < trained.curve[0, 0]
    assert not trained.validated
    assert np.isnan(trained.validation).all()


def test_weights_do_not_depend_on_where_the_chunks_end():
    short = run(dataclasses.replace(SETTINGS, chunk=7))
    assert short.steps == [7, 14, 21, 28, 35, 40]
    for a, b in zip(jax.tree.leaves(short.weights), jax.tree.leaves(run().weights), strict=True):
        # Two programs, of 7 and of 10 steps: equal but for their rounding.
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("restarts", [False, True], ids=["carried", "new in every chunk"])
def test_a_training_that_was_killed_ends_with_the_same_weights(restarts, tmp_path):
    path = tmp_path / "training.eqx"
    validation = (jnp.linspace(-1.0, 1.0, 5), jnp.linspace(-2.0, 2.0, 5))
    settings = dataclasses.replace(SETTINGS, optimizer=dataclasses.replace(RULE, average=0.9))
    options = {
        "pairs": walk(restarts=restarts),
        "state": None if restarts else jnp.zeros(()),
        "validation": validation,
    }

    def kill(look):
        if look.done == 20:
            raise KeyboardInterrupt

    whole = run(settings, **options)
    with pytest.raises(KeyboardInterrupt):
        run(settings, checkpoint=path, identity={"name": "a"}, on_look=kill, **options)
    with pytest.raises(CheckpointError, match="is of a training with"):
        run(settings, checkpoint=path, identity={"name": "b"}, **options)
    seen = []
    resumed = run(settings, checkpoint=path, identity={"name": "a"}, on_look=seen.append, **options)
    assert [look.done for look in seen] == [30, 40]
    assert_same(resumed.weights, whole.weights)
    np.testing.assert_array_equal(resumed.curve, whole.curve)
    np.testing.assert_array_equal(resumed.validation, whole.validation)
    assert resumed.best_step == whole.best_step


def test_the_weights_of_the_best_validation_are_kept_and_patience_ends_it():
    """Nothing is as good on y = x + 1 as the start is, the further the slope goes to 2."""
    x = jnp.linspace(-1.0, 1.0, 5)
    settings = LoopSettings(RULE, chunk=5, patience=3)
    trained = run(settings, validation=(x, jnp.ones_like(x)))
    assert trained.best_step == 0
    assert_same(trained.weights, START)
    assert trained.steps == [5, 10, 15]
    assert trained.stopped
    assert trained.convergence.finished


def test_steps_are_doubled_while_the_loss_falls():
    rule = OptimizerSettings(steps=40, learning_rate=1e-3)
    x = jnp.linspace(-1.0, 1.0, 5)
    trained = run(LoopSettings(rule, chunk=5, longest=4), validation=(x, TRUTH * x))
    assert trained.steps[-1] == 160
    once = run(LoopSettings(rule, chunk=5))
    np.testing.assert_array_equal(trained.curve[:8], once.curve)
    with pytest.raises(ValueError, match="multiple of its chunk, got 40 and 7"):
        LoopSettings(rule, chunk=7, longest=2)


def test_what_is_not_finite_is_refused_by_its_name():
    with pytest.raises(NonFiniteLossError, match=r"The line: .* step 13 .* sample 3 .* look at x"):
        run(pairs=walk(broken=(13, 14)))


def test_what_is_not_finite_is_skipped_so_many_times_in_a_row():
    patient = dataclasses.replace(SETTINGS, optimizer=dataclasses.replace(RULE, skip=2))
    trained = run(patient, walk(broken=(5, 6, 9, 10, 25)))
    assert trained.skipped == 5
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trained.weights))
    with pytest.raises(NonFiniteLossError, match="step 11"):
        run(patient, walk(broken=(9, 10, 11)))


def test_a_gradient_that_is_not_finite_is_told_from_a_loss():
    class Root(AbstractObjective):
        """sqrt|w| at w = 0: the loss is 0, and its gradient is not finite."""

        name: ClassVar[str] = "The root"
        repair: ClassVar[str] = "start elsewhere"
        measures: ClassVar[tuple[str, ...]] = ()

        def loss(self, weights, given):
            loss = jnp.sqrt(weights["w"][0] ** 2)
            return loss, Found(loss[None], loss)

    with pytest.raises(NonFiniteLossError, match="a gradient of step 0 is not finite, though"):
        train({"w": jnp.zeros((1,))}, Root(), walk(), SETTINGS, state=jnp.zeros(()))


def test_the_first_steps_of_a_chunk_may_be_left_out_of_its_mean():
    each = run(dataclasses.replace(SETTINGS, chunk=1)).curve
    late = run(dataclasses.replace(SETTINGS, settle=6)).curve
    np.testing.assert_allclose(late, each.reshape(4, 10, -1)[:, 6:].mean(axis=1), rtol=1e-12)


def test_matrices_decay_alone_unless_all_do():
    """A gradient of zero: Adam does nothing, and the rest is decay."""

    class Nothing(AbstractObjective):
        name: ClassVar[str] = "Nothing"
        repair: ClassVar[str] = ""
        measures: ClassVar[tuple[str, ...]] = ()

        def loss(self, weights, given):
            return jnp.zeros(()), Found(jnp.zeros((1,)), jnp.zeros(()))

    weights = {"matrix": jnp.ones((1, 1)), "vector": jnp.ones((1,))}
    found = []
    for everything in (False, True):
        rule = dataclasses.replace(RULE, weight_decay=0.1, decay_vectors=everything)
        settings = LoopSettings(rule, chunk=10)
        found.append(train(weights, Nothing(), walk(), settings, state=jnp.zeros(())).weights)
    matrices, both = found
    assert matrices["matrix"][0, 0] == both["matrix"][0, 0] == both["vector"][0] < 1
    assert matrices["vector"][0] == 1


def test_another_number_of_steps_has_the_same_share_of_warm_up():
    assert RULE.over(80) == dataclasses.replace(RULE, steps=80, warm_up=8)
    rates = [rule.rate(jnp.asarray(at)) for rule, at in ((RULE, 4), (RULE.over(80), 8))]
    np.testing.assert_allclose(rates, 0.05)


def test_orthogonal_steps_move_all_directions_of_a_matrix_alike(key):
    """Newton and Schulz' five steps take singular values from .003 to 1 to between .68 and 1.2;
    Adam's first steps of a vector are of one size, whatever the gradient."""
    rule = OptimizerSettings(steps=100, learning_rate=0.01, matrix_rate=0.1)
    weights = {"matrix": jnp.zeros((12, 4)), "vector": jnp.zeros(3)}
    left, right = (jnp.linalg.qr(jax.random.normal(k, (12, 4)))[0] for k in jax.random.split(key))
    gradient = {
        "matrix": left * jnp.array([1.0, 0.3, 0.1, 0.03])[None] @ right[:4].T,
        "vector": jnp.array([1e-3, -1.0, 50.0]),
    }
    moved, _ = rule.update(gradient, rule.start(weights), weights)
    singular = jnp.linalg.svd(moved["matrix"], compute_uv=False)
    assert np.all((singular > 0.065) & (singular < 0.125))
    assert float(jnp.sum(moved["matrix"] * gradient["matrix"])) < 0
    steps = moved["vector"] / moved["vector"][1]
    np.testing.assert_allclose(steps, [-1.0, 1.0, -1.0], rtol=1e-4)


def test_settings_that_mean_nothing_are_refused():
    for wrong, said in (
        ({"steps": 0}, "steps >= 1"),
        ({"warm_up": 40}, "warm_up < steps"),
        ({"skip": -1}, "must not be negative"),
        ({"matrix_rate": -0.1}, "must not be negative"),
        ({"clip": 0.0}, "None leaves gradients"),
        ({"average": 1.0}, "None keeps"),
    ):
        with pytest.raises(ValueError, match=said):
            dataclasses.replace(RULE, **wrong)
    with pytest.raises(ValueError, match="chunk >= 1"):
        LoopSettings(RULE, chunk=0)


def test_the_library_has_one_update_rule():
    core = pathlib.Path(vardax_core.__file__).parent
    users = [p.relative_to(core) for p in core.rglob("*.py") if "import optax" in p.read_text()]
    assert users == [pathlib.Path("training/optimizer.py")]
