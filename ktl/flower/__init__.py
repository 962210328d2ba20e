"""Federations over Flower (extra `flower`): the loop in a ServerApp, a client in each node's ClientApp."""
