"""FedKTL: Zhang et al., "An Upload-Efficient Scheme for Transferring Knowledge" (CVPR 2024), the loop of this project.

Up: class prototypes. Down: image-vector pairs, the same for every edge of a round.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ktl.cloud.knowledge import KnowledgeCloud
from ktl.config import FederationConfig
from ktl.generators import load_generator
from ktl.learning.learner import EdgeLearner, RoundLosses
from ktl.learning.schedule import pairs_per_class
from ktl.methods.base import Message, Method, Problem
from ktl.pairs import ImageVectorPairs
from ktl.wire import (
    SessionReply,
    SessionRequest,
    decode_message,
    decode_pairs,
    decode_prototypes,
    encode_message,
    encode_pairs,
    encode_prototypes,
)


class FedKTL(Method):
    """Payloads are those of `ktl.wire`, so the bytes counted are the bytes that a network would carry."""

    head = "etf"
    local_only = False

    def __init__(self, config: FederationConfig, problem: Problem) -> None:
        super().__init__(config, problem)
        self.request = SessionRequest(
            num_classes=problem.classes,
            image_size=problem.image_size,
            channels=problem.channels,
            pairs_per_class=pairs_per_class(config.cloud, problem.classes, problem.channels),
            download_bytes=config.download_budget,
            alignment=config.cloud.alignment,
            image_format=config.cloud.image_format,
            seed=config.seed,
        )
        self._uploads: list[dict[int, Tensor]] = []  # of each round, for an alignment's state
        self._warmed: dict[tuple[str, int], Any] = {}
        self._decoded: tuple[Tensor, ImageVectorPairs] | None = None

    def ask(self, learner: EdgeLearner) -> Message:
        return {"prototypes": _tensor(encode_prototypes(learner.prototypes()))}

    def answer(self, round_index: int, asked: Mapping[int, Message]) -> Message:
        uploads = {client: message["prototypes"] for client, message in asked.items()}
        payload = b""
        if uploads:
            batches = self.cloud.pairs(self._prototypes(uploads))
            payload = encode_pairs(batches, self.request.image_format, self.request.download_bytes)
            self._uploads.append(uploads)
        return {"pairs": _tensor(payload), "reply": _tensor(encode_message(self.cloud.reply()))}

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        learner.receive(self.pairs_in(message))
        warmup = learner.warmup_steps()
        if warmup == 0:
            return
        # a warm-up sees no images of the edge's own: edges of one architecture that start together learn the same
        key = (learner.config.model, learner.round)
        if key not in self._warmed:
            learner.train_round(lambda *_: None, lambda: learner.round_step >= warmup)
            state = {name: tensor.clone() for name, tensor in learner.state().items()}
            self._warmed = {key: (state, vars(learner.losses).copy())} | {
                k: v for k, v in self._warmed.items() if k[1] == learner.round
            }
        else:
            state, losses = self._warmed[key]
            learner.restore(state)
            learner.round_step = warmup
            learner.losses = RoundLosses(**losses)

    def recall(self, learner: EdgeLearner, message: Message) -> None:
        learner.receive(self.pairs_in(message))

    def state(self) -> dict[str, Tensor]:
        return {f"{r}/{client}": t for r, uploads in enumerate(self._uploads) for client, t in uploads.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        rounds: dict[int, dict[int, Tensor]] = {}
        for name, tensor in tensors.items():
            round_index, client = map(int, name.split("/"))
            rounds.setdefault(round_index, {})[client] = tensor
        for _, uploads in sorted(rounds.items()):
            ordered = dict(sorted(uploads.items()))
            self._uploads.append(ordered)
            self.cloud.skip(self._prototypes(ordered))

    def numbers_up(self, message: Message) -> int:
        """A prototype of K numbers for each class held."""
        held = decode_prototypes(_bytes(message["prototypes"]), self.request.num_classes) if message else None
        return 0 if held is None else held.vectors.numel()

    def numbers_down(self, message: Message) -> int:
        """Raw pixels and latents."""
        pairs = self.pairs_in(message)
        return pairs.images.numel() + pairs.vectors.numel()

    @property
    def cloud(self) -> KnowledgeCloud:
        """Made when first asked for: the edge's half needs no generator."""
        if not hasattr(self, "_cloud"):
            generator = load_generator(self.config.cloud.generator, cached=True)
            self._cloud = KnowledgeCloud(generator, self.request, trusted=True)
        return self._cloud

    def _prototypes(self, uploads: Mapping[int, Tensor]) -> list[Any]:
        return [decode_prototypes(_bytes(upload), self.request.num_classes) for upload in uploads.values()]

    def pairs_in(self, message: Message) -> ImageVectorPairs:
        """The pairs of an answer, decoded once."""
        payload = message["pairs"]
        if self._decoded is None or not torch.equal(self._decoded[0], payload):
            reply = decode_message(_bytes(message["reply"]), SessionReply)
            self._decoded = payload, decode_pairs(_bytes(payload), self.request, reply.latent_dim)
        return self._decoded[1]


def _tensor(payload: bytes) -> Tensor:
    return torch.frombuffer(bytearray(payload), dtype=torch.uint8)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()
