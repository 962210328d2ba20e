"""FedDistill: Jeong et al., "Communication-Efficient On-Device Machine Learning" (2018, arXiv 1811.11479), alg. 1.

Up: class-mean logits, C numbers a class held. Down: their average over clients, C^2 numbers. Edges minimise
L = CE + MSE(logits, mean logits of the class), weight 1, as the comparison of FedKTL does.
"""

from __future__ import annotations

import torch

from ktl.learning.learner import EdgeLearner
from ktl.methods.base import Message, Method, class_means, features_of
from ktl.methods.fedproto import FedProto, TowardsMeans


class FedDistill(FedProto):
    """FedProto's exchange with logits in place of features; prediction is the head's."""

    weight = 1.0
    predictor = Method.predictor

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        learner.guide(TowardsMeans(message, self.problem.classes, self.weight, of_outputs=True) if message else None)

    def report(self, learner: EdgeLearner) -> Message:
        with torch.no_grad():
            logits = learner.model.classifier(features_of(learner).to(learner.device)).cpu()
        return class_means(logits, learner.task.shot_labels, self.problem.classes)
