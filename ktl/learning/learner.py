"""The edge's training: shots, pairs, and a state that can be saved after any step and gone on from to the same bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ktl.checkpoint import optimizer_tensors, prefixed, restore_optimizer, under
from ktl.config import RunConfig, TrainingConfig
from ktl.data.fewshot import FewShotTask
from ktl.data.transforms import strong_view, to_network, weak_view
from ktl.errors import CheckpointError, UsageError
from ktl.etf import arcface_loss
from ktl.learning.evaluation import BATCH, Evaluation, class_cosines, evaluate
from ktl.learning.precision import features_in, training_dtype
from ktl.learning.schedule import Stage, rate_factor, stages, warmup_batch
from ktl.models.edge_model import build_model, statistics_kept
from ktl.objectives import TRANSFERS
from ktl.objectives.base import AuxiliaryTask
from ktl.objectives.guidance import Guidance, ShotBatch
from ktl.pairs import ImageVectorPairs, concatenate
from ktl.prototypes import Prototypes, class_prototypes
from ktl.seeds import initialising, stream

View = Callable[[Tensor, torch.Generator], Tensor]


@dataclass
class RoundLosses:
    """Sums over a round's steps, from which its mean losses are reported."""

    shot_sum: float = 0.0
    shot_steps: int = 0
    pair_sum: float = 0.0
    pair_steps: int = 0

    def means(self) -> dict[str, float | None]:
        """Mean loss on the shots and on the pairs; None where there was no such step."""
        return {
            "shot_loss": self.shot_sum / self.shot_steps if self.shot_steps else None,
            "pair_loss": self.pair_sum / self.pair_steps if self.pair_steps else None,
        }


