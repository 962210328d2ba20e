"""Seconds a round: ktl's engine beside a straightforward sequential loop, in one run on one machine.

Run: python benchmarks/federation.py [--methods fedproto,fedktl,fml] [--clients 20] [--images 20000] [--rounds 2]

The sequential loop does what research code does: clients one after the other with two threads, each image through a
per-sample Dataset and DataLoader, the model saved to disk between clients; its arithmetic is local cross-entropy
training plus evaluation, without the method's own work, which favours it. Random 32 x 32 images; SGD, batch 10, one
epoch a round, float32. `processor seconds` are what all
processes used over the whole run, start and the uncounted first round included, whatever else the machine does.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from ktl.config import RECIPES, CloudConfig, FederationConfig, TransferConfig
from ktl.data.partition import ClientIndex, FederatedData
from ktl.federation.run import federate
from ktl.models.edge_model import build_model

CLASSES = 100


def random_data(images: int, clients: int) -> FederatedData:
    """Three quarters to train on, equal shares."""
    rng = torch.Generator().manual_seed(0)
    pool = torch.randint(0, 256, (images, 3, 32, 32), dtype=torch.uint8, generator=rng)
    labels = torch.randint(0, CLASSES, (images,), generator=rng)
    shares = torch.arange(images).chunk(clients)
    split = [ClientIndex(share[: len(share) * 3 // 4], share[len(share) * 3 // 4 :]) for share in shares]
    return FederatedData([str(c) for c in range(CLASSES)], pool, labels, split)


class PerSample(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """One float image at a time."""

    def __init__(self, data: FederatedData, index: torch.Tensor) -> None:
        self.data, self.index = data, index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: int) -> tuple[torch.Tensor, torch.Tensor]:
        i = self.index[item]
        return self.data.images[i].float() / 127.5 - 1.0, self.data.labels[i]


def sequential(data: FederatedData, rounds: int, folder: Path) -> None:
    """Every client, one after the other, in each round."""
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    for client in range(len(data.clients)):
        torch.save(_model(), folder / f"{client}.pt")
    for _ in range(rounds):
        for client, held in enumerate(data.clients):
            model = torch.load(folder / f"{client}.pt", weights_only=False)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
            model.train()
            for images, labels in DataLoader(PerSample(data, held.train), batch_size=10, shuffle=True):
                optimizer.zero_grad()
                F.cross_entropy(model(images), labels).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                for images, _ in DataLoader(PerSample(data, held.test), batch_size=10):
                    model(images).argmax(dim=1)
            torch.save(model, folder / f"{client}.pt")


def _model() -> torch.nn.Module:
    return build_model("cnn4", channels=3, image_size=32, classes=CLASSES, seed=0, etf_seed=0, head="linear")


def processor_seconds() -> float:
    """Of this process and the children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default="fedproto,fedktl,fml")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    data = random_data(args.images, args.clients)
    print("| what | seconds a round | processor seconds, whole run |\n|---|---|---|")
    with TemporaryDirectory() as folder:
        clock, used = time.monotonic(), processor_seconds()
        sequential(data, args.rounds, Path(folder))
        seconds = (time.monotonic() - clock) / args.rounds
        print(f"| sequential loop, local training | {seconds:.1f} | {processor_seconds() - used:.1f} |", flush=True)
        for precision in ("float32", "bfloat16"):
            for method in args.methods.split(","):
                config = FederationConfig(
                    method=method,
                    rounds=args.rounds + 1,  # the first one waits for the processes to start, and is not counted
                    training=RECIPES["published"],
                    transfer=TransferConfig(task="mse", warmup_steps=0, joint_batch=10, weight=50.0),
                    cloud=replace(CloudConfig(), pairs_per_class=1),
                    precision=precision,
                )
                used = processor_seconds()
                result = federate(config, Path(folder) / f"{method}-{precision}", data=data)
                seconds = sum(row["seconds"] for row in result.rows[1:]) / args.rounds
                whole = processor_seconds() - used
                print(f"| ktl, {method}, {precision} | {seconds:.1f} | {whole:.1f} |", flush=True)


if __name__ == "__main__":
    main()
