"""Eight edges' own warm-ups for grey images, joined into one encoder: what the grey warm start that ships learnt from.

`benchmarks.accuracy.warm_ups:EightWarmUps` is its name, in the root folder. Each warm-up is what an edge with ten grey
classes does by itself, with a seed of its own; the first use makes them, in about twenty seconds each, and keeps them
in the folder that KTL_WARM_STARTS names.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl import load_generator
from ktl.data.transforms import LUMA
from ktl.encoders.base import Encoder, weights_digest
from ktl.models import MODELS
from ktl.spaces import space_of
from ktl.warm_start.settings import Architecture, WarmStartConfig
from ktl.warm_start.warm_starts import WarmStarts
from ktl.wire import decode_warm_start

GREY = Architecture("cnn4", channels=1, image_size=28)


class EightWarmUps(Encoder):
    """Their unit features, one after the other."""

    name = "eight warm-ups"
    members = 8
    network: nn.ModuleList
    image_size = GREY.image_size

    def __init__(self) -> None:
        generator = load_generator("builtin")
        space = space_of(generator)
        self.network = nn.ModuleList()
        for seed in range(self.members):
            warm_ups = WarmStarts(generator, space, WarmStartConfig(images=700, passes=90, batch=96, seed=seed))
            extractor = MODELS.load(GREY.model)(GREY.channels, GREY.image_size).eval()
            extractor.load_state_dict(decode_warm_start(warm_ups.make(GREY), extractor.state_dict()).weights)
            self.network.append(extractor)
        self.dimension = self.members * extractor.feature_dim
        self.fingerprint = weights_digest(self.network, self.image_size)

    def features(self, images: Tensor) -> Tensor:
        grey = (images * torch.tensor(LUMA)[:, None, None]).sum(dim=1, keepdim=True)
        return torch.cat([F.normalize(extractor(grey).float(), dim=1) for extractor in self.network], dim=1)
