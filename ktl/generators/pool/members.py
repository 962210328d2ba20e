"""From normal noise to members of a pool: each as likely as any other, like ones for like noise, and none twice."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


class Members:
    """A k-d tree over embeddings (n, d): level by level, noise goes to one half of what is left by one number of both.

    The numbers that vary most decide first. Standard normal noise ends at every member with equal probability.
    """

    def __init__(self, embeddings: Tensor) -> None:
        self.count = len(embeddings)
        self.noise_dim = max(1, math.ceil(math.log2(self.count)))
        telling: list[int] = embeddings.double().var(dim=0).argsort(descending=True, stable=True).tolist()
        self._axes = [telling[level % len(telling)] for level in range(self.noise_dim)]
        self._order = self._sorted(embeddings.numpy())  # leaves of the tree, from left to right: like ones are near

    def chosen(self, noise: Tensor) -> Tensor:
        """noise (m, noise_dim) -> indices of members (m,), int64: none comes again before all have come once.

        Where a member was taken by earlier noise, the next one along the leaves that is free takes its place.
        """
        free: set[int] = set()
        leaves = []
        for leaf in self._leaves(noise).tolist():
            free = free or set(range(self.count))
            while leaf not in free:
                leaf = (leaf + 1) % self.count
            free.remove(leaf)
            leaves.append(leaf)
        return self._order[torch.tensor(leaves, dtype=torch.int64)]

    def _leaves(self, noise: Tensor) -> Tensor:
        quantiles = torch.special.ndtr(noise.double())  # uniform in 0..1
        start = torch.zeros(len(noise), dtype=torch.int64)
        end = torch.full_like(start, self.count)
        for level in range(self.noise_dim):
            middle = (start + end) // 2
            right = quantiles[:, level] * (end - start) >= middle - start
            start, end = torch.where(right, middle, start), torch.where(right, end, middle)
        return start

    def _sorted(self, embeddings: np.ndarray) -> Tensor:
        order, places = np.arange(self.count), np.arange(self.count)
        start, end = np.zeros_like(order), np.full_like(order, self.count)
        for axis in self._axes:
            order = order[np.lexsort((embeddings[order, axis], start))]  # within each part of the tree
            middle = (start + end) // 2
            right = places >= middle
            start, end = np.where(right, middle, start), np.where(right, end, middle)
        return torch.from_numpy(order)
