"""The state space: what a state holds, and where its points are."""
