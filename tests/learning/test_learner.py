"""The edge's training, step by step, without files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ktl.cloud.knowledge import KnowledgeCloud
from ktl.data.fewshot import FewShotTask
from ktl.data.transforms import to_network
from ktl.edge.settings import RunConfig
from ktl.errors import CheckpointError, UsageError
from ktl.generators.network import NetworkGenerator
from ktl.learning.learner import EdgeLearner
from ktl.learning.schedule import Span
from ktl.learning.settings import RECIPES, EdgeConfig, TrainingConfig
from ktl.loop.settings import CloudConfig
from ktl.objectives import TRANSFERS
from ktl.pairs import ImageVectorPairs, concatenate
from ktl.wire import SessionRequest, encode_warm_start


@pytest.fixture(scope="module")
def pairs(small_task: FewShotTask, tiny_generator: NetworkGenerator) -> ImageVectorPairs:
    request = SessionRequest(
        3,
        16,
        3,
        pairs_per_class=8,
        download_bytes=1_000_000,
        alignment="robust",
        image_format="webp",
        seed=0,
    )
    prototypes = EdgeLearner(small_task, EdgeConfig(), etf_seed=0).prototypes()
    return concatenate(list(KnowledgeCloud(tiny_generator, request).pairs([prototypes])))


def train(learner: EdgeLearner, *, stop_after: int | None = None) -> list[tuple[str, float]]:
    """Trains the current round, or its next `stop_after` steps; returns each step's stage and loss."""
    done: list[tuple[str, float]] = []

    def on_step(span: Span, step: int, loss: float) -> None:
        done.append((span.name, loss))

    learner.train_round(on_step, lambda: len(done) == stop_after)
    return done


def copied_weights(learner: EdgeLearner) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}


def test_training_on_the_shots_lowers_their_loss(small_task: FewShotTask) -> None:
    config = EdgeConfig(transfer=None, training=TrainingConfig(steps=40))
    losses = [loss for _, loss in train(EdgeLearner(small_task, config, etf_seed=0))]
    assert len(losses) == 40
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_the_warm_up_lowers_the_loss_on_the_pairs(small_task: FewShotTask, pairs: ImageVectorPairs) -> None:
    config = EdgeConfig(training=TrainingConfig(steps=1), transfer=TRANSFERS.choose("image-vector", warmup_steps=40))
    learner = EdgeLearner(small_task, config, etf_seed=0)
    learner.receive(pairs)
    losses = [loss for name, loss in train(learner) if name == "warm-up"]
    assert len(losses) == 40
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_pairs_beside_the_shots_leave_the_statistics_that_images_are_normalised_by(
    small_task: FewShotTask, pairs: ImageVectorPairs
) -> None:
    training = TrainingConfig(steps=3, learning_rate=0.0, weight_decay=0.0)
    config = EdgeConfig(
        model="resnet4",
        training=training,
        transfer=TRANSFERS.choose("image-vector", warmup_steps=0),
        precision="float32",
    )
    beside, alone = (EdgeLearner(small_task, config, etf_seed=0) for _ in range(2))
    initial = copied_weights(alone)
    beside.receive(pairs)
    assert [name for name, _ in train(beside)] == [name for name, _ in train(alone)] == ["shots"] * 3
    expected = {name: t for name, t in copied_weights(alone).items() if ".running_" in name}
    assert not any(torch.equal(tensor, initial[name]) for name, tensor in expected.items())
    assert all(torch.equal(tensor, beside.model.state_dict()[name]) for name, tensor in expected.items())


@pytest.mark.parametrize("recipe", ["tuned", "published"])
def test_every_shot_is_seen_once_in_each_epoch(small_task: FewShotTask, recipe: str) -> None:
    training = replace(RECIPES[recipe], steps=None, min_steps=0, epochs=1, batch=5, augment=False, learning_rate=0.0)
    learner = EdgeLearner(small_task, EdgeConfig(transfer=None, training=training), etf_seed=0)
    losses = [loss for _, loss in train(learner)]
    whole = replace(training, batch=12)
    [(_, all_at_once)] = train(EdgeLearner(small_task, EdgeConfig(transfer=None, training=whole), etf_seed=0))
    assert len(losses) == 3
    assert sum(losses) / 3 == pytest.approx(all_at_once, rel=1e-5)


def test_a_round_reports_the_mean_losses_of_its_steps(small_task: FewShotTask, pairs: ImageVectorPairs) -> None:
    config = EdgeConfig(
        training=TrainingConfig(steps=4), transfer=TRANSFERS.choose("image-vector", warmup_steps=3, weight=0.0)
    )
    learner = EdgeLearner(small_task, config, etf_seed=0)
    learner.receive(pairs)
    done = train(learner)
    shots = [loss for name, loss in done if name == "shots"]
    assert learner.losses.mean("shot_loss") == pytest.approx(sum(shots) / 4)
    assert learner.losses.steps == {"pair_loss": 7, "shot_loss": 4}


