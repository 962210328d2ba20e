"""Training a generator on unlabelled images."""
