"""The projected discriminator: small critics on random mixtures of a pre-trained network's feature maps, and on pixels.

Written from Sauer et al., "Projected GANs Converge Faster" (NeurIPS 2021, arXiv 2111.01007) and "StyleGAN-XL" (SIGGRAPH
2022, arXiv 2202.00273): the network and the mixtures are fixed, only the critics learn, by the hinge loss. A mixture is
of all of a map's channels and of what lies on coarser ones, so that no critic can settle for few features.

The critic of pixels is ours: a network that tells things apart hardly sees how bright a photograph is, and what it does
not see, its critics do not ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ktl.generators.networks.mapping import LEAKY_SLOPE
from ktl.generators.training.adversary import Adversary, Row, descend, diversity_of
from ktl.generators.training.augmentation import augmented
from ktl.generators.training.features import FeatureMaps

FINEST_WIDTH = 32  # channels of the finest mixture; each coarser one has twice as many
MOST_CHANNELS = 128  # of critics, unless what they look at has more
PATCH = 4  # side of the pixels that are one position to their critic


class RandomMixtures(nn.Module):
    """Maps (n, c, s, s), from fine to coarse  ->  as many of the same sides, mixed over channels and scales."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.widths = [FINEST_WIDTH * 2**level for level in range(len(channels))]
        self.across_channels = nn.ModuleList(
            nn.Conv2d(inputs, width, 1) for inputs, width in zip(channels, self.widths, strict=True)
        )
        self.across_scales = nn.ModuleList(
            nn.Conv2d(coarser, width, 3, padding=1)
            for width, coarser in zip(self.widths, self.widths[1:], strict=False)
        )
        for layer in [*self.across_channels, *self.across_scales]:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
            nn.init.zeros_(layer.bias)
        self.requires_grad_(False)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        *finer, mixed = [mix(each) for mix, each in zip(self.across_channels, maps, strict=True)]
        mixtures = [mixed]
        for own, mix in zip(reversed(finer), reversed(self.across_scales), strict=True):
            coarser = F.interpolate(mixtures[0], size=own.shape[2:], mode="bilinear", align_corners=False)
            mixtures.insert(0, (own + mix(coarser)) * 0.5**0.5)
        return mixtures


class Critic(nn.Module):
    """A view (n, c, s, s), a mixture or pixels by patches  ->  realness at 4 x 4 positions or fewer, (n, 1, s', s')."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        while side > 4:
            wider = min(2 * channels, MOST_CHANNELS)
            layers += [spectral_norm(nn.Conv2d(channels, wider, 4, stride=2, padding=1)), nn.LeakyReLU(LEAKY_SLOPE)]
            channels, side = wider, side // 2
        layers += [spectral_norm(nn.Conv2d(channels, channels, 3, padding=1)), nn.LeakyReLU(LEAKY_SLOPE)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(channels, 1, 1)))

    def forward(self, view: Tensor) -> Tensor:
        score: Tensor = self.layers(view).float()
        return score


class ProjectedAdversary(Adversary):
    """Critics of a pre-trained network's features of images of `image_size` pixels, and of these pixels."""

    def __init__(self, features: FeatureMaps, image_size: int, rate: float, *, augment: bool = True) -> None:
        self.features = features
        self.augment = augment
        self.name = f"projected, with pixels, {features.fingerprint} {features.size}"
        channels, sides = zip(*features.shapes, strict=True)
        self.mixtures = RandomMixtures(channels)
        self.mixtures.to(features.device, torch.bfloat16).to(memory_format=torch.channels_last)
        of_pixels = Critic(3 * PATCH**2, image_size // PATCH)
        self.critics = [*map(Critic, self.mixtures.widths, sides), of_pixels]
        super().__init__(nn.ModuleList(self.critics).to(features.device).to(memory_format=torch.channels_last), rate)

    def teach(self, real: Tensor, draw: Callable[[], Tensor], rng: torch.Generator, step: int) -> tuple[Tensor, Row]:
        """One batch of generated images serves both players: most of a step's time goes into its features."""
        fake = draw()
        with torch.no_grad():
            real_views = self.views(real, rng)
        loss, row = self.judged(real_views, self.views(fake, rng))
        return loss, row | {"diversity": diversity_of(fake, real)}

    def views(self, images: Tensor, rng: torch.Generator) -> list[Tensor]:
        """What each critic looks at: the mixtures of images (n, 3, r, r), from fine to coarse, and their patches."""
        shown = augmented(images, rng) if self.augment else images
        return [*self.mixtures(self.features(shown)), F.pixel_unshuffle(shown, PATCH)]

    def judged(self, real: list[Tensor], fake: list[Tensor]) -> tuple[Tensor, Row]:
        """Learns from views of real and of generated images; the generator's loss and figures, as `teach`."""
        loss = hinge(self._scores(real), self._scores([view.detach() for view in fake]))
        descend(self.optimizer, loss)
        self.discriminator.requires_grad_(False)
        generator_loss = -_mean(self._scores(fake))
        self.discriminator.requires_grad_(True)
        return generator_loss, {"discriminator_loss": loss.item(), "generator_loss": generator_loss.item()}

    def _scores(self, views: list[Tensor]) -> list[Tensor]:
        with torch.autocast(self.features.device.type, torch.bfloat16):
            return [critic(view) for critic, view in zip(self.critics, views, strict=True)]


def hinge(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """The discriminator's loss from scores of real and of generated images: 2 if it cannot tell them, 0 if it can."""
    return _mean([F.relu(1.0 - score) for score in real]) + _mean([F.relu(1.0 + score) for score in fake])


def _mean(scores: list[Tensor]) -> Tensor:
    """Every critic counts the same."""
    return torch.stack([score.mean() for score in scores]).mean()