def test_without_a_cloud_its_settings_change_nothing(small_task: FewShotTask) -> None:
    training = TrainingConfig(steps=5)
    plain = EdgeLearner(small_task, EdgeConfig(transfer=None, training=training), etf_seed=0)
    other = RunConfig(
        "cnn4",
        transfer=None,
        training=training,
        cloud=CloudConfig("elsewhere.safetensors", "published", 3, 50_000, "png"),
    )
    unlike = EdgeLearner(small_task, other, etf_seed=0)
    assert train(plain) == train(unlike)
    assert plain.losses.mean("pair_loss") is None
    assert all(torch.equal(a, b) for a, b in zip(plain.state().values(), unlike.state().values(), strict=True))


def test_no_pairs_beside_the_shots_is_training_without_them(small_task: FewShotTask, pairs: ImageVectorPairs) -> None:
    training, transfer = TrainingConfig(steps=4), TRANSFERS.choose("image-vector", warmup_steps=0, joint_batch=0)
    alone = EdgeLearner(small_task, EdgeConfig(transfer=None, training=training), etf_seed=0)
    helped = EdgeLearner(small_task, EdgeConfig(training=training, transfer=transfer), etf_seed=0)
    helped.receive(pairs)
    assert train(helped) == train(alone)
    assert all(torch.equal(copied_weights(helped)[name], tensor) for name, tensor in copied_weights(alone).items())
    assert helped.losses.mean("pair_loss") is None


def test_the_warm_up_changes_the_extractor_and_not_the_classifier(
    small_task: FewShotTask, pairs: ImageVectorPairs
) -> None:
    config = EdgeConfig(training=TrainingConfig(steps=1), transfer=TRANSFERS.choose("image-vector", warmup_steps=6))
    learner = EdgeLearner(small_task, config, etf_seed=0)
    learner.receive(pairs)
    before = copied_weights(learner)
    assert [name for name, _ in train(learner, stop_after=6)] == ["warm-up"] * 6
    changed = {name for name, tensor in copied_weights(learner).items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if name.startswith("extractor.")}


@pytest.mark.parametrize("task", ["image-vector", "mse"])
def test_the_pairs_loss_beside_the_shots_sends_no_gradient_to_the_classifier(
    small_task: FewShotTask, pairs: ImageVectorPairs, task: str
) -> None:
    def gradients(weight: float) -> tuple[Tensor, Tensor]:
        transfer = TRANSFERS.choose(task, warmup_steps=0, weight=weight)
        training = TrainingConfig(steps=2, gradient_norm=1e9)
        learner = EdgeLearner(small_task, EdgeConfig(training=training, transfer=transfer), etf_seed=0)
        learner.receive(pairs)
        etf = learner.model.classifier.etf.clone()
        train(learner, stop_after=1)
        assert torch.equal(learner.model.classifier.etf, etf)
        assert not learner.model.classifier.etf.requires_grad
        first_layer = next(learner.model.extractor.parameters())
        assert first_layer.grad is not None
        assert learner.model.classifier.projection.weight.grad is not None
        return first_layer.grad, learner.model.classifier.projection.weight.grad

    extractor_without, projection_without = gradients(0.0)
    extractor_with, projection_with = gradients(50.0)
    assert torch.equal(projection_with, projection_without)
    assert not torch.allclose(extractor_with, extractor_without, rtol=0.01)


def test_prototypes_are_unit_vectors_with_the_counts_of_the_shots(small_task: FewShotTask) -> None:
    prototypes = EdgeLearner(small_task, EdgeConfig(), etf_seed=0).prototypes()
    assert prototypes.classes.tolist() == [0, 1, 2]
    assert prototypes.counts.tolist() == [4, 4, 4]
    assert torch.allclose(prototypes.vectors.norm(dim=1), torch.ones(3), atol=1e-6)


@pytest.mark.parametrize("stop_after", [3, 6, 9])
@pytest.mark.parametrize("task", ["image-vector", "mse"])
def test_a_restored_learner_goes_on_to_the_same_bits(
    small_task: FewShotTask, pairs: ImageVectorPairs, task: str, stop_after: int
) -> None:
    transfer = TRANSFERS.choose(task, warmup_steps=6)
    config = EdgeConfig(training=TrainingConfig(steps=8), transfer=transfer)

    def start() -> EdgeLearner:
        learner = EdgeLearner(small_task, config, etf_seed=0)
        learner.receive(pairs)
        return learner

    undisturbed, stopped, resumed = start(), start(), start()
    losses = train(undisturbed)
    first = train(stopped, stop_after=stop_after)
    resumed.restore(
        {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in stopped.state().items()}
    )
    resumed.round_step = stopped.round_step
    assert first + train(resumed) == losses
    expected = undisturbed.state()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.state().items())


