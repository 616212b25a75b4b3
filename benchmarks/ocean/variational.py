"""Strong-constraint 4D-Var of the eddies, window after window."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ocean.altimeters import Records
from ocean.cycles import plane
from ocean.eddies import Streamfunction

from vardax_core.analysis.variational.four_dvar import strong_simulation
from vardax_core.analysis.variational.minimisers import GaussNewtonCG
from vardax_core.analysis.variational.window_cost import minimise_window
from vardax_core.observations.errors import DiagonalErrorModel
from vardax_core.observations.placement import PlacedPoints, place
from vardax_core.types import Observations

MINIMISER = GaussNewtonCG(outer=2, inner=12, tolerance=1e-3)


class ClimateSpectrum(eqx.Module):
    """A homogeneous covariance of both layers with one another, wave by wave.

    Attributes:
        root: of the matrix of each wave of the real transform.
        state_shape: shape of one state.
    """

    root: Float[Array, "2 2 y k"]
    state_shape: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def of(cls, states: Float[Array, "draw 2 y x"], share: float) -> "ClimateSpectrum":
        """A share of the covariance of states of the climate, averaged over waves of a length."""
        waves = np.fft.rfft2(np.asarray(states, float))
        cross = np.einsum("nalk,nblk->ablk", waves, waves.conj()).real / len(waves)
        size = states.shape[-1]
        l, k = np.fft.fftfreq(size, 1 / size)[:, None], np.arange(waves.shape[-1])[None]  # noqa: E741
        ring = np.rint(np.hypot(k, l)).astype(int)
        count = np.bincount(ring.ravel())
        smooth = np.stack(
            [
                [np.bincount(ring.ravel(), cross[a, b].ravel())[ring] / count[ring] for b in (0, 1)]
                for a in (0, 1)
            ]
        )
        matrices = np.moveaxis(share * smooth / size**2, (0, 1), (2, 3))
        matrices += 1e-9 * np.eye(2) * matrices.max()
        root = np.moveaxis(np.linalg.cholesky(matrices), (2, 3), (0, 1))
        return cls(jnp.asarray(root, jnp.float32), tuple(states.shape[1:]))

    @property
    def rank(self) -> int:
        return int(np.prod(self.state_shape))

    def square_root(self, control: Float[Array, " rank"]) -> Float[Array, "2 y x"]:
        waves = jnp.fft.rfft2(control.reshape(self.state_shape))
        mixed = jnp.einsum("ablk,blk->alk", self.root.astype(waves.dtype), waves)
        return jnp.fft.irfft2(mixed, s=self.state_shape[-2:])


@eqx.filter_jit
def _window(model, covariance, background, placement, values, sd, there, days):
    """States of the days of a window that fit its records, and the state on its last day."""
    shape = (2 * days, *background.shape[1:])
    operator = PlacedPoints.nowhere(shape).placed(placement)
    times = jnp.arange(days + 1, dtype=jnp.int32) * model.interval
    rows = Observations(values[None], there[None], sd[None], times[:1])
    key = jax.random.key(0)
    clock = Observations(
        jnp.zeros((days + 1, 0)), jnp.zeros((days + 1, 0), bool), jnp.zeros((days + 1, 0)), times
    )
    states = strong_simulation(model, covariance, background, clock, 1, key=key)

    def together(control):
        return states(control)[1:].reshape(1, *shape)

    minimum, _ = minimise_window(
        together, covariance.rank, operator, DiagonalErrorModel(), MINIMISER, rows
    )
    return states(minimum.control)[1:]


def four_dvar(
    model: Streamfunction,
    covariance: ClimateSpectrum,
    start: Float[Array, "2 y x"],
    records: Records,
    days: int,
    *,
    factor: float,
) -> Float[np.ndarray, "day 2 y x"]:
    """Analyse a whole run: the end of each window is the background of the next.

    Arguments:
        model: of the forecast.
        covariance: of the background's error at the start of a window.
        start: state of the day before the first.
        days: of a window; the last ones of a run, too few for a window, are a shorter one.
        factor: on the errors' standard deviations.
    """
    grid, background, found = plane(start.shape[-1]), start, []
    for first in range(0, len(records.values), days):
        rows = range(first, min(first + days, len(records.values)))
        block = slice(rows.start, rows.stop)
        places = records.places[block].reshape(-1, 2)
        every = np.ones(len(places), bool)
        number = np.repeat(np.arange(len(rows)), records.values.shape[1])
        placement = place(
            grid,
            places,
            np.zeros(len(places)),
            records.platforms[block].reshape(-1),
            every,
            every,
            None,
            channels=2 * number,
        )
        states = _window(
            model,
            covariance,
            background,
            jax.tree.map(jnp.asarray, placement),
            jnp.asarray(records.values[block].reshape(-1), jnp.float32),
            jnp.asarray(factor * records.sd[block].reshape(-1), jnp.float32),
            jnp.asarray(records.platforms[block].reshape(-1) >= 0),
            len(rows),
        )
        background = states[-1]
        found.append(np.asarray(states))
    return np.concatenate(found)
