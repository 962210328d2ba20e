"""A generator's training in a folder: configuration, figures, weights, sample grid, and the state to resume from."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from ktl.checkpoint import load_checkpoint, save_checkpoint
from ktl.data.collection import read_collection
from ktl.data.images import Images
from ktl.errors import UsageError
from ktl.files import write_json, write_rows
from ktl.generators.base import ImageGenerator
from ktl.generators.network import NetworkGenerator, load_network, save_network
from ktl.generators.networks.latent_flow import LatentFlow, LatentFlowConfig
from ktl.generators.networks.stylegan2 import StyleGAN2, StyleGAN2Config
from ktl.generators.samples import sample_grid
from ktl.generators.training.adversary import Adversary, Row
from ktl.generators.training.autoencoder import LatentFlowTrainer
from ktl.generators.training.features import FeatureMaps, PretrainedNetwork
from ktl.generators.training.projected import ProjectedAdversary
from ktl.generators.training.quality import MAX_IMAGES, MIN_IMAGES, measure_quality
from ktl.generators.training.relativistic import RelativisticAdversary
from ktl.generators.training.settings import (
    FeaturesConfig,
    LatentFlowTrainingConfig,
    ProjectedConfig,
    RelativisticConfig,
)
from ktl.generators.training.trainer import GeneratorTrainer, StyleGAN2Trainer
from ktl.seeds import initialising, stream
from ktl.settings import as_table

CHECKPOINT = "checkpoint.safetensors"
WEIGHTS = "generator.safetensors"
Config = RelativisticConfig | ProjectedConfig | LatentFlowTrainingConfig
Kind = TypeVar("Kind", StyleGAN2, LatentFlow)
SIZES = (8, 16, 32, 64, 128)  # pixels


def train_generator(
    source: Path,
    out: Path,
    config: Config,
    *,
    size: int = 32,
    features: PretrainedNetwork | None = None,
    start: ImageGenerator | None = None,
    licence: str = "not stated",
    device: str = "cpu",
    resume: bool = False,
    on_row: Callable[[Row], None] = lambda row: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Trains on the images of a folder or tar file and returns the path of the weights, `out/generator.safetensors`.

    A ProjectedConfig goes with `features`, an encoder that the discriminator looks through. `start` is a StyleGAN2 of
    `size` pixels whose weights to begin with; None: fresh ones.

    Beside the weights: config.json, metrics.jsonl (one row per `config.log_every` steps), samples.png (64 images) and
    checkpoint.safetensors, from which `resume` goes on. A twentieth of the images (2,000 at most) is held out; where
    that makes 64 or more, rows of steps at which all is saved also tell `quality.Quality` against them. Raises
    UsageError if `out` already holds a training that was not to be resumed or that had another discriminator, for a
    `start` of another kind and for `features` without maps; DataError if an image cannot be read.
    """
    if isinstance(config, LatentFlowTrainingConfig) and start is not None:
        raise UsageError(f"a latent flow learns beside an encoder, which {start.name} has not: leave --start out")
    if resumed := (out / CHECKPOINT).exists():
        if not resume:
            raise UsageError(f"{out} already holds a training; go on with --resume or name another --out")
        start = load_network(out / WEIGHTS, name=out.name)
    if size not in SIZES:
        raise UsageError(f"--size is {size}: choose one of {', '.join(map(str, SIZES))}")
    images, held_out = _split(read_collection(source, size), config.seed)
    trainer = _trainer(images, config, features, start, torch.device(device))
    folder = _TrainingFolder(out, trainer, held_out, licence)
    folder.open(resumed=resumed)
    trainer.train(lambda row: folder.keep(row, on_row), should_stop)
    return folder.save()


def _trainer(
    images: Images,
    config: Config,
    features: PretrainedNetwork | None,
    start: ImageGenerator | None,
    device: torch.device,
) -> GeneratorTrainer:
    size = images.shape[1]
    with initialising(config.seed, "initial weights"):
        if isinstance(config, LatentFlowTrainingConfig):
            flow = LatentFlow(LatentFlowConfig.of_size(size)) if start is None else _copy(start, LatentFlow, size)
            critics = _projected(config, features, size, device, augment=False)
            return LatentFlowTrainer(images, flow, critics, config, device)
        generator = StyleGAN2(StyleGAN2Config(resolution=size)) if start is None else _copy(start, StyleGAN2, size)
        adversary: Adversary
        if isinstance(config, RelativisticConfig):
            adversary = RelativisticAdversary(generator.config, config, device)
        else:
            adversary = _projected(config, features, size, device, augment=config.augment)
    return StyleGAN2Trainer(images, generator, adversary, config, device)