class EdgeLearner:
    """A model, its shots, and the pairs received so far.

    Every random choice of a step comes from a stream named by the seed, round and step, so the weights after k
    steps are a function of (task, config, pairs, k).
    """

    def __init__(self, task: FewShotTask, config: RunConfig, etf_seed: int) -> None:
        self.task = task
        self.config = config
        self.device = torch.device(config.device)
        self._dtype = training_dtype(config.precision, self.device)
        self.model = build_model(
            config.model,
            channels=task.shot_images.shape[1],
            image_size=task.shot_images.shape[2],
            classes=len(task.class_names),
            seed=config.seed,
            etf_seed=etf_seed,
            head=config.head,
        ).to(self.device)
        self.model.to(memory_format=torch.channels_last)
        self.round = 0
        self.round_step = 0
        self.losses = RoundLosses()
        self._first_pairs = 0  # the round that they came in
        self._stages(0)  # refuses impossible settings at once
        self._pairs: list[ImageVectorPairs] = []
        self._transfer: AuxiliaryTask | None = None
        self._guidance: Guidance | None = None
        self._optimizers: dict[str, torch.optim.Optimizer] = {}
        self._make_optimizers()

    def prototypes(self) -> Prototypes:
        """Class prototypes of the shots under the present model, in eval mode. FedKTL section 3.2."""
        self.model.eval()
        with torch.no_grad():
            batches = self.task.shot_images.split(BATCH)
            embeddings = [self.model.embed(to_network(batch.to(self.device))).cpu() for batch in batches]
        return class_prototypes(torch.cat(embeddings), self.task.shot_labels)

    def receive(self, pairs: ImageVectorPairs) -> None:
        """Takes a round's pairs; earlier ones are kept too unless the task starts anew each round."""
        anew = self.config.transfer.anew_each_round
        if not self._pairs:
            self._first_pairs = self.round
        self._pairs = [pairs] if anew else [*self._pairs, pairs]
        if self._transfer is None or anew:
            with initialising(self.config.seed, "transfer"):
                task = TRANSFERS.load(self.config.transfer.task)(
                    self.model.extractor.feature_dim, self._pairs[0].vectors, self.config.transfer
                )
            self._transfer = task.to(self.device)
            self._make_optimizers()

    def warmup_steps(self) -> int:
        """Steps on the pairs alone that the current round begins with."""
        return sum(stage.steps for stage in self._stages(self.round) if stage.name == "warm-up")

    def warmup_batch(self) -> int:
        """Pairs in each of those steps."""
        return warmup_batch(self.config.transfer, len(self.task.class_names), self.task.shot_images.shape[1])

    def guide(self, guidance: Guidance | None) -> None:
        """Lets `guidance` shape the loss on the shots from now on; its weights get an optimizer of their own."""
        self._guidance = guidance
        self._optimizers.pop("guidance", None)
        if guidance is None:
            return
        guidance.to(self.device).to(memory_format=torch.channels_last)
        if weights := [*guidance.parameters()]:
            training = self.config.training
            self._optimizers["guidance"] = _optimizer(training, [(weights, training.learning_rate)])

    def train_round(self, on_step: Callable[[Stage, int, float], None], should_stop: Callable[[], bool]) -> bool:
        """Does the rest of the current round's steps; returns whether it got to the end before `should_stop()`.

        `on_step` gets the stage, the steps done in it, and the last loss.
        """
        pairs = concatenate(self._pairs) if self._pairs else None
        start = 0
        for stage in self._stages(self.round):
            while self.round_step < start + stage.steps:
                if should_stop():
                    return False
                step = self.round_step - start
                loss = self._step(stage, step, pairs)
                self.round_step += 1
                on_step(stage, step + 1, loss)
            start += stage.steps
            if stage.name == "warm-up":  # there is but one, and its moments take as much memory as two models
                self._optimizers[stage.name].state.clear()
        return True

    def finish_round(self) -> None:
        """Moves on to the next round."""
        self.start_round(self.round + 1)

    def start_round(self, round_index: int) -> None:
        """Goes to the start of a round; an edge of a federation may skip some. Gradients are given back."""
        self.round = round_index
        self.round_step = 0
        self.losses = RoundLosses()
        self.model.zero_grad(set_to_none=True)

    def evaluate(self) -> Evaluation:
        """On all test images of the task."""
        task = self.task
        return evaluate(self.model, task.test_images, task.test_labels, len(task.class_names), self.device)

    def cosines(self, images: Tensor) -> Tensor:
        """uint8 images (n, c, h, w) -> cosines (n, C) under the present model, in eval mode."""
        return class_cosines(self.model, images, self.device)

    def state(self) -> dict[str, Tensor]:
        """Weights and optimizer state by name; `round`, `round_step` and `losses` are the caller's to keep."""
        tensors = prefixed("model", self.model.state_dict())
        if self._transfer is not None:
            tensors |= prefixed("transfer", self._transfer.state_dict())
        for name, optimizer in self._optimizers.items():
            tensors |= prefixed(f"optimizer {name}", optimizer_tensors(optimizer))
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Goes on from what `state` returned; the pairs must have been received again before."""
        self.restore_model(tensors)
        if self._transfer is not None and (weights := under("transfer", tensors)):
            self._transfer.load_state_dict(weights)
        for name, optimizer in self._optimizers.items():
            restore_optimizer(optimizer, under(f"optimizer {name}", tensors))

    def restore_model(self, tensors: dict[str, Tensor]) -> None:
        """The model's weights alone, to evaluate it. Raises CheckpointError if they are another model's."""
        try:
            self.model.load_state_dict(under("model", tensors))
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise CheckpointError(f"the checkpoint's weights do not fit model {self.config.model}: {reason}") from error

    def _stages(self, round_index: int) -> list[Stage]:
        shots, classes = len(self.task.shot_labels), len(self.task.class_names)
        return stages(self.config, round_index, shots, classes, warmup_round=self._first_pairs)

    def _step(self, stage: Stage, step: int, pairs: ImageVectorPairs | None) -> float:
        config = self.config
        rng = stream(config.seed, "round", self.round, stage.name, step)
        guided = stage.name == "shots" and "guidance" in self._optimizers
        optimizers = [self._optimizers[name] for name in (stage.name, *(["guidance"] if guided else []))]
        factor = rate_factor(config.training.schedule, (stage.first + step) / stage.total)
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = group["initial_lr"] * factor
        loss = torch.zeros((), device=self.device)
        if stage.name == "shots":
            loss = self._shot_loss(step, rng)
            self.losses.shot_sum += loss.item()
            self.losses.shot_steps += 1
        warming = stage.name == "warm-up"
        batch = self.warmup_batch() if warming else config.transfer.joint_batch
        if pairs is not None and batch > 0:
            # a model is tested on images like the shots: beside them, generated ones must not shift what normalises it
            with nullcontext() if warming else statistics_kept(self.model):
                pair_loss = self._pair_loss(pairs, batch, rng)
            self.losses.pair_sum += pair_loss.item()
            self.losses.pair_steps += 1
            loss = pair_loss if warming else loss + config.transfer.weight * pair_loss
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in optimizers:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            _clip(parameters, config.training.gradient_norm)
            optimizer.step()
        return float(loss.item())

    def _shot_loss(self, step: int, rng: torch.Generator) -> Tensor:
        training = self.config.training
        index = self._shot_index(step)
        images = self._network_input(self.task.shot_images[index], weak_view, rng)
        labels = self.task.shot_labels[index].to(self.device)
        features = self._features(images)
        outputs = self.model.classifier(features)
        if self.config.head == "linear":
            loss = F.cross_entropy(outputs, labels, label_smoothing=training.smoothing)
        else:
            loss = arcface_loss(
                outputs, labels, margin=training.margin, scale=training.scale, smoothing=training.smoothing
            )
        if self._guidance is None:
            return loss
        guided: Tensor = self._guidance(ShotBatch(images, labels, features, outputs, loss, rng, self._dtype))
        return guided

    def _shot_index(self, step: int) -> Tensor:
        """The shots of a step: each epoch passes once over all of them, in batches of almost equal size."""
        shots = len(self.task.shot_labels)
        batches = math.ceil(shots / self.config.training.batch)
        order = torch.randperm(shots, generator=stream(self.config.seed, "round", self.round, "epoch", step // batches))
        size = math.ceil(shots / batches)
        return order[step % batches * size :][:size]

    def _pair_loss(self, pairs: ImageVectorPairs, batch: int, rng: torch.Generator) -> Tensor:
        assert self._transfer is not None  # made when the pairs were received
        index = torch.randperm(len(pairs), generator=rng)[:batch]
        views = [self._network_input(pairs.images[index], strong_view, rng) for _ in range(self._transfer.views)]
        features = [self._features(images) for images in views]
        loss: Tensor = self._transfer(features, pairs.vectors[index].to(self.device))
        return loss

    def _features(self, images: Tensor) -> Tensor:
        self.model.train(len(images) > 1)  # batch normalisation is undefined on one image: it takes running statistics
        return features_in(self._dtype, self.model.extractor, images)

    def _network_input(self, images: Tensor, view: View, rng: torch.Generator) -> Tensor:
        images = view(images, rng) if self.config.training.augment else to_network(images)
        return images.to(self.device, memory_format=torch.channels_last)

    def _make_optimizers(self) -> None:
        """One optimizer a stage; a new one has no state, so the first call after a change of tasks starts them anew."""
        training, transfer = self.config.training, self.config.transfer
        task = [] if self._transfer is None else [*self._transfer.parameters()]
        extractor, head = [*self.model.extractor.parameters()], [*self.model.classifier.parameters()]
        body_rate = training.learning_rate * (1.0 if self._transfer is None else transfer.body_rate)
        shots = [(extractor, body_rate), (head + task, training.learning_rate)]
        self._optimizers = {"shots": _optimizer(training, shots)}
        if task:
            self._optimizers["warm-up"] = _optimizer(training, [(extractor + task, transfer.learning_rate)])


def _optimizer(training: TrainingConfig, groups: list[tuple[list[nn.Parameter], float]]) -> torch.optim.Optimizer:
    parameters = [{"params": params, "lr": rate, "initial_lr": rate} for params, rate in groups]
    if training.optimizer == "adamw":
        return torch.optim.AdamW(parameters, weight_decay=training.weight_decay, fused=True)
    if training.optimizer == "sgd":
        return torch.optim.SGD(parameters, weight_decay=training.weight_decay, fused=True)
    raise UsageError(f"unknown optimizer {training.optimizer!r}: choose one of adamw, sgd")


def _clip(parameters: list[nn.Parameter], limit: float) -> None:
    """`clip_grad_norm_`, but gradients that are within the limit already are not multiplied by 1."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if not float(norm) + 1e-6 <= limit:
        nn.utils.clip_grads_with_norm_(parameters, limit, norm)
