"""Gates: tests that a posterior must pass before it goes to work."""
