"""Experiments: one recipe, one method, one store; assembled from the parts of the library."""
