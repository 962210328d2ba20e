"""Pictures in, classes out; nothing here imports torch."""
