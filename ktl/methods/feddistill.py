"""FedDistill: Jeong et al., "Communication-Efficient On-Device Machine Learning" (2018, arXiv 1811.11479), alg. 1.

Up: class-mean logits, C numbers per class that a client has. Down: their average over clients, C^2 numbers. Edges
minimise L = CE + MSE(logits, mean logits of the class), weight 1, as the comparison of FedKTL does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ktl.learning.learner import EdgeLearner
from ktl.methods.base import Method, class_means, features_of
from ktl.methods.fedproto import FedProto, MeanSettings, TowardsMeans
from ktl.methods.message import Message
from ktl.objectives.base import ClassifierLoss


@dataclass(frozen=True)
class DistillSettings(MeanSettings):
    """The comparison's weight."""

    weight: float = 1.0


class FedDistill(FedProto):
    """FedProto's exchange with logits in place of features; prediction is the head's."""

    Settings = DistillSettings
    predictor = Method.predictor

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        if message:
            towards = TowardsMeans(message, self.problem.classes, self.settings.weight, of_logits=True)
            learner.minimise(ClassifierLoss(), towards)

    def report(self, learner: EdgeLearner) -> Message:
        with torch.no_grad():
            logits = learner.model.classifier(features_of(learner).to(learner.device)).cpu()
        return class_means(logits, learner.task.shot_labels, self.problem.classes)
