"""Diffusion pipelines as generators."""
