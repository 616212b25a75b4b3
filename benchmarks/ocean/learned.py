"""What is learned of the eddies: an amortized filter, a smoother behind it, and a 4DVarNet."""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ocean.altimeters import ALTIMETERS, SIDES, SWATH, Records, flown
from ocean.cycles import LAGS, MOST, Cycled, Tuned, placed, plane
from ocean.eddies import HEIGHT, Streamfunction

from vardax_core.analysis.amortized.config import AmortizedConfig
from vardax_core.analysis.amortized.conv_encoder import ConvObsEncoder
from vardax_core.analysis.amortized.grid_transform import REACH, GridTransformStep
from vardax_core.analysis.amortized.heads.networks import FieldNetwork
from vardax_core.analysis.amortized.heads.regression import RegressionHead
from vardax_core.analysis.amortized.posterior import AmortizedPosterior
from vardax_core.analysis.amortized.transform_network import TransformNetwork
from vardax_core.analysis.amortized.transform_view import TransformView
from vardax_core.analysis.variational.four_dvar_net import FourDVarNet2D, window_posterior
from vardax_core.observations.placement import PlacedPoints, search_of
from vardax_core.training.dynamics import learn_dynamics
from vardax_core.training.fit import FitSettings, fit
from vardax_core.training.grid_cycles import GridTraining, settled, train_on_grid
from vardax_core.training.observing import FixedNetwork
from vardax_core.training.preparation import standardised
from vardax_core.training.sources import SimulatorSource
from vardax_core.types import Batch2D

CENTRE, ROWS = 5, 11
"""Row of a 4DVarNet's window that is mapped, and rows of it."""
SHOWN = 6 + 2 * len(LAGS)
"""Fields that the smoother's network is shown."""
VALIDATION = 0.2
"""Share of a training run, its end, on which weights are chosen."""
Say = Callable[[str], None]


def error_table(model: Streamfunction) -> tuple[Array, Array]:
    """White and shared standard deviations of each altimeter, in the unit of the upper layer."""
    lever = 1 + np.mean(np.square(SIDES)) / max(SIDES) ** 2
    shared = [a.shared * lever**0.5 if k == SWATH else a.shared for k, a in enumerate(ALTIMETERS)]
    metre = 1 / (HEIGHT * model.scale[0])
    white = metre * np.array([a.white for a in ALTIMETERS])
    return jnp.asarray(white, jnp.float32), jnp.asarray(metre * np.array(shared), jnp.float32)


def learned_filter(
    model: Streamfunction,
    nature: Streamfunction,
    climate: Float[Array, "draw 2 y x"],
    tuned: Tuned,
    members: int,
    plan: GridTraining,
    settle: int,
    *,
    say: Say,
) -> GridTransformStep:
    """Train the amortized transform on days of the orbits, on runs that no score sees.

    The levels of passes are drawn with it: a constant and one wave along the domain.
    """
    size = climate.shape[-1]
    grid = plane(size)
    view = TransformView.nowhere(grid, REACH * tuned.half_width, MOST)
    network = TransformNetwork.create(jnp.full(2, 0.2), key=jax.random.key(5))
    operator = PlacedPoints.nowhere((2, size, size))
    step = GridTransformStep(operator, view, network, tuned.half_width)
    search, (white, shared) = search_of(step), error_table(model)

    @functools.lru_cache(maxsize=256)
    def placing(number: int):
        day = int(np.random.default_rng((77, number)).integers(10_000))
        return jax.tree.map(jnp.asarray, placed(grid, flown(day, size), 0, search))

    def errors(placement, key):
        k_white, k_shared = jax.random.split(key)
        of = jnp.maximum(placement.platforms, 0)
        waves = jax.random.normal(k_shared, (len(ALTIMETERS), 3))
        circle = placement.straight[:, :2] * (2 * np.pi / size)
        level = 0.75**0.5 * waves[of, 0] + 0.5 * jnp.sum(waves[of, 1:] * circle, axis=1)
        noise = white[of] * jax.random.normal(k_white, of.shape)
        told = tuned.errors * jnp.hypot(white[of], shared[of])
        return told, noise + shared[of] * level

    given = (model, FixedNetwork(1.0), climate)
    asked = {"members": members, "placing": placing, "nature": nature, "errors": errors}
    step = settled(step, *given, settle, key=jax.random.key(6), **asked)
    say(f"spread of backgrounds {step.network.spread}")
    step, _ = train_on_grid(
        step,
        *given,
        plan,
        key=jax.random.key(7),
        progress=lambda done, loss, error, ratio: say(
            f"filter, step {done}, loss {loss:.4f}, error {error:.4f}, spread/error {ratio:.3f}"
        ),
        **asked,
    )
    return step


