"""FedL2G: Zhang et al., "FedL2G: Learning to Guide Local Training in Heterogeneous Federated Learning" (2024, arXiv
2410.06490), guiding logits (FedL2G-l) or features (FedL2G-f).

Down: a guiding vector v_c for each class, C^2 numbers for logits, 512 C for features. Clients minimise
CE + MSE(values, v_y), values being logits or features. Then they take a pseudo step on a study batch,
w' = w - eta d/dw [CE + MSE(values, v_y)], and send d CE(quiz batch; w') / dv for the classes of the study batch: up, C
or 512 numbers for each. The cloud takes one step of SGD along the mean of each class's gradients. Vectors are N(0, 1)
at first; in warm-up rounds they are learnt, but do not guide yet.

Where it differs from the paper and its published code: there, one batch of each client is set apart for the quizzes;
here study and quiz batches are drawn anew each round from all images, apart from one another, as a client of few images
has none to spare. There, 50 warm-up rounds without training come before the others; here all rounds train, and in the
first of them on the labels alone. Clients train by ktl's recipe; the pseudo step is plain SGD with the published rate,
for which the cloud's rates were chosen, on images as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from ktl.data.transforms import to_network
from ktl.errors import DataError
from ktl.learning.learner import EdgeLearner
from ktl.methods.base import Method, class_means
from ktl.methods.message import Message
from ktl.models.backbone import FEATURE_DIM
from ktl.models.edge_model import EdgeModel
from ktl.objectives.base import ClassifierLoss, Objective, Step
from ktl.seeds import stream
from ktl.settings import Meta, Settings

Batch = tuple[Tensor, Tensor]  # images (n, channels, size, size) in [-1, 1], labels (n,)


@dataclass(frozen=True)
class GuidanceSettings(Settings):
    """How the guiding vectors are learnt."""

    learning_rate: Annotated[float, Meta(gt=0, description="Of the cloud's SGD.")] = 0.1
    pseudo_rate: Annotated[float, Meta(gt=0, description="Eta, of the clients' pseudo step.")] = 0.01
    warm_up_rounds: Annotated[int, Meta(ge=0, description="First rounds, in which no vector guides.")] = 1


@dataclass(frozen=True)
class FeatureGuidanceSettings(GuidanceSettings):
    """The published rate of features, whose gradients are smaller."""

    learning_rate: float = 100.0


class Guidance(Objective):
    """The squared distance of logits, or features, to their classes' guiding vectors."""

    vectors: Tensor

    def __init__(self, vectors: Tensor, of_logits: bool) -> None:
        super().__init__()
        self.of_logits = of_logits
        self.register_buffer("vectors", vectors)

    def forward(self, step: Step) -> Tensor:
        return F.mse_loss(step.logits if self.of_logits else step.features, self.vectors[step.labels])


class FedL2G(Method):
    """Clients learn from targets, and the targets from what they do to clients' quizzes."""

    Settings = GuidanceSettings
    of_logits: ClassVar[bool]

    def answer(self, round_index: int, asked: Mapping[int, Message]) -> Message:
        if self.broadcast:
            return self.broadcast
        size = self.problem.classes if self.of_logits else FEATURE_DIM
        rng = stream(self.problem.seed, "fedl2g")
        return Message({"vectors": torch.randn(self.problem.classes, size, generator=rng)})

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        self._vectors = message["vectors"]
        if learner.round >= self.settings.warm_up_rounds:
            learner.minimise(ClassifierLoss(), Guidance(self._vectors, self.of_logits))

    def report(self, learner: EdgeLearner) -> Message:
        study, quiz = draw_batches(learner)
        gradient = guiding_gradient(
            learner.model,
            self._vectors.to(learner.device),
            study,
            quiz,
            rate=self.settings.pseudo_rate,
            of_logits=self.of_logits,
        )
        if not bool(gradient.isfinite().all()):  # it would end in every client's vectors
            raise DataError(f"its quiz diverged after a pseudo step of rate {self.settings.pseudo_rate:g}")
        classes = study[1].unique()
        return Message({"gradients": gradient[classes].cpu(), "classes": classes.cpu()})

    def collect(self, round_index: int, reports: Mapping[int, Message]) -> None:
        vectors = nn.Parameter(self.answer(round_index, {})["vectors"].clone())
        gradients = torch.cat([report["gradients"] for report in reports.values()])
        classes = torch.cat([report["classes"] for report in reports.values()])
        mean = class_means(gradients, classes, self.problem.classes)
        vectors.grad = torch.zeros_like(vectors).index_copy(0, mean["classes"], mean["means"])
        nn.utils.clip_grad_norm_([vectors], self.problem.training.gradient_norm)
        torch.optim.SGD([vectors], lr=self.settings.learning_rate).step()
        self.broadcast = Message({"vectors": vectors.detach()})


class FedL2GLogits(FedL2G):
    """FedL2G-l: guiding vectors are targets of logits."""

    of_logits = True


class FedL2GFeatures(FedL2G):
    """FedL2G-f: guiding vectors are targets of features."""

    Settings = FeatureGuidanceSettings
    of_logits = False


def draw_batches(learner: EdgeLearner) -> tuple[Batch, Batch]:
    """A study and a quiz batch of a learner's round, apart from one another unless it has a single image.

    Each is of the recipe's size, or half of the images.
    """
    task = learner.task
    count = len(task.shot_labels)
    size = max(1, min(learner.config.training.batch, count // 2))
    order = torch.randperm(count, generator=stream(learner.config.seed, "fedl2g", learner.round))

    def batch(index: Tensor) -> Batch:
        return to_network(task.shot_images[index].to(learner.device)), task.shot_labels[index].to(learner.device)

    return batch(order[:size]), batch(order[-size:])


def guiding_gradient(
    model: EdgeModel, vectors: Tensor, study: Batch, quiz: Batch, *, rate: float, of_logits: bool
) -> Tensor:
    """d CE(quiz; w') / d vectors, float32 as `vectors` (C, d), where w' = w - rate d/dw [CE + MSE](study).

    Leaves the model as it is, running statistics included.
    """
    pupil = copy.deepcopy(model).train(len(study[1]) > 1)
    pupil.zero_grad(set_to_none=True)
    vectors = vectors.clone().requires_grad_()
    weights = dict(pupil.named_parameters())
    images, labels = study
    with sdpa_kernel(SDPBackend.MATH):  # the fused ones have no second derivatives
        features = pupil.extractor(images)
        logits = pupil.classifier(features)
        guidance = F.mse_loss(logits if of_logits else features, vectors[labels])
        loss = pupil.classifier.loss(logits, labels) + guidance
        gradients = torch.autograd.grad(loss, [*weights.values()], create_graph=True)
        stepped = {name: w - rate * g for (name, w), g in zip(weights.items(), gradients, strict=True)}
        images, labels = quiz
        quizzed = functional_call(pupil, stepped, images)
        (gradient,) = torch.autograd.grad(pupil.classifier.loss(quizzed, labels), [vectors])
    return gradient