def test_pairs_of_earlier_rounds_are_kept_unless_the_task_starts_anew(
    small_task: FewShotTask, pairs: ImageVectorPairs
) -> None:
    def batches(anew: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        transfer = TRANSFERS.choose("image-vector", warmup_steps=0, anew_each_round=anew)
        learner = EdgeLearner(small_task, EdgeConfig(transfer=transfer), etf_seed=0)
        learner.receive(pairs)
        train(learner, stop_after=2)
        before = {name: t.clone() for name, t in learner.state().items() if name.startswith("transfer/")}
        learner.receive(pairs)
        return before, learner.state()

    before, after = batches(anew=False)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert any(name.startswith("optimizer shots/") for name in after)
    before, after = batches(anew=True)
    assert not torch.equal(after["transfer/image_head.weight"], before["transfer/image_head.weight"])
    assert not any(name.startswith("optimizer ") for name in after)


def warm_started(task: FewShotTask, config: EdgeConfig, body_rate: float) -> EdgeLearner:
    learner = EdgeLearner(task, config, etf_seed=0)
    learner.take_warm_start(encode_warm_start(learner.model.extractor.state_dict(), body_rate))
    return learner


@pytest.mark.parametrize("says", [0.1, 1.0])
def test_a_pretrained_extractor_keeps_its_statistics_and_starts_at_the_class_means(
    small_task: FewShotTask, says: float
) -> None:
    config = EdgeConfig("resnet4", training=TrainingConfig(steps=3), transfer=None)
    learner = warm_started(small_task, config, says)
    learner.model.eval()
    with torch.no_grad():
        features = F.normalize(learner.model.extractor(to_network(small_task.shot_images)), dim=1)
        logits = learner.model.classifier(features)
    sums = torch.stack([features[small_task.shot_labels == c].sum(dim=0) for c in range(3)])
    nearest = (features @ F.normalize(sums, dim=1).T).argmax(dim=1)
    assert torch.equal(logits.argmax(dim=1), nearest) is (says < 1.0)
    norms = [name for name in learner.model.state_dict() if name.endswith(("running_mean", "running_var"))]
    before = copied_weights(learner)
    train(learner)
    kept = [torch.equal(learner.model.state_dict()[name], before[name]) for name in norms]
    assert len(kept) > 2
    assert all(kept) if says < 1.0 else not any(kept)


@pytest.mark.parametrize(
    ("says", "settings", "learns"), [(0.0, None, False), (1.0, None, True), (1.0, 0.0, False), (0.0, 1.0, True)]
)
def test_a_warm_start_says_how_fast_its_extractor_learns_unless_the_settings_do(
    small_task: FewShotTask, pairs: ImageVectorPairs, says: float, settings: float | None, learns: bool
) -> None:
    transfer = TRANSFERS.choose("image-vector", body_rate=settings)
    config = EdgeConfig(training=TrainingConfig(steps=3), transfer=transfer, warm_start="cloud")
    learner = warm_started(small_task, config, says)
    learner.receive(pairs)
    before = copied_weights(learner)
    train(learner)
    after = learner.model.state_dict()
    assert torch.equal(after["extractor.conv1.weight"], before["extractor.conv1.weight"]) is not learns
    assert not torch.equal(after["classifier.projection.weight"], before["classifier.projection.weight"])


def test_weights_of_another_model_are_refused(small_task: FewShotTask) -> None:
    learner = EdgeLearner(small_task, EdgeConfig(transfer=None), etf_seed=0)
    tensors = learner.state()
    tensors["model/classifier.projection.bias"] = torch.zeros(5)
    with pytest.raises(CheckpointError, match=r"weights do not fit model cnn4: .*projection\.bias"):
        learner.restore_model(tensors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: replace(c, training=replace(c.training, optimizer="adam")),
            "optimizer is 'adam': give one of adamw, sgd",
        ),
        (lambda c: replace(c, model="cnn5"), "unknown model 'cnn5': choose one of cnn4"),
        (lambda c: replace(c, rounds=9, training=TrainingConfig(steps=8)), "8 steps over 9 rounds"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(
    small_task: FewShotTask, change: Callable[[EdgeConfig], EdgeConfig], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        EdgeLearner(small_task, change(EdgeConfig()), etf_seed=0)


def test_a_balanced_task_is_learnt_with_every_class_counting_alike(small_task: FewShotTask) -> None:
    kept = torch.tensor([0, 1, 2, 3, 4, 8])  # four images of the first class, one of each other
    task = replace(small_task, shot_images=small_task.shot_images[kept], shot_labels=small_task.shot_labels[kept])
    weights = EdgeLearner(replace(task, balanced=True), EdgeConfig(transfer=None), etf_seed=0).model.classifier
    assert weights.class_weights is not None
    assert weights.class_weights.tolist() == [0.5, 2.0, 2.0]
    assert EdgeLearner(task, EdgeConfig(transfer=None), etf_seed=0).model.classifier.class_weights is None
