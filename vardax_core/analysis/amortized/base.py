"""What the networks of analyses have in common."""

import equinox as eqx


class AbstractNetwork(eqx.Module):
    """A network that computes in the floating-point type of its weights."""
