"""Eight edges' own warm-ups for grey images, joined into one encoder: what the grey warm start that ships learnt from.

`benchmarks.accuracy.warm_ups:EightWarmUps` is its name, in the root folder. Each warm-up is what an edge with ten grey
classes does by itself, with a seed of its own; the first use makes them, in about twenty seconds each, and keeps them
in the folder that KTL_WARM_STARTS names.
"""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor

from ktl import load_generator
from ktl.encoders.base import Encoder
from ktl.models import MODELS
from ktl.models.edge_model import extractor_weights
from ktl.spaces import space_of
from ktl.warm_start.settings import Architecture, WarmStartConfig
from ktl.warm_start.warm_starts import WarmStarts
from ktl.wire import decode_warm_start

GREY = Architecture("cnn4", channels=1, image_size=28)
LUMA = (0.299, 0.587, 0.114)  # as ktl makes images grey


class EightWarmUps(Encoder):
    """Their unit features, one after the other."""

    name = "eight warm-ups"
    members = 8
    image_size = GREY.image_size

    def __init__(self) -> None:
        generator = load_generator("builtin")
        space = space_of(generator)
        digest = hashlib.sha256()
        self.extractors = []
        for seed in range(self.members):
            warm_ups = WarmStarts(generator, space, WarmStartConfig(images=700, passes=90, batch=96, seed=seed))
            payload = warm_ups.make(GREY)
            digest.update(payload)
            extractor = MODELS.load(GREY.model)(GREY.channels, GREY.image_size).eval()
            like = extractor_weights(GREY.model, GREY.channels, GREY.image_size)
            extractor.load_state_dict(decode_warm_start(payload, like).weights)
            self.extractors.append(extractor)
        self.dimension = sum(extractor.feature_dim for extractor in self.extractors)
        self.fingerprint = digest.hexdigest()

    def features(self, images: Tensor) -> Tensor:
        grey = (images * torch.tensor(LUMA)[:, None, None]).sum(dim=1, keepdim=True)
        return torch.cat([F.normalize(extractor(grey).float(), dim=1) for extractor in self.extractors], dim=1)
