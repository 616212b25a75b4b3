"""The models and analyses of vardax that stand for those of DAPPER."""


def our_step(system, name, model, climatology):
    """The analysis of a row of the table, its member count, and whether it carries its state."""
    import jax.numpy as jnp
    import numpy as np

    from vardax_core.analysis.ensemble.enkf import EnKF
    from vardax_core.analysis.ensemble.etkf import ETKF
    from vardax_core.analysis.ensemble.finite_size import FiniteSizeETKF
    from vardax_core.analysis.ensemble.letkf import LETKF
    from vardax_core.analysis.ensemble.localization import ring_network
    from vardax_core.analysis.variational.covariance import DenseCovariance
    from vardax_core.analysis.variational.optimal_interpolation import OptimalInterpolation
    from vardax_core.analysis.variational.three_dvar import ThreeDVar
    from vardax_core.observations.operators import Identity

    operator = Identity(model.state_shape)
    size = model.state_shape[0]

    def covariance(scale):
        return DenseCovariance.from_matrix(jnp.asarray(scale * climatology), model.state_shape)

    steps = {
        "lorenz96": {
            "OI": lambda: (OptimalInterpolation(operator, covariance(1.0)), 1),
            "3D-Var": lambda: (ThreeDVar(operator, covariance(0.02)), 1),
            "EnKF N=40": lambda: (EnKF(operator, 1.06), 40),
            "ETKF N=24": lambda: (ETKF(operator, 1.013), 24),
            "ETKF N=24, 1.02": lambda: (ETKF(operator, 1.02), 24),
            "ETKF N=40": lambda: (ETKF(operator, 1.01), 40),
            "EnKF-N N=24": lambda: (FiniteSizeETKF(operator, certainty=2.0), 24),
            # DAPPER's radius of 4 is a half-width of 1.82 * 4 in the taper's own terms.
            "LETKF N=7": lambda: (
                LETKF(
                    operator,
                    ring_network(size, np.arange(1.0 * size), 1.82 * 4),
                    inflation=1.04,
                    rotate=True,
                ),
                7,
            ),
        },
        "lorenz63": {
            "OI": lambda: (OptimalInterpolation(operator, covariance(1.0)), 1),
            "3D-Var": lambda: (ThreeDVar(operator, covariance(0.1)), 1),
            "EnKF N=100": lambda: (EnKF(operator, 1.01), 100),
            "ETKF N=10": lambda: (ETKF(operator, 1.02), 10),
            "EnKF-N N=10": lambda: (FiniteSizeETKF(operator), 10),
        },
    }
    return steps[system][name]()


def our_system(system):
    """The forecast model of one cycle, the error variance, and the spread of the start."""
    from vardax_core.models.lorenz63 import Lorenz63
    from vardax_core.models.lorenz96 import Lorenz96

    if system == "lorenz96":
        return Lorenz96(), 1.0, 0.001
    return Lorenz63(n_steps=25), 2.0, 2.0


def climatology_of(model, key):
    """Mean and covariance of a long free run."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    start = 5.0 + jnp.arange(1.0 * model.state_shape[0]) % 3
    run = jax.jit(lambda x: model.trajectory(x, jnp.asarray(0, jnp.int32), 20000, key=key))
    states = np.asarray(run(start))[400:]
    return np.mean(states, axis=0), np.cov(states.T)
