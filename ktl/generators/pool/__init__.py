"""Pools: images that a cloud owns and may share, in place of a generator's."""
