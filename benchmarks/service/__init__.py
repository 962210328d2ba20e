"""The cloud as a service: under load, faults, attacks and damaged requests."""
