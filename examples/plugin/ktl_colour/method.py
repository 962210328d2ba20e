"""Clients share the mean of their heads' biases: what they know together of how common the classes are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from ktl import EdgeLearner, Message, Meta, Method, Settings, weighted_average


@dataclass(frozen=True)
class BiasSettings(Settings):
    share: Annotated[float, Meta(ge=0, le=1, description="How far a bias goes to the mean: 0 stays, 1 is there.")] = 0.5


class SharedBias(Method):
    """Each client's bias goes some of the way to the mean of all, weighted by their training images."""

    Settings = BiasSettings

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        if message:
            bias = learner.model.classifier.projection.bias.data
            bias.lerp_(message["bias"].to(bias), self.settings.share)

    def report(self, learner: EdgeLearner) -> Message:
        return Message({"bias": learner.model.classifier.projection.bias.detach().cpu().clone()})

    def collect(self, round_index: int, reports: Mapping[int, Message]) -> None:
        self.broadcast = weighted_average(reports, self.sample_shares(reports))
