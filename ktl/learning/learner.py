"""The edge's training: shots, pairs, and a state that can be saved after any step and gone on from to the same bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ktl.checkpoint import optimizer_tensors, prefixed, restore_optimizer, under
from ktl.data.fewshot import FewShotTask
from ktl.data.transforms import to_network
from ktl.errors import CheckpointError
from ktl.learning.batches import Batches
from ktl.learning.evaluation import BATCH, Evaluation, class_logits, evaluate
from ktl.learning.schedule import RoundPlan, Span, body_rate, joint_batch, round_plan, warmup_batch
from ktl.learning.settings import PRETRAINED_RATE, EdgeConfig
from ktl.learning.stage import MeanLosses, Part, Stage, make_optimizer
from ktl.models.classifiers import EtfClassifier
from ktl.models.edge_model import ClassifierKind, EdgeModel, build_model
from ktl.models.precision import training_dtype
from ktl.objectives import TRANSFERS
from ktl.objectives.base import ClassifierLoss, Objective, Step
from ktl.objectives.pair_objective import PairObjective
from ktl.objectives.settings import TransferSettings
from ktl.pairs import ImageVectorPairs, concatenate
from ktl.prototypes import Prototypes, class_prototypes
from ktl.registry import chosen
from ktl.seeds import initialising, stream
from ktl.wire import decode_warm_start

OnStep = Callable[[Span, int, float], None]  # the span, steps done in it, the last loss


class EdgeLearner:
    """A task, a model, what is minimised, and the pairs received so far.

    For methods: `task` has the edge's images and labels; `model.extractor` gives 512 features of images, and
    `model.classifier` (its linear map is `projection`) logits of features; `device` is where the model is, `round` the
    present round, from 0.

    Every random choice of a step comes from a stream named by the seed, round and step, so the weights after k
    steps are a function of (task, config, pairs, k).
    """

    def __init__(
        self,
        task: FewShotTask,
        config: EdgeConfig,
        etf_seed: int,
        classifier: ClassifierKind = EtfClassifier,
        *,
        trained: bool = False,
    ) -> None:
        """`trained`: all of the model's weights will be restored, to be used: pre-trained ones need not be read."""
        self.task = task
        self.config = config
        self.device = torch.device(config.device)
        self.model = _new_model(task, config, etf_seed, classifier, trained)
        self.round = 0
        self.round_step = 0
        self.losses = MeanLosses()
        self._dtype = training_dtype(config.precision, self.device)
        self._batches = Batches(task, config, self.device)
        self._pairs: list[ImageVectorPairs] = []
        self._first_pairs = 0  # the round that they came in
        self._transfer: PairObjective | None = None
        self._warm_up: Stage | None = None
        self._objectives: list[Objective] = [ClassifierLoss()]
        self._body_rate = 1.0
        if not trained and config.pretrained:
            self._begin_pretrained(PRETRAINED_RATE)
        self.plan()  # refuses impossible settings at once
        self._on_shots = self._make_stages()

    def prototypes(self) -> Prototypes:
        """Class prototypes of the shots under the present model, in eval mode. FedKTL section 3.2."""
        return class_prototypes(self._of_shots(self.model.embed), self.task.shot_labels)

    def receive(self, pairs: ImageVectorPairs) -> None:
        """Takes a round's pairs; earlier ones are kept too unless the objective starts anew each round."""
        anew = self._transfer_settings.anew_each_round
        if not self._pairs:
            self._first_pairs = self.round
        self._pairs = [pairs] if anew else [*self._pairs, pairs]
        if self._transfer is None or anew:
            kind: type[PairObjective] = TRANSFERS.load(chosen(self.config.transfer).name)
            with initialising(self.config.seed, "transfer"):
                objective = kind.on(self._pairs[0], self.model.classifier.feature_dim, self._transfer_settings)
            self._transfer = objective.to(self.device)
            self._on_shots = self._make_stages()

    def take_warm_start(self, payload: bytes) -> None:
        """Begins with a cloud's extractor in place of initial weights, and with new optimizers.

        Raises WireError if it is another network's.
        """
        extractor = self.model.extractor
        own = extractor.state_dict()
        warm_start = decode_warm_start(payload, own)
        extractor.load_state_dict(own | warm_start.weights)
        if warm_start.body_rate < 1.0:
            self._begin_pretrained(warm_start.body_rate)
        self._on_shots = self._make_stages()

    def minimise(self, *objectives: Objective) -> None:
        """What the steps on the shots minimise from now on, beside the pairs; without any, the classifier's own loss.

        Weights of the objectives' own are trained along, by an optimizer of their own.
        """
        self._objectives = [*objectives] or [ClassifierLoss()]
        for objective in self._objectives:
            objective.to(self.device).to(memory_format=torch.channels_last)
        own_weights = [weight for objective in self._objectives for weight in objective.parameters()]
        training = self.config.training
        extra = [make_optimizer(training, [(own_weights, training.learning_rate)])] if own_weights else []
        before = self._on_shots
        self._on_shots = Stage(self._shot_parts(), [before.optimizers[0], *extra], before.pairs_per_step)

    @property
    def pairs(self) -> ImageVectorPairs | None:
        """The received pairs that are kept; None before the first."""
        return concatenate(self._pairs) if self._pairs else None

    def plan(self) -> RoundPlan:
        """What the current round consists of. Raises UsageError for settings that leave it without a step."""
        shots, classes = len(self.task.shot_labels), len(self.task.class_names)
        return round_plan(self.config, self.round, shots, classes, warmup_round=self._first_pairs)

    def warmup_batch(self) -> int:
        """Pairs in each step on the pairs alone."""
        return warmup_batch(self._transfer_settings, len(self.task.class_names), self.task.shot_images.shape[1])

    def train_round(self, on_step: OnStep, should_stop: Callable[[], bool]) -> bool:
        """Does the rest of the current round's steps; returns whether it got to the end before `should_stop()`.

        `on_step` may give the edge a `config` of other numbers of steps: it goes on by that.
        """
        pairs = self.pairs
        config, plan = self.config, self.plan()
        while True:
            if self.config is not config:
                config, plan = self.config, self.plan()
            stage, span, step = self._next(plan)
            if self._warm_up is not None and stage is not self._warm_up:  # there is but one
                self._warm_up.forget()
            if step >= span.steps:
                return True
            if should_stop():
                return False
            loss = self._step(stage, span, step, pairs)
            self.round_step += 1
            on_step(span, step + 1, loss)

    def start_round(self, round_index: int) -> None:
        """Goes to the start of a round; an edge of a federation may skip some. Gradients are given back."""
        self.round = round_index
        self.round_step = 0
        self.losses = MeanLosses()
        self.model.zero_grad(set_to_none=True)

    def evaluate(self) -> Evaluation:
        """Tests the present model on all test images of the task."""
        task = self.task
        return evaluate(self.model, task.test_images, task.test_labels, len(task.class_names), self.device)

    def logits(self, images: Tensor) -> Tensor:
        """uint8 images (n, c, h, w) -> logits (n, C) under the present model, in eval mode."""
        return class_logits(self.model, images, self.device)

    def state(self) -> dict[str, Tensor]:
        """Weights and optimizer state by name; `round`, `round_step` and `losses` are the caller's to keep."""
        tensors = prefixed("model", self.model.state_dict())
        if self._transfer is not None:
            tensors |= prefixed("transfer", self._transfer.state_dict())
        for index, objective in enumerate(self._objectives):
            tensors |= prefixed(f"objective {index}", objective.state_dict())
        for name, optimizer in self._optimizers().items():
            tensors |= prefixed(f"optimizer {name}", optimizer_tensors(optimizer))
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Goes on from what `state` returned; pairs and objectives must be there again before."""
        self.restore_model(tensors)
        if self._transfer is not None and (weights := under("transfer", tensors)):
            self._transfer.load_state_dict(weights)
        for index, objective in enumerate(self._objectives):
            objective.load_state_dict(under(f"objective {index}", tensors))
        for name, optimizer in self._optimizers().items():
            restore_optimizer(optimizer, under(f"optimizer {name}", tensors))

    def restore_model(self, tensors: dict[str, Tensor]) -> None:
        """The model's weights alone, to evaluate it. Raises CheckpointError if they are another model's."""
        try:
            self.model.load_state_dict(under("model", tensors))
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise CheckpointError(f"the checkpoint's weights do not fit model {self.config.model}: {reason}") from error

    def _begin_pretrained(self, body_rate: float) -> None:
        """A few shots spoil what an extractor knows already, unless it is normalised as it was, learns more slowly than
        the classifier, and that one begins at the class means.
        """
        self._body_rate = body_rate
        self.model.pretrained = True
        known = class_prototypes(F.normalize(self._of_shots(self.model.extractor), dim=1), self.task.shot_labels)
        means = torch.zeros(len(self.task.class_names), self.model.classifier.feature_dim)
        means[known.classes] = known.vectors
        self.model.classifier.start_at(means.to(self.device))

    @torch.no_grad()
    def _of_shots(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """What a part of the model makes of all shots in eval mode, on the CPU."""
        self.model.eval()
        batches = self.task.shot_images.split(BATCH)
        return torch.cat([function(to_network(batch.to(self.device))).cpu() for batch in batches])

    @property
    def _transfer_settings(self) -> TransferSettings:
        settings: TransferSettings = chosen(self.config.transfer).settings
        return settings

    def _next(self, plan: RoundPlan) -> tuple[Stage, Span, int]:
        """Stage, span and step that come next in the round; a step beyond its span where the round has ended."""
        warm_up = plan.warm_up.steps if self._warm_up is not None else 0
        if self._warm_up is not None and self.round_step < warm_up:
            return self._warm_up, plan.warm_up, self.round_step
        return self._on_shots, plan.shots, self.round_step - warm_up

    def _step(self, stage: Stage, span: Span, index: int, pairs: ImageVectorPairs | None) -> float:
        rng = stream(self.config.seed, "round", self.round, span.name, index)

        def draw_pairs(views: int) -> tuple[list[Tensor], Tensor]:
            assert pairs is not None  # only stages with a part on pairs ask
            return self._batches.pairs(pairs, stage.pairs_per_step, views, rng)

        step = Step(
            self.model,
            rng,
            self._dtype,
            lambda: self._batches.shots(self.round, index, rng),
            draw_pairs,
            # a model is tested on images like the shots: beside them, generated ones must not shift what normalises it
            keeps_statistics=stage is self._on_shots,
        )
        training = self.config.training
        stage.set_rate(training.schedule, span, index)
        return stage.descend(step, self.losses, training.gradient_norm)

    def _make_stages(self) -> Stage:
        """The stage on the shots, and before it that on the pairs if there are any: with new optimizers.

        So they start anew when the objective on pairs does.
        """
        training, transfer = self.config.training, self._transfer
        extractor, head = [*self.model.extractor.parameters()], [*self.model.classifier.parameters()]
        slower = body_rate(self._body_rate, len(self.task.shot_labels))
        if transfer is None:
            groups = [(extractor, slower * training.learning_rate), (head, training.learning_rate)]
            return Stage(self._shot_parts(), [make_optimizer(training, groups)], 0)
        settings, own = self._transfer_settings, [*transfer.parameters()]
        warm_up = make_optimizer(training, [(extractor + own, settings.learning_rate)])
        self._warm_up = Stage([Part("pair_loss", [transfer])], [warm_up], self.warmup_batch())
        of_body = slower if settings.body_rate is None else settings.body_rate
        groups = [(extractor, of_body * training.learning_rate), (head + own, training.learning_rate)]
        return Stage(self._shot_parts(), [make_optimizer(training, groups)], joint_batch(self.config))

    def _shot_parts(self) -> list[Part]:
        """What the steps on the shots minimise: their own objectives, and the pairs' if some go along."""
        parts = [Part("shot_loss", self._objectives)]
        if self._transfer is not None and joint_batch(self.config) > 0:
            parts.append(Part("pair_loss", [self._transfer], self._transfer_settings.weight))
        return parts

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """By the names that checkpoints have for them."""
        named = {"warm-up": self._warm_up.optimizers[0]} if self._warm_up is not None else {}
        names: Sequence[str] = ("shots", "objectives")
        return named | dict(zip(names, self._on_shots.optimizers, strict=False))


def _new_model(
    task: FewShotTask, config: EdgeConfig, etf_seed: int, classifier: ClassifierKind, trained: bool
) -> EdgeModel:
    model = build_model(
        config.model,
        channels=task.shot_images.shape[1],
        image_size=task.shot_images.shape[2],
        classes=len(task.class_names),
        seed=config.seed,
        etf_seed=etf_seed,
        settings=config.training,
        classifier=classifier,
        weights=config.weights,
        trained=trained,
    )
    if task.balanced:
        model.classifier.balance(task.shot_labels.bincount(minlength=len(task.class_names)))
    return model.to(torch.device(config.device)).to(memory_format=torch.channels_last)
