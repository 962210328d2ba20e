"""How a generator is trained."""

from __future__ import annotations
