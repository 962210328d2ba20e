"""An objective inside a method: a client trains on, but not far from the mean bias (FedProx, MLSys 2020, eq. 2)."""

from torch import Tensor

from ktl import ClassifierLoss, EdgeLearner, Message, Objective, Step
from ktl_colour.method import SharedBias


class NearBias(Objective):
    """Half the squared distance of the head's bias to the mean of all clients' biases."""

    mean: Tensor

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)

    def forward(self, step: Step) -> Tensor:
        return (step.model.classifier.projection.bias - self.mean).square().sum() / 2


class ProximalBias(SharedBias):
    """As shared-bias, and each client's bias is held near the mean while it trains."""

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        super().learn(learner, message)
        if message:
            learner.minimise(ClassifierLoss(), NearBias(message["bias"]))
