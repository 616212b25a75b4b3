"""Streams of real observations: what a recipe says of each, and the way from files to records."""