def shown(run: Cycled) -> tuple[Float[np.ndarray, "day field y x"], Float[np.ndarray, "day 2 y x"]]:
    """What the smoother sees of each day but the last ones, and what it corrects.

    It corrects the ensemble smoother's mean; it sees that of each lag, with its spread, and the
    filter's means of that day and of the longest lag after it.
    """
    days = len(run.mean) - LAGS[-1]
    fields = [run.mean[:days], run.sd[:days, :1], run.mean[LAGS[-1] :], run.sd[LAGS[-1] :, :1]]
    for k, lag in enumerate(LAGS):
        rows = slice(lag, lag + days)
        fields += [run.smooth_mean[rows, k, :1], run.smooth_sd[rows, k, :1]]
    base = run.smooth_mean[LAGS[-1] :, -1]
    return np.concatenate(fields, axis=1), base


class Smoother(eqx.Module):
    """Corrects an ensemble smoother's maps, and says how far they are off.

    Attributes:
        posterior: of what is missing in both layers.
    """

    posterior: AmortizedPosterior

    def maps(self, run: Cycled) -> tuple[np.ndarray, np.ndarray]:
        """Mean and spread of both layers, of every day but the last ones of a run."""
        fields, base = shown(run)
        found = [_moments(self.posterior, jnp.asarray(one[None])) for one in fields]
        means, sds = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return base + means, sds


@eqx.filter_jit
def _moments(posterior, fields):
    batch = Batch2D(fields, jnp.ones_like(fields))
    return posterior.marginals(batch, jax.random.key(0))


def learned_smoother(
    run: Cycled, truth: Float[np.ndarray, "day 2 y x"], steps: int, batch: int, *, say: Say
) -> Smoother:
    """Train a smoother on a run of the filter; any shift of the domain is as good as another."""
    fields, base = shown(run)
    size, days = base.shape[-1], len(base)
    missing = truth[:days] - base
    split = int(days * (1 - VALIDATION))
    encode_key, head_key, network_key, draw_key, fit_key = jax.random.split(jax.random.key(11), 5)
    encoder = ConvObsEncoder(
        SHOWN, 24, n_dims=2, hidden_channels=24, levels=3, patch=2, key=encode_key
    )
    context = (24, size, size)
    network = FieldNetwork(context, (2, size, size), 2, key=network_key)
    head = RegressionHead(context, (2, size, size), network=network, key=head_key)
    posterior = AmortizedPosterior(encoder, head, AmortizedConfig("regression"))
    whole = Batch2D(*(jnp.asarray(x[:split]) for x in (fields, np.ones_like(fields), missing)))
    table = (whole.input, whole.target)
    posterior = standardised(posterior, whole, per="all")

    def one(key):
        k_day, k_y, k_x = jax.random.split(key, 3)
        day = jax.random.randint(k_day, (), 0, split)
        shift = (jax.random.randint(k_y, (), 0, size), jax.random.randint(k_x, (), 0, size))
        return [jnp.roll(x[day], shift, axis=(1, 2)) for x in table]

    def simulate(key):
        seen, wanted = jax.vmap(one)(jax.random.split(key, batch))
        return Batch2D(seen, jnp.ones_like(seen), wanted)

    held = slice(split, days, 2)
    validation = Batch2D(*(jnp.asarray(x[held]) for x in (fields, np.ones_like(fields), missing)))
    keys = (draw_key, fit_key)
    return Smoother(_fitted(posterior, simulate, validation, steps, keys, "smoother", say))


