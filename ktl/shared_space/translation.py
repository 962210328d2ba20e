"""Class statistics of edges of one architecture in the terms of another's: both speak of the same classes.

Edges of two architectures map images into one space, and yet each kind of extractor sees its own things: the map of a
smaller network moves a class nearer to the mean of all, along some directions more than along others. Where both kinds
have images of a class, its two means tell how to translate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ktl.class_statistics import ClassStatistics, pooled
from ktl.shared_space.discriminant import whitening_of

DEVIATION = 1.0  # squared length, where scatter is 1, of what a row of the translation is expected to change
FEWEST = 2  # classes in common: one says nothing but where it lies


def in_terms_of(architecture: bytes, parts: Sequence[ClassStatistics]) -> ClassStatistics:
    """`parts` (at least one) added up, all but those of `architecture` translated into its terms.

    As they are where no part, or too few classes, are of that architecture.
    """
    own = [part for part in parts if part.architecture == architecture]
    if not own:
        return pooled(parts)
    home = pooled(own)
    others = (pooled([part]) for part in parts if part.architecture != architecture)  # classes in order
    return pooled([home, *(translated(part, home) for part in others)])


@torch.no_grad()
def translated(foreign: ClassStatistics, home: ClassStatistics) -> ClassStatistics:
    """`foreign` with its means moved to where they would lie in the terms of `home`, and with scatter like there.

    The classes of both are in order.

    With x and y the two means of each common class, from their centres and where scatter within classes is 1: z -> z +
    z G, where G is the ridge regression from x to y - x. Its penalty is the noise of the means over `DEVIATION`: few
    images change little but the centre.
    """
    common = foreign.classes[torch.isin(foreign.classes, home.classes)]
    if len(common) < FEWEST:
        return foreign
    rows, columns = (torch.searchsorted(part.classes, common) for part in (foreign, home))
    means, targets = foreign.means.double(), home.means.double()[columns]
    whitening = whitening_of(pooled([foreign, home]))
    centre, home_centre = means[rows].mean(dim=0), targets.mean(dim=0)
    x, y = (means[rows] - centre) @ whitening, (targets - home_centre) @ whitening
    noise = (1 / foreign.counts[rows].double() + 1 / home.counts[columns].double()).mean()
    dimension = x.shape[1]
    identity = torch.eye(dimension, dtype=torch.float64)
    change = torch.linalg.solve(x.T @ x + noise * dimension / DEVIATION * identity, x.T @ (y - x))
    moved = (means - centre) @ whitening @ (identity + change) @ torch.linalg.inv(whitening) + home_centre
    sums = moved * foreign.counts[:, None]
    moment = _scatter_like(home, foreign) + sums.T @ moved
    return replace(foreign, sums=sums.float(), moment=moment.float())


def _scatter_like(home: ClassStatistics, foreign: ClassStatistics) -> Tensor:
    """Within classes, (D, D) float64: the home's, as much of it as the foreign images would have.

    The foreign one where no class has two images at home.
    """
    free, free_at_home = (int(part.counts.sum()) - len(part.counts) for part in (foreign, home))
    part, share = (home, free / free_at_home) if free_at_home else (foreign, 1.0)
    return share * (part.moment.double() - part.sums.double().T @ part.means.double())
