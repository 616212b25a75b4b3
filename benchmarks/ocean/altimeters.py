"""What altimeters see of the eddies: ground tracks that repeat, a swath with its gap, and errors.

Four nadir altimeters are assimilated, a fifth is withheld; each passes once a day, rising and
falling in turn. A swath of 21 days' repeat passes every other day, with points on both sides of
its track and none below it. Errors have a white part and one that all points of a pass share: a
level that drifts along the track and, for the swath, a roll that grows with the distance from it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from ocean.eddies import HEIGHT, SPACING, Streamfunction

WITHHELD = 4
"""Number of the altimeter that no map sees."""
SWATH = 5
DRIFT = 500e3 / SPACING
"""Grid points over which the level of a pass, or its roll, forgets itself."""
SIDES = (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0)
"""Grid points from the swath's track: 16 to 47 km, without the gap of 10 km on both sides."""
STRIDE = 2
"""Grid points along the swath from one row of it to the next."""


class Altimeter(NamedTuple):
    """One instrument on its orbit.

    Attributes:
        repeat: days after which its ground tracks come again.
        order: of the tracks in a repeat, prime to it.
        slope: grid points eastward to one northward.
        white, shared: standard deviation of either part of the error, m.
    """

    repeat: int
    order: int
    slope: float
    white: float
    shared: float


ALTIMETERS = (
    Altimeter(10, 3, 0.45, 0.020, 0.015),
    Altimeter(17, 5, 0.35, 0.022, 0.015),
    Altimeter(35, 11, 0.20, 0.025, 0.020),
    Altimeter(27, 8, 0.25, 0.022, 0.015),
    Altimeter(13, 5, 0.30, 0.020, 0.015),
    Altimeter(21, 8, 0.22, 0.015, 0.020),
)
"""By their number; the last is the swath."""


class Records(NamedTuple):
    """What is seen each day, filled up to a number that is always the same.

    Attributes:
        places: coordinates `(y, x)` in grid points, NaN where there is no record.
        values: height of the surface, in the unit of the model's upper layer.
        sd: standard deviation of the errors, both parts together, the same unit.
        platforms: number of the altimeter, -1 where there is no record.
    """

    places: Float[np.ndarray, "day record 2"]
    values: Float[np.ndarray, "day record"]
    sd: Float[np.ndarray, "day record"]
    platforms: Int[np.ndarray, "day record"]

    def days(self, first: int, last: int) -> "Records":
        """Those of some days."""
        return Records(*(part[first:last] for part in self))

    def of(self, withheld: bool) -> "Records":
        """Those of the withheld altimeter, or of all others; the others are no longer there."""
        gone = (self.platforms == WITHHELD) != withheld
        return Records(
            np.where(gone[..., None], np.nan, self.places),
            np.where(gone, 0.0, self.values),
            np.where(gone, 1.0, self.sd),
            np.where(gone, -1, self.platforms),
        )


class Pass(NamedTuple):
    """Places of a pass, and how its shared error acts on each point.

    Attributes:
        along: row of its track that each point belongs to.
        lever: factor on the level, and on the roll, of the row.
    """

    places: Float[np.ndarray, "record 2"]
    along: Int[np.ndarray, " record"]
    lever: Float[np.ndarray, "record 2"]


def passes(day: int, size: int) -> dict[int, Pass]:
    """What is flown over on a day, by the number of the altimeter.

    Arguments:
        size: grid points along a side of the domain, which closes on itself.
    """
    found = {}
    for number, a in enumerate(ALTIMETERS):
        if number == SWATH and day % 2 == 0:
            continue
        first = size * (((day % a.repeat) * a.order / a.repeat + 0.618 * number) % 1)
        slope = a.slope if day % 2 else -a.slope
        along = np.arange(0, size, STRIDE if number == SWATH else 1)
        y, x = along + 0.5, first + slope * along
        sides = np.array(SIDES if number == SWATH else (0.0,))
        places = np.stack(
            [
                np.broadcast_to(y[:, None], (len(y), len(sides))),
                x[:, None] + sides[None],
            ],
            axis=-1,
        )
        lever = np.broadcast_to(
            np.stack([np.ones_like(sides), sides / max(SIDES)], axis=1), (len(y), len(sides), 2)
        )
        found[number] = Pass(
            places.reshape(-1, 2) % size, np.repeat(along, len(sides)), lever.reshape(-1, 2)
        )
    return found


