"""Families of twin experiments that one network serves, with the figures published for them."""

from dataclasses import dataclass

from twins.closure import two_scales
from twins.settings import Setting

from vardax_core.models.kuramoto_sivashinsky import KuramotoSivashinsky
from vardax_core.models.lorenz96 import Lorenz96
from vardax_core.training.observing import AbstractObservingSystem, FixedNetwork, RandomNetwork


@dataclass(frozen=True)
class Case:
    """One ensemble size and observing network of a family.

    Attributes:
        observing: what each cycle observes.
        members: ensemble size.
        bar: largest rmse.a asked for; None where only calibration is.
        letkf: published rmse.a of the tuned LETKF, or None.
        rival: published rmse.a of the rival, read off a figure, or None.
        beside: largest rmse.a over that of our LETKF, tuned for the case; None where it is not
            asked for.
        radii, inflations: that our LETKF is tuned over.
    """

    observing: AbstractObservingSystem
    members: int
    bar: float | None = None
    letkf: float | None = None
    rival: float | None = None
    beside: float | None = None
    radii: tuple[float, ...] = (3.0, 4.0, 6.0)
    inflations: tuple[float, ...] = (1.01, 1.02, 1.05, 1.1)


@dataclass(frozen=True)
class Family:
    """Cases that one network serves.

    Attributes:
        setting: of its training.
        cases: by name.
        corrects: whether the network corrects the LETKF that is tuned for the first case.
    """

    setting: Setting
    cases: dict[str, Case]
    corrects: bool = False


QUARTER, PRECISE = FixedNetwork(1.0, every=4), FixedNetwork(0.7, every=4)
SCATTERED = RandomNetwork((0.49, 1.0), observed=(0.25, 0.25), outage=0.0)
LONG = {"radii": (4.0, 6.0, 8.0, 11.0), "inflations": (1.0, 1.01, 1.02, 1.05)}
EIGHTH, EVERYWHERE = FixedNetwork(1.0, every=8), FixedNetwork(1.0)
TWO_SCALES = "lorenz96, two scales and a model of one"
FAMILIES = {
    "lorenz96": Family(
        Setting(
            Lorenz96(step_size=0.05, n_steps=3, interval=1080),
            QUARTER,
            10,
            None,
            certainty=None,
            reach=8,
            nearness=1.5,
            sizes=(10, 40),
            systems=(QUARTER, PRECISE) * 3 + (SCATTERED,) * 2,
            counts=True,
            calibration=(16, 600, 2),
            measured=(5, 10, 40),
        ),
        {
            "sd 1, N = 5": Case(
                QUARTER, 5, None, 2.635, radii=(2.0, 2.5, 3.0), inflations=(1.05, 1.1, 1.2, 1.3)
            ),
            "sd 1, N = 10": Case(QUARTER, 10, 1.04, 2.020, 1.47),
            "sd 1, N = 20": Case(QUARTER, 20, None, 1.577, 1.36),
            "sd 1, N = 40": Case(QUARTER, 40, 0.98, 1.396, 1.25, **LONG),
            "sd 1, N = 100": Case(QUARTER, 100, 0.98, 1.304, 1.15, **LONG),
            "sd .7, N = 10": Case(PRECISE, 10, 0.66, 1.622),
            "sd .7, N = 40": Case(PRECISE, 40, 0.60, 0.893, **LONG),
            "sd .7, N = 100": Case(PRECISE, 100, 0.60, 0.855, **LONG),
            "scattered, N = 10": Case(SCATTERED, 10),
            "scattered, N = 40": Case(SCATTERED, 40),
        },
    ),
    "kuramoto-sivashinsky": Family(
        Setting(
            KuramotoSivashinsky(),
            EIGHTH,
            10,
            None,
            certainty=None,
            centre=0.0,
            scale=1.3,
            nearness=0.8,
            reach=14,
            sight=3,
            depth=4,
            sizes=(10, 40),
            counts=True,
            calibration=(8, 300, 2),
            measured=(10, 40),
        ),
        {
            "N = 10": Case(EIGHTH, 10, 0.97, 1.074, radii=(6.0, 9.0, 13.0)),
            "N = 40": Case(EIGHTH, 40, 0.90, 0.957, radii=(9.0, 13.0, 18.0)),
            "N = 100": Case(EIGHTH, 100, 0.87, 0.920, radii=(13.0, 18.0, 26.0)),
        },
    ),
    "kuramoto-sivashinsky, all observed": Family(
        Setting(
            KuramotoSivashinsky(),
            EVERYWHERE,
            20,
            None,
            centre=0.0,
            scale=1.3,
            nearness=0.3,
            streams=8,
            reach=10,
            sight=3,
            calibration=(8, 300, 2),
        ),
        {
            "N = 20": Case(
                EVERYWHERE,
                20,
                letkf=0.111,
                beside=1.0,
                radii=(14.0, 20.0, 28.0),
                inflations=(1.005, 1.01, 1.02, 1.04),
            ),
        },
        corrects=True,
    ),
}
NAMES = [*FAMILIES, TWO_SCALES]


def family_of(name: str) -> Family:
    """A family by its name; that of two scales fits its forecast model first."""
    if name != TWO_SCALES:
        return FAMILIES[name]
    nature, closed = two_scales()
    return Family(
        Setting(
            closed,
            EVERYWHERE,
            24,
            None,
            centre=2.4,
            scale=3.5,
            nearness=0.3,
            streams=16,
            nature=nature,
            calibration=(16, 600, 2),
        ),
        {
            "N = 24": Case(
                EVERYWHERE,
                24,
                beside=1.0,
                radii=(4.0, 6.0, 8.0, 11.0),
                inflations=(1.02, 1.05, 1.1, 1.2),
            ),
        },
        corrects=True,
    )
