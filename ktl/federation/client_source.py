"""A federation's client as what a bundle is made from."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ktl.data.depth import described
from ktl.edge.export.bundle_source import Source, rgb_pictures
from ktl.edge.export.card import render_card
from ktl.edge.export.quantise import Quantisation
from ktl.edge.onnx.model_file import ModelFacts, PictureClassifier, export_onnx
from ktl.edge.record import describe_environment
from ktl.federation.trained_client import TrainedClient, kept_client, trained_client
from ktl.intervals import wilson_interval
from ktl.learning.evaluation import evaluate
from ktl.registry import chosen
from ktl.shared_space.pooled_model import PooledModel


def federation_client(run: Path, client: int, data: str | None = None) -> Source:
    """Client `client` of the federation in `run`, whose data is at `data` now; raises what `trained_client` raises."""
    return client_source(trained_client(run, client, data))


def node_client(folder: Path) -> Source:
    """What a device of a fleet keeps in `folder`; raises what `kept_client` raises."""
    return client_source(kept_client(folder))


def client_source(trained: TrainedClient) -> Source:
    """Its probabilities are the softmax of the method's scores as they are: no temperature is fitted."""
    task, model = trained.learner.task, trained.predictor
    channels, size = task.shot_images.shape[1:3]
    facts = ModelFacts(task.class_names, size, channels, temperature=1.0, ranges=task.ranges, fit=task.fit)
    return Source(
        model=model,
        config=trained.learner.config,
        facts=facts,
        task=task,
        write_onnx=partial(export_onnx, PictureClassifier(model), facts),
        calibration=lambda: rgb_pictures(task.shot_images),
        calibrated_on="the client's own training images",
        float_head=True,
        card=partial(_card, trained, facts),
    )


def _card(
    trained: TrainedClient,
    facts: ModelFacts,
    model_file: str,
    quantisation: Quantisation | None,
) -> str:
    """Markdown, for the model file `model_file`."""
    learner, model, config, task = trained.learner, trained.predictor, trained.config, trained.learner.task
    tested = evaluate(model, task.test_images, task.test_labels, len(task.class_names), learner.device)
    calibration = None if quantisation is None else quantisation.calibration
    accuracy = tested.accuracy if quantisation is None or calibration is None else quantisation.after.accuracy
    low, high = wilson_interval(round(accuracy * tested.tested), tested.tested)
    return render_card(
        "client_card.md.j2",
        name=trained.name,
        data=trained.data,
        file=model_file,
        calibration=calibration,
        labels=facts.labels,
        size=facts.image_size,
        channels=facts.channels,
        depth=described(facts.ranges),
        fit=facts.fit,
        model=learner.config.model,
        tested=tested.tested,
        accuracy=accuracy,
        float_accuracy=tested.accuracy,
        low=low,
        high=high,
        config=config,
        method=chosen(config.method).name,
        share=model.share if isinstance(model, PooledModel) else None,
        generator=trained.generator,
        shots=len(task.shot_labels),
        known=len(task.shot_labels.unique()),
        parameters=sum(weight.numel() for weight in model.parameters()),
        rounds=trained.rounds,
        environment=describe_environment("cpu", 1),
    )
