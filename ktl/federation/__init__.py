"""Federated learning across heterogeneous models: many edges and one cloud."""
