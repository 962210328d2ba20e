"""The edge's end of its session: what was exchanged lies in wire/, so no round is ever asked for twice."""

from __future__ import annotations

from pathlib import Path

from ktl.config import RunConfig
from ktl.data.fewshot import FewShotTask
from ktl.files import write_atomically
from ktl.learning.learner import EdgeLearner
from ktl.learning.schedule import pairs_per_class
from ktl.loop.connection import CloudConnection
from ktl.pairs import ImageVectorPairs
from ktl.prototypes import Prototypes
from ktl.wire import (
    SessionReply,
    SessionRequest,
    decode_message,
    decode_pairs,
    decode_prototypes,
    encode_message,
    encode_prototypes,
)

OPENING_BYTES = 2_000  # of the download budget, kept for the reply that opens a session


class EdgeSession:
    """A run's exchange with a cloud, or with none (`connection` None): then there are no pairs, and no bytes."""

    def __init__(self, config: RunConfig, task: FewShotTask, folder: Path, connection: CloudConnection | None) -> None:
        self.folder = folder
        self.connection = connection
        self.opening = (0, 0)
        self.etf_seed = config.seed
        if connection is None:
            return
        classes, channels = len(task.class_names), task.shot_images.shape[1]
        self.request = SessionRequest(
            num_classes=classes,
            image_size=task.shot_images.shape[2],
            channels=channels,
            pairs_per_class=pairs_per_class(config.cloud, classes, channels),
            download_bytes=(config.cloud.download_budget - OPENING_BYTES) // config.rounds,
            alignment=config.cloud.alignment,
            image_format=config.cloud.image_format,
            seed=config.seed,
        )
        sent = encode_message(self.request)
        received = connection.open(sent, [{0: self._sent(r).read_bytes()} for r in self._answered_rounds()])
        self.reply = decode_message(received, SessionReply)
        self.etf_seed = self.reply.etf_seed
        self.opening = (len(sent), len(received))

    def pairs(self, round_index: int, learner: EdgeLearner) -> ImageVectorPairs | None:
        """The pairs of a round: from wire/ if they have come already, else from the cloud. None without a cloud."""
        if self.connection is None:
            return None
        sent, received = self._sent(round_index), self._received(round_index)
        if not received.exists():
            self.folder.mkdir(exist_ok=True)
            if not sent.exists():  # an edge killed during the exchange must send the same bytes again
                write_atomically(sent, encode_prototypes(learner.prototypes()))
            write_atomically(received, self.connection.exchange({0: sent.read_bytes()}))
        return decode_pairs(received.read_bytes(), self.request, self.reply.latent_dim)

    def exchanged(self, round_index: int) -> tuple[ImageVectorPairs, Prototypes]:
        """The pairs and prototypes of a round that is over, as they lie in wire/."""
        pairs = decode_pairs(self._received(round_index).read_bytes(), self.request, self.reply.latent_dim)
        return pairs, decode_prototypes(self._sent(round_index).read_bytes(), self.request.num_classes)

    def bytes_exchanged(self, round_index: int) -> tuple[int, int]:
        """Payload bytes up and down in a round; the first includes the session's opening."""
        if self.connection is None:
            return 0, 0
        up, down = self.opening if round_index == 0 else (0, 0)
        return up + self._sent(round_index).stat().st_size, down + self._received(round_index).stat().st_size

    def _answered_rounds(self) -> list[int]:
        rounds: list[int] = []
        while self._received(len(rounds)).exists():
            rounds.append(len(rounds))
        return rounds

    def _sent(self, round_index: int) -> Path:
        return self.folder / f"round-{round_index + 1:03d}-prototypes.safetensors"

    def _received(self, round_index: int) -> Path:
        return self.folder / f"round-{round_index + 1:03d}-pairs.safetensors"
