"""The `ktl` command: arguments, progress and printing; the work is done in `ktl`."""
