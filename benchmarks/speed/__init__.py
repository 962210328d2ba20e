"""Seconds of the engine and the generators, and bytes on the wire."""
