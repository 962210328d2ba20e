"""A run that starts from pre-trained weights: resumed, recorded, evaluated and exported without the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision.models import squeezenet1_1

from ktl.edge.export.bundle import write_bundle
from ktl.edge.record import read_record
from ktl.edge.run import evaluate_run, load_run, train_edge
from ktl.edge.settings import RunConfig
from ktl.edge.task import draw
from ktl.errors import Interrupted
from ktl.learning.learner import EdgeLearner
from ktl.learning.schedule import joint_batch, round_plan
from ktl.learning.settings import TrainingConfig
from ktl.loop.rounds import Observer
from ktl.seeds import initialising

HEAD = "classifier.projection.weight"
OWN_MODEL = """
from torch import nn

class Net(nn.Sequential):
    {says}

    def __init__(self, channels, image_size):
        super().__init__(nn.Conv2d(channels, 64, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""


@pytest.fixture
def config(small_config: RunConfig, tmp_path: Path) -> RunConfig:
    """Six steps of a network whose weights lie in a file."""
    with initialising(0, "weights"):
        torch.save(squeezenet1_1(weights=None).state_dict(), tmp_path / "squeeze.pth")
    return replace(
        small_config,
        model="torchvision.models:squeezenet1_1",
        weights=str(tmp_path / "squeeze.pth"),
        data=replace(small_config.data, shots=1, image_size=32),
        rounds=1,
        transfer=None,
        training=TrainingConfig(steps=6, learning_rate=1e-4),
    )


def trained(config: RunConfig) -> dict[str, torch.Tensor]:
    """The weights after a training that was left alone."""
    learner = EdgeLearner(draw(config), config, etf_seed=config.seed)
    learner.train_round(lambda *_: None, lambda: False)
    return learner.model.state_dict()


def test_a_run_is_resumed_recorded_evaluated_and_exported(config: RunConfig, tmp_path: Path) -> None:
    run, steps = tmp_path / "run", iter(range(100))
    with pytest.raises(Interrupted):
        train_edge(config, run, observer=Observer(should_stop=lambda: next(steps) == 3))
    result = train_edge(config, run, resume=True)
    left_alone, from_scratch = trained(config), trained(replace(config, weights=None))
    (tmp_path / "squeeze.pth").unlink()

    learner = load_run(run)
    assert learner.config == replace(config, warm_start="edge")
    weights = learner.model.state_dict()
    assert all(torch.equal(tensor, left_alone[name]) for name, tensor in weights.items())
    first = "extractor.body.{}network.features.0.weight"
    assert (weights[first.format("body.")] - from_scratch[first.format("")]).abs().max() > 0.01
    assert read_record(run).weights.startswith("squeeze.pth (SHA-256 ")
    evaluation, _ = evaluate_run(run)
    assert torch.equal(evaluation.confusion, result.evaluation.confusion)
    bundle = write_bundle(run, tmp_path / "bundle")
    assert bundle.parity is not None
    assert bundle.parity.holds
    assert "| started from | squeeze.pth (SHA-256 " in (tmp_path / "bundle" / "card.md").read_text()


def rate_of_body(config: RunConfig) -> float:
    """The learning rate of the extractor relative to the head's: a weight's first step is its rate, up or down."""
    config = replace(config, training=TrainingConfig(steps=1, learning_rate=0.1, weight_decay=0.0))
    learner = EdgeLearner(draw(config), config, etf_seed=0)
    before = {name: weight.clone() for name, weight in learner.model.named_parameters()}
    learner.train_round(lambda *_: None, lambda: False)
    with torch.no_grad():
        moved = {name: float((now - before[name]).abs().max()) for name, now in learner.model.named_parameters()}
    return max(step for name, step in moved.items() if name.startswith("extractor.")) / moved[HEAD]


def test_pretrained_weights_learn_at_a_tenth_of_the_heads_rate(config: RunConfig) -> None:
    assert rate_of_body(config) == pytest.approx(0.1, rel=0.01)
    assert rate_of_body(replace(config, weights=None)) == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize(
    ("says", "rate", "warm_up", "beside"), [("pretrained = True", 0.1, 0, 16), ("pass", 1.0, 618, 64)]
)
def test_a_model_of_ones_own_may_say_that_it_is_pretrained(
    config: RunConfig,
    says: str,
    rate: float,
    warm_up: int,
    beside: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = f"own_{says.split()[0]}"
    (tmp_path / f"{name}.py").write_text(OWN_MODEL.format(says=says))
    monkeypatch.syspath_prepend(tmp_path)
    own = replace(config, model=f"{name}:Net", weights=None)
    assert rate_of_body(own) == pytest.approx(rate, rel=0.01)
    with_pairs = replace(own, transfer="image-vector")
    assert round_plan(with_pairs, 0, 3, num_classes=3).warm_up.steps == warm_up
    assert joint_batch(with_pairs) == beside
