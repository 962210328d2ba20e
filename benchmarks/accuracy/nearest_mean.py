"""How well an encoder tells classes apart from a few images of each: the cosine to the class means, nothing trained.

Run: python benchmarks/nearest_mean.py --data ../data/cifar100-20k.npz --shots 2 [--encoder builtin]

Prints one line: the accuracy in percent on all test images, the mean over the seeds with its 95% interval, then each.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from seed_means import seed_mean
from torch import Tensor

from ktl.data import load_dataset
from ktl.data.fewshot import FewShotTask, draw_task
from ktl.encoders import load_encoder
from ktl.encoders.base import Encoder


def nearest_mean_accuracy(encoder: Encoder, task: FewShotTask) -> float:
    """Percent; embeddings are taken from the mean of the shots', so that what all images share says nothing."""
    shots, test = (encoder.embed(images.expand(-1, 3, -1, -1)) for images in (task.shot_images, task.test_images))
    centre = shots.mean(dim=0)
    points, tested = F.normalize(shots - centre, dim=1), F.normalize(test - centre, dim=1)
    found = (tested @ class_means(points, task.shot_labels, len(task.class_names)).T).argmax(dim=1)
    return 100 * float((found == task.test_labels).float().mean())


def class_means(points: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Unit vectors (classes, D) along the means of points (n, D)."""
    return F.normalize(torch.zeros(classes, points.shape[1]).index_add_(0, labels, points), dim=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="builtin")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--size", type=int, help="pixels; the data's own if none")
    parser.add_argument("--shots", type=int, default=2)
    parser.add_argument("--ways", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102])
    args = parser.parse_args()
    encoder, dataset = load_encoder(args.encoder), load_dataset(args.data, args.size)
    values = []
    for seed in args.seeds:
        task = draw_task(dataset, shots=args.shots, ways=args.ways, seed=seed)
        values.append(nearest_mean_accuracy(encoder, task))
    print(f"{seed_mean(values)}  ({', '.join(f'{value:.2f}' for value in values)})")


if __name__ == "__main__":
    main()
