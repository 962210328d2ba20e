"""What one edge's run is made of, beside the loop: its session with a cloud, its rows, and what it leaves behind."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import nn

from ktl.data.fewshot import FewShotTask
from ktl.edge.calibration import temperature_for
from ktl.edge.onnx.model_file import ModelFacts, PictureClassifier, export_onnx
from ktl.edge.record import Record, cloud_arrays, describe_environment, result_arrays, write_record
from ktl.edge.settings import RunConfig
from ktl.errors import UsageError
from ktl.files import Row
from ktl.learning.evaluation import Evaluation, class_logits, evaluate
from ktl.learning.learner import EdgeLearner
from ktl.loop.clients import Outcome
from ktl.loop.connection import CloudConnection
from ktl.loop.exchange import CloudExchange, session_request
from ktl.loop.folder import RunFolder
from ktl.loop.one_edge import OneEdge
from ktl.loop.rounds import Loop, Observer, Round, Scores
from ktl.loop.settings import MIN_DOWNLOAD
from ktl.methods.base import Method, Problem
from ktl.methods.fedktl import FedKTL
from ktl.methods.local import Local
from ktl.methods.message import Message
from ktl.models.edge_model import extractor_weights
from ktl.settings import NoSettings
from ktl.wire import decode_pairs, decode_prototypes, warm_start_bytes

CHECKPOINT_SECONDS = 10.0
OPENING_BYTES = 2_000  # of the download budget, kept for the reply that opens a session
MISSED = Outcome(losses={"shot_loss": None, "pair_loss": None})  # of a round that an edge took no part in


def pair_bytes(config: RunConfig, channels: int, image_size: int) -> int:
    """Of a round's pairs: what the download budget leaves beside the opening and a warm start from the cloud.

    Raises UsageError where that is too little.
    """
    left = config.cloud.download_budget - OPENING_BYTES
    if config.warm_start == "cloud":
        warm = warm_start_bytes(extractor_weights(config.model, channels, image_size))
        left -= warm
        if left + OPENING_BYTES < MIN_DOWNLOAD * config.rounds:
            raise UsageError(
                f"download_budget is {config.cloud.download_budget}, of which a warm start of {config.model} takes "
                f"{warm:,} bytes: give at least {warm + MIN_DOWNLOAD * config.rounds:,} bytes"
            )
    return left // config.rounds


def whole_budget(config: RunConfig, download_bytes: int, channels: int, image_size: int) -> int:
    """The download budget that leaves each round's pairs `download_bytes`: `pair_bytes` gives them again."""
    warm = 0
    if config.warm_start == "cloud":
        warm = warm_start_bytes(extractor_weights(config.model, channels, image_size))
    return OPENING_BYTES + warm + config.rounds * download_bytes


class EdgeRun:
    """What one edge's run has beside the loop: its session with a cloud, its rows, and what it leaves behind."""

    def __init__(self, config: RunConfig, task: FewShotTask, out: Path, connection: CloudConnection | None) -> None:
        self.config = config
        self.task = task
        self.out = out
        classes, channels, size = len(task.class_names), task.shot_images.shape[1], task.shot_images.shape[2]
        self.request = session_request(
            config.cloud,
            classes=classes,
            channels=channels,
            image_size=size,
            download_bytes=pair_bytes(config, channels, size),
            seed=config.seed,
            warm_starts=[config.model] if config.warm_start == "cloud" else [],
        )
        counts = task.shot_labels.bincount(minlength=classes)[None]
        problem = Problem(
            counts, channels, size, (config.model,), config.rounds, config.seed, config.training, self.request
        )
        self.exchange = None if connection is None else CloudExchange(self.request, out / "wire", connection)
        self.method = self.make_method(problem)
        etf_seed = config.seed
        if self.exchange is not None:
            self.method.exchange = self.exchange
            etf_seed = self.exchange.about.etf_seed
        self.warm_start_bytes = 0  # down
        self.learner = EdgeLearner(task, config, etf_seed)  # refuses impossible settings before anything is written

    def make_method(self, problem: Problem) -> Method:
        """What the edge exchanges with its cloud, if it has one."""
        if self.exchange is None:
            return Local(NoSettings(), problem)
        return FedKTL(FedKTL.Settings(pool="none"), problem)  # one edge has nobody to pool with

    def take_warm_start(self) -> None:
        """Lets the learner begin with the cloud's extractor, if the run wants it."""
        if self.exchange is not None and self.config.warm_start == "cloud":
            payload = self.exchange.warm_start(self.config.model, self.learner.model.extractor.state_dict())
            self.learner.take_warm_start(payload)
            self.warm_start_bytes = len(payload)

    def loop(self, folder: RunFolder, observer: Observer) -> Loop:
        """The rounds of a federation of one."""
        return Loop(
            folder,
            self.method,
            OneEdge(self.learner, self.method),
            self.config.rounds,
            describe=self.row,
            participants=self.participants,
            every_client=[0],
            save_every=CHECKPOINT_SECONDS,
            observer=observer,
        )

    def participants(self, round_index: int) -> tuple[list[int], dict[int, str]]:
        """The edge, and why it takes no part in a round if it does not."""
        return [0], {}

    def row(self, finished: Round, scores: Scores) -> Row:
        """A round's row of the metrics; the first one's bytes include the session's opening and the warm start."""
        outcome, sent = finished.outcomes.get(0, MISSED), finished.sent.get(0, Message())
        closing = finished.closing or Message()
        up = down = 0
        if self.exchange is not None and finished.index == 0:
            up, down = self.exchange.opening
            down += self.warm_start_bytes
        return {
            "round": finished.index + 1,
            "test_accuracy": scores.mean,
            **outcome.losses,
            "bytes_up": up + sum(len(each) for part in (sent, outcome.report) for each in part.payloads.values()),
            "bytes_down": down + len(finished.message.payloads.get("pairs", b"")) + closing.size,
        }

    def trained_model(self) -> tuple[nn.Module, float]:
        """What the edge classifies by in the end, and a temperature for its logits."""
        return self.learner.model, temperature_for(self.learner)

    def finish(self, trace: list[list[Any]]) -> Evaluation:
        """Calibrates the model, records what a report shows, exports the model, and evaluates it."""
        config, learner, task = self.config, self.learner, self.task
        model, temperature = self.trained_model()
        logits = class_logits(model, task.test_images, learner.device)
        record = Record(
            class_names=task.class_names,
            temperature=temperature,
            parameters=sum(parameter.numel() for parameter in learner.model.parameters()),
            weights=learner.model.origin,
            losses=trace,
            environment=describe_environment(config.device, config.threads),
            ranges=task.ranges,
            arrays=result_arrays(task, (logits / temperature).softmax(dim=1)),
        )
        write_record(self.out, record if self.exchange is None else self._with_cloud(record, self.exchange))
        size, channels = self.request.image_size, self.request.channels
        facts = ModelFacts(task.class_names, size, channels, temperature, task.ranges, task.fit)
        export_onnx(PictureClassifier(model, temperature), facts, self.out / "model.onnx")
        return evaluate(model, task.test_images, task.test_labels, len(task.class_names), learner.device)

    def _with_cloud(self, record: Record, exchange: CloudExchange) -> Record:
        """The record with what the last round sent and received."""
        uploads, payload = exchange.kept(self.config.rounds - 1)
        pairs = decode_pairs(payload, self.request, exchange.about.latent_dim)
        prototypes = decode_prototypes(uploads[0], self.request.num_classes)
        arrays = record.arrays | cloud_arrays(pairs, prototypes)
        return replace(record, generator=asdict(exchange.about), pairs=len(pairs), arrays=arrays)