def _fitted(posterior, simulate, validation, steps, keys, name, say):
    draw_key, fit_key = keys
    look = max(1, steps // 10)
    settings = FitSettings(
        n_steps=10 * look, check_every=look, learning_rate=3e-3, warm_up=0.1, ema=0.995
    )
    found = fit(
        posterior,
        SimulatorSource(simulate, draw_key),
        validation,
        settings=settings,
        key=fit_key,
        on_check=lambda step, *losses: say(f"{name}, step {step}, losses {losses}"),
    )
    return found.posterior


def gridded(records: Records, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Values of the upper layer at the grid points nearest to records, and where there are any."""
    days = len(records.values)
    values, count = np.zeros((days, size * size)), np.zeros((days, size * size))
    for day in range(days):
        there = records.platforms[day] >= 0
        y, x = (np.rint(records.places[day, there]).astype(int) % size).T
        np.add.at(values[day], y * size + x, records.values[day, there])
        np.add.at(count[day], y * size + x, 1)
    seen = count > 0
    values = np.where(seen, values / np.maximum(count, 1), 0.0)
    shape = (days, size, size)
    return values.reshape(shape).astype(np.float32), seen.reshape(shape).astype(np.float32)


def learned_net(
    truth: Float[np.ndarray, "day 2 y x"], records: Records, steps: int, batch: int, *, say: Say
) -> AmortizedPosterior:
    """Train a 4DVarNet on windows of a nature run and its altimeters, shifted at random."""
    size, days = truth.shape[-1], len(truth) - ROWS
    values, mask = (jnp.asarray(x) for x in gridded(records, size))
    upper = jnp.asarray(truth[:, 0])
    split = int(days * (1 - VALIDATION))
    net_key, head_key, draw_key, fit_key, dynamics_key = jax.random.split(jax.random.key(12), 5)
    net = FourDVarNet2D(ROWS, hidden=24, iterations=8, products=2, key=net_key)
    posterior = window_posterior(net, (size, size), key=head_key)

    def window(first):
        return [jax.lax.dynamic_slice_in_dim(x, first, ROWS) for x in (values, mask, upper)]

    def one(key):
        k_day, k_y, k_x = jax.random.split(key, 3)
        shift = (jax.random.randint(k_y, (), 0, size), jax.random.randint(k_x, (), 0, size))
        first = jax.random.randint(k_day, (), 0, split)
        return [jnp.roll(x, shift, axis=(1, 2)) for x in window(first)]

    def simulate(key):
        return Batch2D(*jax.vmap(one)(jax.random.split(key, batch)))

    sample = Batch2D(*jax.vmap(window)(jnp.arange(0, split, max(1, split // 60))))
    posterior = standardised(posterior, sample, per="all")
    posterior, error = learn_dynamics(posterior, sample.target, key=dynamics_key)
    say(f"4DVarNet, error of one day by its dynamics {float(error):.3f}")
    starts = jnp.arange(split + ROWS, days, 5)
    validation = Batch2D(*jax.vmap(window)(starts))
    keys = (draw_key, fit_key)
    return _fitted(posterior, simulate, validation, steps, keys, "4DVarNet", say)


def net_maps(
    posterior: AmortizedPosterior, records: Records, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of the upper layer, from the centres of windows."""
    values, mask = gridded(records, size)
    means, sds = [], []
    for first in range(len(values) - ROWS + 1):
        rows = slice(first, first + ROWS)
        mean, sd = _window_moments(posterior, values[rows][None], mask[rows][None])
        means.append(np.asarray(mean[0, CENTRE]))
        sds.append(np.asarray(sd[0, CENTRE]))
    return np.stack(means), np.stack(sds)


@eqx.filter_jit
def _window_moments(posterior, values, mask):
    return posterior.marginals(Batch2D(values, mask), jax.random.key(0))
