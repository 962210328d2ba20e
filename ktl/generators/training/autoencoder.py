"""Trains a latent flow: images go to codes and back, critics look at what comes out, and a flow learns the codes.

A generator from nothing has to find out what photos show; here the encoder tells it. What a decoded image has to share
with the first one is what critics see of both, but for the finest details, and coarse pixels: the perceptual distance
of latent diffusion's first stage (Esser et al., CVPR 2021, arXiv 2012.09841), by the mixtures of a projected
discriminator. Details are for the critics to ask for.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ktl.data.transforms import to_network
from ktl.generators.network import Precision
from ktl.generators.networks.latent_flow import LatentFlow
from ktl.generators.networks.mapping import LEAKY_SLOPE, normalise
from ktl.generators.training.adversary import Row, diversity_of
from ktl.generators.training.projected import ProjectedAdversary
from ktl.generators.training.settings import LatentFlowTrainingConfig
from ktl.generators.training.trainer import GeneratorTrainer
from ktl.seeds import stream

MEASURED = 4_000  # images whose spread is the unit of distances
PIXELS = 16  # side of the image that an encoder sees beside mixtures
WIDTHS = (768, 512)
TIMES = 8  # points of the flow per code and step


class Encoder(nn.Module):
    """What critics see of images, and pixels at 16 x 16  ->  codes (n, dimension) of second moment 1."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, inputs: Tensor, dimension: int) -> None:
        """inputs: (n, d), `encoder_inputs` of images, by whose mean and deviation all later ones are scaled."""
        super().__init__()
        self.register_buffer("mean", inputs.mean(dim=0))
        self.register_buffer("deviation", inputs.std(dim=0) + 1e-4)
        first, second = WIDTHS
        self.layers = nn.Sequential(
            nn.Linear(inputs.shape[1], first),
            nn.LeakyReLU(LEAKY_SLOPE),
            nn.Linear(first, second),
            nn.LeakyReLU(LEAKY_SLOPE),
            nn.Linear(second, dimension),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        return normalise(self.layers((inputs - self.mean) / self.deviation))


def encoder_inputs(views: list[Tensor], images: Tensor) -> Tensor:
    """Mixtures (n, c, s, s) at 4 x 4 positions or fewer, and images (n, 3, r, r) at 16 x 16: (n, d), float32."""
    *mixtures, _ = views
    pooled = [F.adaptive_avg_pool2d(mixture.float(), min(4, mixture.shape[2])) for mixture in mixtures]
    return torch.cat([each.flatten(1) for each in [*pooled, F.adaptive_avg_pool2d(images, PIXELS)]], dim=1)


class Autoencoder(nn.Module):
    """All that learns but for the critics."""

    def __init__(self, encoder: Encoder, network: LatentFlow) -> None:
        super().__init__()
        self.encoder = encoder
        self.network = network


class LatentFlowTrainer(GeneratorTrainer):
    """An encoder, a decoder and a flow, which learn together. Codes are shown to the decoder with a little noise."""

    momentum = 0.5
    precision: Precision = "int8"
    longest_gradient = 1.0  # without, encoder and decoder fell apart after some thousand steps
    config: LatentFlowTrainingConfig
    adversary: ProjectedAdversary
    learner: Autoencoder
    average: Autoencoder

    def __init__(
        self,
        images: NDArray[Any],
        network: LatentFlow,
        adversary: ProjectedAdversary,
        config: LatentFlowTrainingConfig,
        device: torch.device,
    ) -> None:
        """network: not trained yet; the encoder is made to fit it and the images."""
        shown = torch.from_numpy(images[:MEASURED]).permute(0, 3, 1, 2).split(config.batch)
        inputs, distances = [], []
        for part in shown:
            pixels = to_network(part.to(device)).contiguous(memory_format=torch.channels_last)
            with torch.no_grad():
                views = adversary.views(pixels, stream(config.seed))
            inputs.append(encoder_inputs(views, pixels))
            distances.append(_compared(views, pixels))
        self.spread = [torch.cat(each).var(dim=0).mean() for each in zip(*distances, strict=True)]
        encoder = Encoder(torch.cat(inputs).cpu(), network.config.w_dim)
        super().__init__(images, Autoencoder(encoder, network), adversary, config, device)

    @property
    def kind(self) -> str:
        return f"latent flow, {self.adversary.name}"

    @property
    def generator(self) -> LatentFlow:
        return self.average.network

    def lesson(self, real: Tensor, rng: torch.Generator) -> tuple[Tensor, Row]:
        with torch.no_grad():
            views = self.adversary.views(real, rng)
        codes = self.learner.encoder(encoder_inputs(views, real))
        noisy = codes + self.config.code_noise * self._noise(codes.shape, rng)
        with torch.autocast(self.device.type, torch.bfloat16):
            fake: Tensor = self.learner.network.synthesis(noisy[:, None])
        fake = fake.float().contiguous(memory_format=torch.channels_last)
        diversity = {"diversity": diversity_of(fake, real)}
        if self.images_seen < self.config.pixel_images:
            loss = _pixel_loss(real, fake)
            return loss, {"pixel_loss": loss.item()} | diversity
        fake_views = self.adversary.views(fake, rng)
        loss, row = self.adversary.judged(views, fake_views)
        unlike = self._unlikeness(_compared(views, real), _compared(fake_views, fake))
        flow = self._flow_loss(codes.detach(), rng)
        row |= {"unlikeness": unlike.item(), "flow_loss": flow.item()} | diversity
        return loss + self.config.likeness * unlike + flow, row

    def _unlikeness(self, real: list[Tensor], fake: list[Tensor]) -> Tensor:
        """Mean squared differences in units of the spread: of mixtures their mean, of pixels the coarse ones double."""
        *mixtures, coarse, fine = (
            (a.float() - b.float()).square().mean() / spread
            for a, b, spread in zip(real, fake, self.spread, strict=True)
        )
        return torch.stack(mixtures).mean() + coarse + fine / 2

    def _flow_loss(self, codes: Tensor, rng: torch.Generator) -> Tensor:
        codes = codes.repeat(TIMES, 1)
        times = torch.rand(len(codes), 1, generator=rng).to(self.device)
        return self.learner.network.mapping.matching_loss(codes, self._noise(codes.shape, rng), times)

    def _noise(self, shape: torch.Size, rng: torch.Generator) -> Tensor:
        return torch.randn(shape, generator=rng).to(self.device)


def _compared(views: list[Tensor], images: Tensor) -> list[Tensor]:
    """All mixtures but the finest, and images (n, 3, r, r) at a quarter and at half of their side."""
    return [*views[1:-1], *_blurred(images)]


def _pixel_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Mean squared differences of images (n, 3, r, r): of all pixels, and of blurred ones."""
    pairs = zip([fake, *_blurred(fake)], [real, *_blurred(real)], strict=True)
    return torch.stack([F.mse_loss(*pair) for pair in pairs]).sum()


def _blurred(images: Tensor) -> list[Tensor]:
    return [F.avg_pool2d(images, 4), F.avg_pool2d(images, 2)]