def _projected(
    config: FeaturesConfig, features: PretrainedNetwork | None, size: int, device: torch.device, *, augment: bool
) -> ProjectedAdversary:
    if features is None:
        raise UsageError("a projected discriminator looks through an encoder: give its features")
    maps = FeatureMaps(features, config.feature_size).to(device)
    with initialising(config.seed, "projections"):  # the same ones, whatever the generator starts from
        return ProjectedAdversary(maps, size, config.discriminator_rate, augment=augment)


def _copy(start: ImageGenerator, kind: type[Kind], size: int) -> Kind:
    """The weights of `start`, to be trained on."""
    if not isinstance(start, NetworkGenerator) or not isinstance(start.network, kind) or start.classes:
        wanted = f"a {kind.__name__} without classes"
        raise UsageError(f"a training starts from {wanted}, but {start.name} is a {start.family}")
    if start.image_size != size:
        raise UsageError(f"{start.name} draws {start.image_size} pixels: give --size {start.image_size}")
    return copy.deepcopy(start.network).train().requires_grad_(True)


class _TrainingFolder:
    """The files of one training, and its rows of figures so far."""

    def __init__(self, path: Path, trainer: GeneratorTrainer, held_out: Tensor, licence: str) -> None:
        self.path = path
        self.trainer = trainer
        self.held_out = held_out
        self.licence = licence
        self.rows: list[Row] = []

    def open(self, *, resumed: bool) -> None:
        """Makes the folder, or lets the trainer go on from the state in it."""
        self.path.mkdir(parents=True, exist_ok=True)
        if resumed:
            state, metadata = load_checkpoint(self.path / CHECKPOINT)
            known = metadata.get("discriminator", RelativisticAdversary.name)  # the only one there once was
            if known != self.trainer.kind:
                raise UsageError(
                    f"{self.path} holds a training with another discriminator or of another family: "
                    "give the same --features and --family, or a new --out"
                )
            self.trainer.restore(state)
            self.rows = metadata["rows"]
        size = self.trainer.images.shape[2]
        write_json(self.path / "config.json", as_table(self.trainer.config) | {"size": size})

    def keep(self, row: Row, on_row: Callable[[Row], None]) -> None:
        """Adds a row of figures; every `save_every` steps also measures the images' quality and saves all."""
        saving = self.trainer.step % self.trainer.config.save_every == 0
        if saving and len(self.held_out) >= MIN_IMAGES:
            row |= self._quality()
        self.rows.append(row)
        on_row(row)
        if saving:
            self.save()

    def save(self) -> Path:
        """Writes all files and returns the path of the weights."""
        weights = self.path / WEIGHTS
        save_network(weights, self.trainer.generator, licence=self.licence, precision=self.trainer.precision)
        about = {"rows": self.rows, "discriminator": self.trainer.kind}
        save_checkpoint(self.path / CHECKPOINT, self.trainer.state(), about)
        write_rows(self.path / "metrics.jsonl", self.rows)
        generator = load_network(weights, name=self.path.name)
        sample_grid(generator, rows=8, columns=8, seed=self.trainer.config.seed).save(self.path / "samples.png")
        return weights

    def _quality(self) -> Row:
        network = copy.deepcopy(self.trainer.generator).cpu()
        average = NetworkGenerator(network, name=self.path.name, licence=self.licence, fingerprint="")
        return asdict(measure_quality(average, self.held_out))


def _split(images: Images, seed: int) -> tuple[Images, Tensor]:
    """The images to train on, uint8 (n, size, size, 3), and those to measure with, uint8 (n, 3, size, size)."""
    order = torch.randperm(len(images), generator=stream(seed, "held out")).numpy()
    count = min(len(images) // 20, MAX_IMAGES)
    return images[order[count:]], torch.from_numpy(images[order[:count]]).permute(0, 3, 1, 2)
