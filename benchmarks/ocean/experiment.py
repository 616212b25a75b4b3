"""The runs of the experiment, and every method's maps of them."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float
from ocean import interpolated, learned, variational
from ocean.altimeters import Records, nature, observed
from ocean.cycles import LAGS, Cycled, Tuned, cycled, plane
from ocean.eddies import Streamfunction, climate, eddies
from ocean.scores import Maps

from vardax_core.analysis.amortized.grid_transform import GridTransformStep
from vardax_core.analysis.local.covariance import Shape
from vardax_core.training.covariance_fit import CovarianceFit
from vardax_core.training.grid_cycles import GridTraining

WRONG = {"shear": 0.072, "friction": 1.8e-6}
"""Of the forecast model in the world "wrong"."""


class Sizes(NamedTuple):
    """How large everything is.

    Attributes:
        size: grid points along a side.
        members: of an ensemble.
        runs: scored.
        burn_in, days: of each, not scored and scored.
        tuning: days of the run on which methods are tuned.
        training: days of the run on which the networks are trained.
        candidates: of the LETKF.
        filter_plan: training of the filter.
        settle: cycles from which it learns the usual spread.
        steps: of the smoother and of the 4DVarNet.
        batch: of either.
        shapes: of the correlations between which the interpolation chooses.
    """

    size: int
    members: int
    runs: int
    burn_in: int
    days: int
    tuning: int
    training: int
    candidates: tuple[Tuned, ...]
    filter_plan: GridTraining
    settle: int
    steps: int
    batch: int
    shapes: tuple[tuple[Shape, Shape], ...] = interpolated.SHAPES


FULL = Sizes(
    size=64,
    members=24,
    runs=3,
    burn_in=40,
    days=112,
    tuning=72,
    training=512,
    candidates=tuple(
        Tuned(c, r, f) for c in (6.0, 8.0) for r, f in ((0.1, 1.0), (0.2, 1.0), (0.2, 1.4))
    ),
    filter_plan=GridTraining(steps=500, streams=1, points=512),
    settle=30,
    steps=2000,
    batch=4,
)
QUICK = Sizes(
    size=16,
    members=6,
    runs=2,
    burn_in=6,
    days=26,
    tuning=32,
    training=72,
    candidates=(Tuned(4.0, 0.2, 1.2),),
    filter_plan=GridTraining(steps=2, streams=1, points=16, chunk=1),
    settle=2,
    steps=10,
    batch=2,
    shapes=interpolated.SHAPES[:1],
)


class Run(NamedTuple):
    """A nature run and what the altimeters saw of it.

    Attributes:
        truth: both layers, every day.
        seen, withheld: records that maps are made from, and those of the withheld altimeter.
        start: states of the climate, from which filters begin.
    """

    truth: Float[np.ndarray, "day 2 y x"]
    seen: Records
    withheld: Records
    start: Float[Array, "member 2 y x"]


class Experiment:
    """The ocean, its altimeters and the model that forecasts it.

    Attributes:
        sizes: of everything.
        ocean, model: of nature and of the forecast.
        climate: states of nature, far apart.
        tuning, training, scored: runs.
    """

    def __init__(self, sizes: Sizes, wrong: bool, say: Callable[[str], None]):
        spin_up, apart = (1000, 20) if sizes.size > 16 else (40, 10)
        draws = 2 * (sizes.members + sizes.runs + 2)
        self.sizes, self.say = sizes, say
        self.ocean, self.climate = climate(sizes.size, draws, spin_up, apart)
        changes = WRONG if wrong else {}
        self.model = Streamfunction(eddies(sizes.size, **changes), self.ocean.scale)
        length = sizes.burn_in + sizes.days + LAGS[-1]
        self.tuning = self._run(0, sizes.tuning + LAGS[-1])
        self.training = self._run(1, sizes.training + LAGS[-1])
        self.scored = [self._run(2 + k, length) for k in range(sizes.runs)]

    def _run(self, number: int, days: int) -> Run:
        rng = np.random.default_rng((31, number))
        chosen = rng.choice(len(self.climate), self.sizes.members + 1, replace=False)
        truth = nature(self.ocean, self.climate[chosen[0]], days)
        records = observed(self.ocean, truth, first=1000 * number, seed=number)
        return Run(truth, records.of(False), records.of(True), self.climate[chosen[1:]])

    def cycled(self, run: Run, step, tuned: Tuned) -> Cycled:
        """A filter through a run."""
        return cycled(self.model, step, tuned, run.truth, run.seen, run.start, seed=3)

    def tuned(self) -> tuple[Tuned, int]:
        """The LETKF of the least error in both layers, and the lag of the best smoother."""
        candidates, errors, lags = self.sizes.candidates, [], []
        after = self.sizes.tuning // 3
        truth = self.tuning.truth[after:]
        for tuned in candidates:
            found = self.cycled(self.tuning, None, tuned)
            errors.append(rms(found.mean[after:] - truth))
            behind = [
                rms(found.smooth_mean[after + lag :, k, 0] - truth[:-lag, 0])
                for k, lag in enumerate(LAGS)
            ]
            lags.append(int(np.argmin(behind)))
            self.say(f"{tuned}: rmse {errors[-1]:.4f}, smoothers {np.round(behind, 4).tolist()}")
        best = int(np.argmin(errors))
        self.say(f"LETKF: {candidates[best]}, smoother {LAGS[lags[best]]} days behind")
        return candidates[best], lags[best]

    def learned_filter(self, tuned: Tuned) -> GridTransformStep:
        """The amortized filter that begins at a tuned one."""
        sizes = self.sizes
        return learned.learned_filter(
            self.model,
            self.ocean,
            self.climate,
            tuned,
            sizes.members,
            sizes.filter_plan,
            sizes.settle,
            say=self.say,
        )

    def learned_smoother(self, step: GridTransformStep, tuned: Tuned) -> learned.Smoother:
        """The smoother behind it, trained on a run of its own."""
        run, sizes = self.training, self.sizes
        found = self.cycled(run, step, tuned)
        return learned.learned_smoother(found, run.truth, sizes.steps, sizes.batch, say=self.say)

    @functools.cached_property
    def covariance(self) -> CovarianceFit:
        """Of the upper layer, with its errors, fitted to the run of the tuning."""
        days = range(min(40, self.sizes.tuning))
        grid, seen = plane(self.sizes.size), self.tuning.seen
        found = interpolated.fitted(grid, seen, days, self.sizes.shapes, key=jax.random.key(2))
        self.say(found.words)
        return found

    def interpolated(self, run: Run, ahead: int) -> Maps:
        """Optimal interpolation, with records of so many days after a map."""
        grid, sizes = plane(self.sizes.size), self.sizes
        days = range(sizes.burn_in, sizes.burn_in + sizes.days)
        found = [interpolated.mapped(grid, self.covariance, run.seen, d, ahead) for d in days]
        return Maps(*(np.stack(parts) for parts in zip(*found, strict=True)))

    def variational(self) -> Callable[[Run], Maps]:
        """4D-Var, whose errors are taken for those that it had in the run of the tuning."""
        sizes, run = self.sizes, self.tuning
        length = 10 if sizes.size > 16 else 4
        days = min(40, sizes.tuning)
        tried = {}
        for share in (0.02, 0.1):
            covariance = variational.ClimateSpectrum.of(self.climate, share)
            found = variational.four_dvar(
                self.model, covariance, run.start[0], run.seen.days(0, days), length, factor=1.2
            )
            error = (found - run.truth[:days])[days // 2 :, 0]
            tried[share] = (rms(error), covariance)
            self.say(f"4D-Var, share {share:g}: rmse {tried[share][0]:.4f}")
        best = min(tried, key=lambda share: tried[share][0])
        spread, covariance = tried[best]

        def maps(run: Run) -> Maps:
            found = variational.four_dvar(
                self.model, covariance, run.start[0], run.seen, length, factor=1.2
            )[sizes.burn_in : sizes.burn_in + sizes.days]
            return Maps(found[:, 0], np.full_like(found[:, 0], spread), lower=found[:, 1])

        return maps

    def filter_maps(self, found: Cycled) -> Maps:
        """Of the filter itself."""
        rows = slice(self.sizes.burn_in, self.sizes.burn_in + self.sizes.days)
        return Maps(
            found.mean[rows, 0],
            found.sd[rows, 0],
            found.crps[rows],
            found.mean[rows, 1],
            found.band_spread[rows],
        )

    def smoother_maps(self, found: Cycled, lag: int) -> Maps:
        """Of the ensemble smoother behind it.

        Arguments:
            lag: number of it in `LAGS`.
        """
        first = self.sizes.burn_in + LAGS[lag]
        rows = slice(first, first + self.sizes.days)
        mean, sd = found.smooth_mean[rows, lag], found.smooth_sd[rows, lag]
        return Maps(mean[:, 0], sd[:, 0], lower=mean[:, 1])

    def learned_maps(self, smoother: learned.Smoother, found: Cycled) -> Maps:
        """Of the amortized smoother."""
        rows = slice(self.sizes.burn_in, self.sizes.burn_in + self.sizes.days)
        mean, sd = smoother.maps(found)
        return Maps(mean[rows, 0], sd[rows, 0], lower=mean[rows, 1])

    def net(self) -> Callable[[Run], Maps]:
        """A 4DVarNet."""
        sizes, run = self.sizes, self.training
        posterior = learned.learned_net(run.truth, run.seen, sizes.steps, sizes.batch, say=self.say)

        def maps(run: Run) -> Maps:
            mean, sd = learned.net_maps(posterior, run.seen, sizes.size)
            first = sizes.burn_in - learned.CENTRE
            rows = slice(max(first, 0), max(first, 0) + sizes.days)
            return Maps(mean[rows], sd[rows])

        return maps


def rms(x: Float[np.ndarray, "*any"]) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


def kept(path: Path | None, make: Callable[[], list[Maps]]) -> list[Maps]:
    """Maps of all runs from a file, or made and written there."""
    if path is not None and path.exists():
        with np.load(path) as file:
            count = int(file["runs"])
            return [Maps(*(file.get(f"{name}{k}") for name in Maps._fields)) for k in range(count)]
    found = make()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {
            f"{name}{k}": value
            for k, maps in enumerate(found)
            for name, value in maps._asdict().items()
            if value is not None
        }
        np.savez(path, runs=len(found), **arrays)
    return found
