"""The twin experiments that the benchmarks cycle."""

from dataclasses import dataclass, field, replace

from vardax_core.analysis.base import AbstractAnalysisStep
from vardax_core.models.base import AbstractForecastModel
from vardax_core.models.lorenz63 import Lorenz63
from vardax_core.models.lorenz96 import Lorenz96
from vardax_core.training.nature import Nature
from vardax_core.training.observing import AbstractObservingSystem, FixedNetwork, RandomNetwork


@dataclass(frozen=True)
class Setting:
    """A twin experiment.

    Attributes:
        model: of the forecast.
        observing: networks and errors.
        members: ensemble size.
        bar: largest rmse.a of the analysis.
        lag: later observation times that the smoother waits for; 0 for none.
        lag_bar: largest rmse.a of the smoother.
        certainty: of the finite-size filter, first guess and reference; None for no first guess.
        iterations: of the first guess, each with a forecast of its own; 0 for none.
        guess: first guess that is taken instead of the finite-size filter.
        centre, scale: rough mean and standard deviation of the model's climate.
        nearness: see `OnPolicySettings`.
        streams: of the training.
        reach, width, depth: of the network.
        smoother_reach: points to each side that the smoother looks at.
        letkf: whether the reference is an LETKF tuned on a stream of its own.
        published: name and rmse.a of DAPPER's methods.
        nature: makes the truth; the forecast's own, without error, if there is none.
        sizes: ensemble sizes of the training; the setting's own if there are none.
        natures: of the training; `nature` if there are none.
        memories: cycles that the means of past departures go back, which the network then sees.
        systems: of the training, each for an equal share of the streams; `observing` if none.
        counts: whether the network sees how many members there are.
        sight: points to each side that one convolution of the network sees.
        calibration: streams, cycles and repeats of one measurement of the spread.
        measured: ensemble sizes whose spread is measured; all of the training by default.
    """

    model: AbstractForecastModel
    observing: AbstractObservingSystem
    members: int
    bar: float | None
    lag: int = 0
    lag_bar: float | None = None
    certainty: float | None = 1.0
    iterations: int = 0
    guess: AbstractAnalysisStep | None = None
    centre: float = 2.4
    scale: float = 3.6
    nearness: float = 0.5
    streams: int = 32
    reach: int = 5
    width: int = 64
    depth: int = 3
    smoother_reach: int = 6
    letkf: bool = False
    published: dict[str, float] = field(default_factory=dict)
    nature: Nature | None = None
    sizes: tuple[int, ...] = ()
    natures: tuple[Nature, ...] = ()
    memories: tuple[float, ...] = ()
    systems: tuple[AbstractObservingSystem, ...] = ()
    counts: bool = False
    sight: int = 2
    calibration: tuple[int, int, int] = (32, 600, 4)
    measured: tuple[int, ...] = ()


SETTINGS = {
    "lorenz96": Setting(
        Lorenz96(),
        FixedNetwork(1.0),
        24,
        0.18,
        certainty=2.0,
        published={"EnKF sqrt N=24": 0.187, "EnKF-N N=24": 0.176, "EnKF sqrt N=40": 0.173},
    ),
    "lorenz96 alone": Setting(
        Lorenz96(),
        FixedNetwork(1.0),
        24,
        0.20,
        certainty=None,
        reach=8,
        published={"EnKF sqrt N=24": 0.187},
    ),
    "half": Setting(
        Lorenz96(),
        FixedNetwork(1.5, every=2),
        24,
        0.46,
        lag=6,
        lag_bar=0.40,
        nearness=0.7,
        published={"EnKF-N N=24": 0.473, "iEnKS lag 2 N=19": 0.396},
    ),
    "spantini2019": Setting(
        Lorenz96(step_size=0.05, n_steps=8, interval=2880),
        FixedNetwork(0.5**0.5, every=2),
        40,
        0.66,
        lag=3,
        lag_bar=0.52,
        nearness=1.5,
        iterations=3,
        streams=24,
        reach=6,
        published={"LETKF N=40": 1.0, "LETKF N=100": 0.84, "iEnKS lag 2 N=100": 0.43},
    ),
    "sakov2012": Setting(
        Lorenz63(),
        FixedNetwork(2**0.5),
        10,
        0.50,
        centre=8.0,
        scale=12.0,
        nearness=1.5,
        iterations=3,
        streams=128,
        reach=1,
        depth=3,
        published={"EnKF sqrt N=10": 0.52, "iEnKS N=10": 0.30, "particle filter N=100": 0.35},
    ),
    "networks": Setting(
        Lorenz96(), RandomNetwork((0.25, 4.0)), 24, None, certainty=1.0, nearness=0.7, letkf=True
    ),
}
for _name in ("spantini2019", "sakov2012"):
    SETTINGS[f"{_name} at once"] = replace(SETTINGS[_name], iterations=0, lag=0, lag_bar=None)
SETTINGS["lorenz96 dt 0.2"] = Setting(
    Lorenz96(step_size=0.05, n_steps=4, interval=1440),
    FixedNetwork(1.0),
    24,
    None,
    iterations=3,
    nearness=0.7,
    published={"EnKF-N N=24": 0.429, "iEnKS lag 4 N=20": 0.284},
)
