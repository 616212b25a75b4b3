"""Amortized posteriors: encoders, heads and the interface that joins them."""
