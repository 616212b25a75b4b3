"""Posterior heads: Gaussian regression, conditional flow, score diffusion."""
