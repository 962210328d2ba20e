"""Confidence intervals of a mean over seeds."""

from ktl.edge.intervals import mean_interval as interval

__all__ = ["interval"]
