"""One choice of each kind, for ktl to find by its name."""
