"""Warm starts: an extractor that a cloud has trained on many fresh images, once for all edges of one architecture."""