def most_records(size: int) -> int:
    """Records of the busiest day."""
    return max(sum(len(p.places) for p in passes(day, size).values()) for day in range(2))


def bilinear(
    field: Float[np.ndarray, "y x"], places: Float[np.ndarray, "record 2"]
) -> Float[np.ndarray, " record"]:
    """Values of a field that closes on itself, between its points."""
    size = np.array(field.shape)
    low = np.floor(places).astype(int)
    part = places - low
    (y0, x0), (y1, x1) = (low % size).T, ((low + 1) % size).T
    fy, fx = part.T
    return (1 - fy) * ((1 - fx) * field[y0, x0] + fx * field[y0, x1]) + fy * (
        (1 - fx) * field[y1, x0] + fx * field[y1, x1]
    )


def flown(day: int, size: int) -> Records:
    """The places of one day, without the withheld altimeter and without values."""
    room = most_records(size)
    found = Records(
        np.full((1, room, 2), np.nan),
        np.zeros((1, room)),
        np.ones((1, room)),
        np.full((1, room), -1),
    )
    at = 0
    for number, one in passes(day, size).items():
        rows = slice(at, at + len(one.places))
        found.places[0, rows], found.platforms[0, rows] = one.places, number
        at = rows.stop
    return found.of(withheld=False)


def observed(
    model: Streamfunction, truth: Float[np.ndarray, "day 2 y x"], *, first: int, seed: int
) -> Records:
    """Fly over a nature run.

    Arguments:
        truth: of every day, the upper layer first.
        first: number of the first day, which the orbits follow.
        seed: of the errors.
    """
    size, metre = truth.shape[-1], 1 / (HEIGHT * model.scale[0])
    room, days = most_records(size), len(truth)
    places = np.full((days, room, 2), np.nan)
    values, sd = np.zeros((days, room)), np.ones((days, room))
    platforms = np.full((days, room), -1)
    for day in range(days):
        rng, at = np.random.default_rng((seed, first + day)), 0
        for number, flown in passes(first + day, size).items():
            a, count = ALTIMETERS[number], len(flown.places)
            rows = slice(at, at + count)
            shared = _drifting(rng, size)[:, flown.along]
            error = a.white * rng.standard_normal(count)
            error += a.shared * np.sum(flown.lever.T * shared, axis=0)
            places[day, rows], platforms[day, rows] = flown.places, number
            values[day, rows] = bilinear(truth[day, 0], flown.places) + metre * error
            shared_variance = a.shared**2 * np.sum(flown.lever**2, axis=1)
            sd[day, rows] = metre * np.sqrt(a.white**2 + shared_variance)
            at += count
    return Records(places, values, sd, platforms)


def _drifting(rng: np.random.Generator, size: int) -> Float[np.ndarray, "2 along"]:
    """Level and roll along a pass, of unit variance: first-order autoregressions."""
    kept = np.exp(-1 / DRIFT)
    noise = rng.standard_normal((2, size))
    series = np.empty((2, size))
    series[:, 0] = noise[:, 0]
    for k in range(1, size):
        series[:, k] = kept * series[:, k - 1] + (1 - kept**2) ** 0.5 * noise[:, k]
    return series


def nature(
    model: Streamfunction, start: Float[jax.Array, "2 y x"], days: int
) -> Float[np.ndarray, "day 2 y x"]:
    """States of the days that follow one."""
    key, now = jax.random.key(0), jnp.zeros((), jnp.int32)

    @jax.jit
    def run(state):
        def body(state, _):
            state = model.step(state, now, key=key)
            return state, state

        return jax.lax.scan(body, state, length=days)[1]

    return np.asarray(run(start))
