"""Local training: nothing travels. The yardstick, with the same classifier and recipe as FedKTL."""

from __future__ import annotations

from ktl.methods.base import Method
from ktl.models.classifiers import EtfClassifier


class Local(Method):
    """Every client trains on its own images alone."""

    classifier = EtfClassifier
