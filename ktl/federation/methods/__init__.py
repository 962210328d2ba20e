"""One file a method, each with its paper, its equation and what travels."""
