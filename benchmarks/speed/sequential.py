"""A straightforward federation, as research code writes it: what ktl's engine is timed against, to the same weights.

Clients train one after the other with two threads; images come one by one through a Dataset and a DataLoader; each
client's model is read from disk before its turn and written back after it. Initial weights, the order of images and the
draws of pairs are ktl's, so that both end with the same weights but for rounding. Full participation, the published
recipe, one epoch per round.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ktl.cloud.embedded import EmbeddedCloud
from ktl.data.partition import FederatedData
from ktl.etf import arcface_loss
from ktl.federation.problem import federated_problem
from ktl.federation.settings import FederationConfig
from ktl.generators import load_generator
from ktl.models.classifiers import EtfClassifier, LinearClassifier
from ktl.models.edge_model import ClassifierKind, EdgeModel, build_model
from ktl.prototypes import class_prototypes
from ktl.registry import chosen
from ktl.seeds import initialising, stream
from ktl.wire import SessionReply, decode_message, decode_pairs, encode_message, encode_prototypes


class PerSample(Dataset[tuple[Tensor, Tensor]]):
    """One float image at a time."""

    def __init__(self, data: FederatedData, index: Tensor) -> None:
        self.data, self.index = data, index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        i = self.index[item]
        return self.data.images[i].float() / 127.5 - 1.0, self.data.labels[i]


class Local:
    """Every client alone; a method adds to the loss, and what it does before and after."""

    classifier: ClassifierKind = EtfClassifier
    gradient_norm = 100.0

    def __init__(self, config: FederationConfig, data: FederatedData, folder: Path) -> None:
        self.config, self.data, self.folder = config, data, folder
        self.rate, self.seed = config.training.learning_rate, config.seed
        self.sizes = [len(client.train) for client in data.clients]
        for client in range(len(data.clients)):
            torch.save(self.new_model(self.classifier), folder / f"{client}.pt")

    def run(self, threads: int = 2) -> tuple[float, float, list[EdgeModel]]:
        """Seconds per round, accuracy (0..1) of the last one, and the clients' models."""
        torch.set_num_threads(threads)
        started = time.monotonic()
        for round_index in range(self.config.rounds):
            right = self.round(round_index)
        seconds = (time.monotonic() - started) / self.config.rounds
        models = [self.load(client) for client in range(len(self.sizes))]
        return seconds, right / sum(len(client.test) for client in self.data.clients), models

    def round(self, round_index: int) -> int:
        """One round of all clients; test images classified right."""
        self.before(round_index)
        right = 0
        for client, index in enumerate(self.data.clients):
            model = self.load(client)
            self.train(client, model, round_index)
            self.after(client, model)
            model.eval()
            with torch.no_grad():
                for images, labels in DataLoader(PerSample(self.data, index.test), batch_size=10):
                    right += int((self.scores(model, images).argmax(dim=1) == labels).sum())
            torch.save(model, self.folder / f"{client}.pt")
        self.collect()
        return right

    def train(self, client: int, model: EdgeModel, round_index: int) -> None:
        index = self.data.clients[client].train
        order = torch.randperm(len(index), generator=stream(self.seed, "round", round_index, "epoch", 0))
        batches = [part.tolist() for part in order.chunk(-(-len(index) // self.config.training.batch))]
        modules = self.start(client, model)
        optimizers = [torch.optim.SGD(part.parameters(), lr=self.rate) for part in modules]
        model.train()
        for step, (images, labels) in enumerate(DataLoader(PerSample(self.data, index), batch_sampler=batches)):
            loss = self.loss(model, images, labels, stream(self.seed, "round", round_index, "shots", step))
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            for part, optimizer in zip(modules, optimizers, strict=True):
                nn.utils.clip_grad_norm_(part.parameters(), self.gradient_norm)
                optimizer.step()

    def before(self, round_index: int) -> None: ...

    def start(self, client: int, model: EdgeModel) -> list[nn.Module]:
        """What is trained, one optimizer each."""
        return [model]

    def loss(self, model: EdgeModel, images: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        recipe = self.config.training
        cosines = model.embed(images) @ model.classifier.etf
        return arcface_loss(cosines, labels, margin=recipe.margin, scale=recipe.scale)

    def after(self, client: int, model: EdgeModel) -> None: ...

    def scores(self, model: EdgeModel, images: Tensor) -> Tensor:
        scores: Tensor = model(images)
        return scores

    def collect(self) -> None: ...

    def new_model(self, classifier: ClassifierKind) -> EdgeModel:
        channels, size = self.data.images.shape[1:3]
        return build_model(
            "cnn4",
            channels=channels,
            image_size=size,
            classes=len(self.data.class_names),
            seed=self.seed,
            etf_seed=self.seed,
            settings=self.config.training,
            classifier=classifier,
        )

    def load(self, client: int, name: str = "") -> Any:
        return torch.load(self.folder / f"{name}{client}.pt", weights_only=False)

    @torch.no_grad()
    def over_training_images(self, client: int, values: Any) -> tuple[Tensor, Tensor]:
        """`values` of every training image (n, d), and the labels (n,)."""
        batches = DataLoader(PerSample(self.data, self.data.clients[client].train), batch_size=10)
        computed = [(values(images), labels) for images, labels in batches]
        return torch.cat([value for value, _ in computed]), torch.cat([labels for _, labels in computed])


class FedProto(Local):
    """Class-mean features, averaged."""

    classifier = LinearClassifier
    means: dict[int, Tensor] | None = None

    def before(self, round_index: int) -> None:
        self.reports: list[dict[int, Tensor]] = []

    def loss(self, model: EdgeModel, images: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        features = model.extractor(images)
        loss = F.cross_entropy(model.classifier(features), labels)
        if self.means is None:
            return loss
        target = torch.stack([self.means[int(label)] for label in labels])
        return loss + 10.0 * F.mse_loss(features, target)

    def after(self, client: int, model: EdgeModel) -> None:
        features, labels = self.over_training_images(client, model.eval().extractor)
        self.reports.append({int(c): features[labels == c].mean(dim=0) for c in labels.unique()})

    def scores(self, model: EdgeModel, images: Tensor) -> Tensor:
        if self.means is None:
            return super().scores(model, images)
        scores = torch.full((len(images), len(self.data.class_names)), float("-inf"))
        known = sorted(self.means)
        scores[:, known] = -torch.cdist(model.extractor(images), torch.stack([self.means[c] for c in known]))
        return scores

    def collect(self) -> None:
        known = set().union(*self.reports)
        self.means = {c: torch.stack([r[c] for r in self.reports if c in r]).mean(dim=0) for c in known}


class FML(Local):
    """A shared model beside the private one, each taught by the other."""

    classifier = LinearClassifier
    gradient_norm = 10.0

    def before(self, round_index: int) -> None:
        shared = self.new_model(LinearClassifier) if round_index == 0 else self.shared
        for client in range(len(self.sizes)):
            torch.save(shared, self.folder / f"shared{client}.pt")

    def start(self, client: int, model: EdgeModel) -> list[nn.Module]:
        self.shared = self.load(client, "shared").train()
        return [model, self.shared]

    def loss(self, model: EdgeModel, images: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        private, shared = model(images), self.shared(images)
        total = F.cross_entropy(private, labels) + F.cross_entropy(shared, labels)
        for student, teacher in ((private, shared.detach()), (shared, private.detach())):
            total = total + F.kl_div(
                student.log_softmax(1), teacher.log_softmax(1), log_target=True, reduction="batchmean"
            )
        return 0.5 * total

    def after(self, client: int, model: EdgeModel) -> None:
        torch.save(self.shared, self.folder / f"shared{client}.pt")

    def collect(self) -> None:
        models = [self.load(client, "shared") for client in range(len(self.sizes))]
        self.shared = copy.deepcopy(models[0])
        with torch.no_grad():
            for parts in zip(self.shared.parameters(), *(model.parameters() for model in models), strict=True):
                average = sum(n / sum(self.sizes) * part for n, part in zip(self.sizes, parts[1:], strict=True))
                parts[0].copy_(average)


class FedKTLLoop(Local):
    """The cloud is ktl's own; what the edges do is written out."""

    def before(self, round_index: int) -> None:
        if round_index == 0:
            self.open()
        uploads = {}
        for client in range(len(self.sizes)):
            embeddings, labels = self.over_training_images(client, self.load(client).eval().embed)
            uploads[client] = encode_prototypes(class_prototypes(embeddings, labels))
        self.pairs = decode_pairs(self.cloud.exchange(uploads), self.request, self.latent_dim)
        self.images = self.pairs.images.float() / 127.5 - 1.0

    def open(self) -> None:
        self.request = federated_problem(self.config, self.data).request
        self.cloud = EmbeddedCloud(load_generator(chosen(self.config.cloud.generator).name, cached=True))
        self.latent_dim = decode_message(self.cloud.open(encode_message(self.request), []), SessionReply).latent_dim

    def start(self, client: int, model: EdgeModel) -> list[nn.Module]:
        with initialising(self.seed, "transfer"):
            self.map = nn.Linear(512, self.pairs.vectors.shape[1])
        return [nn.ModuleList([model, self.map])]

    def loss(self, model: EdgeModel, images: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        transfer = chosen(self.config.transfer).settings
        index = torch.randperm(len(self.pairs), generator=rng)[: transfer.joint_batch or 64]
        distance = F.mse_loss(self.map(model.extractor(self.images[index])), self.pairs.vectors[index])
        return super().loss(model, images, labels, rng) + transfer.weight * distance


LOOPS: dict[str, type[Local]] = {"local": Local, "fedproto": FedProto, "fml": FML, "fedktl": FedKTLLoop}
