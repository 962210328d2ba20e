"""The cloud on Ray Serve: servers that hold no generator, and replicas that do nothing but draw."""
