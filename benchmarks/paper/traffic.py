"""What travels in one round, in millions of numbers over all clients, as the paper's table 5 counts (CIFAR-100, HtFE8).

Counted as the paper counts: parameters, prototypes, logits and pixels as plain numbers. The messages are those of a
real round on blank images; which model a client trains privately changes none of them. Clients hold the classes of a
Dirichlet(0.1) partition of CIFAR-100's 60,000 labels, by a seed that gives the 898 (client, class) pairs that the
paper's figures imply (0.46 million / 512, 0.09 million / 100). FML: 924,708 numbers for each of 20 clients are 18.494
million; 18.50 is 20 times the rounded 0.925. FedKD's factors depend on the trained weights, which are blank here.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from ktl.cloud.embedded import EmbeddedCloud
from ktl.data.partition import ClientIndex, FederatedData, partition
from ktl.data.settings import PartitionConfig
from ktl.federation.problem import federated_problem
from ktl.federation.processes import federated_edges, make_method
from ktl.federation.settings import FederationConfig
from ktl.generators import load_generator
from ktl.generators.network import save_network
from ktl.generators.networks.stylegan2 import StyleGAN2, StyleGAN2Config
from ktl.learning.settings import TrainingConfig
from ktl.loop.exchange import CloudExchange
from ktl.loop.settings import CloudConfig
from ktl.methods import METHODS
from ktl.methods.message import Message
from ktl.objectives import TRANSFERS
from ktl.seeds import initialising

CLIENTS, CLASSES, SEED = 20, 100, 4


def blank_data() -> FederatedData:
    """One blank image for each class that a client of the partition holds."""
    labels = np.repeat(np.arange(CLASSES), 600)
    shares = partition(labels, PartitionConfig("dirichlet", CLIENTS, beta=0.1), SEED)
    classes = [np.unique(labels[client.train.numpy()]) for client in shares]
    bounds = np.cumsum([0, *map(len, classes)])
    none = torch.empty(0, dtype=torch.int64)
    clients = [ClientIndex(torch.arange(bounds[i], bounds[i + 1]), none) for i in range(CLIENTS)]
    images = torch.zeros(int(bounds[-1]), 3, 32, 32, dtype=torch.uint8)
    return FederatedData([str(c) for c in range(CLASSES)], images, torch.from_numpy(np.concatenate(classes)), clients)


def measure(method: str, data: FederatedData, generator: Path) -> tuple[float, float]:
    """Millions of numbers up and down in a round, the first in which both travel."""
    paper = {"pool": "none"} if method == "fedktl" else {}  # class statistics are no part of the published scheme
    config = FederationConfig(
        method=METHODS.choose(method, **paper),
        training=TrainingConfig(steps=1, batch=1000, augment=False),
        rounds=1,
        transfer=TRANSFERS.choose("image-vector", warmup_steps=0, joint_batch=2),
        cloud=CloudConfig(str(generator), pairs_per_class=1),
        download_budget=100_000_000,
    )
    problem = federated_problem(config, data)
    edges = federated_edges(config, problem, {client: data.task(client) for client in range(CLIENTS)})
    cloud = make_method(config, problem)
    with TemporaryDirectory() as folder:
        if cloud.uses_pairs:
            drawing = EmbeddedCloud(load_generator(str(generator)))
            cloud.exchange = CloudExchange(problem.request, Path(folder), drawing)
        asked = {c: m for c, m in edges.ask(range(CLIENTS), 0).items() if isinstance(m, Message)}
        message = cloud.answer(0, asked)
    reports = {client: outcome.report for client, outcome in edges.learn(range(CLIENTS), 0, message).items()}
    up = sum(cloud.numbers_up(each) for each in [*asked.values(), *reports.values()] if each)
    if not message:  # the cloud has something to say from its first reports on
        cloud.collect(0, reports)
        message = cloud.answer(1, {})
    return up / 1e6, CLIENTS * cloud.numbers_down(message) / 1e6


def wide_generator(path: Path) -> None:
    """A generator with the published 512 latents; its weights play no part."""
    with initialising(0, "wide generator"):
        network = StyleGAN2(StyleGAN2Config(z_dim=64, w_dim=512, resolution=32, channel_max=8))
    save_network(path, network, licence="CC0-1.0")
