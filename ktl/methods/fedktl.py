"""FedKTL: Zhang et al., "An Upload-Efficient Scheme for Transferring Knowledge" (CVPR 2024), the loop of this project.

Up: class prototypes. Down: image-vector pairs, the same for every edge of a round. With one edge it is KTL.
"""

from __future__ import annotations

from collections.abc import Mapping

from ktl.learning.learner import EdgeLearner
from ktl.methods.base import Exchange, Method
from ktl.methods.message import Message
from ktl.models.classifiers import EtfClassifier
from ktl.pairs import ImageVectorPairs
from ktl.wire import SessionReply, decode_message, decode_pairs, decode_prototypes, encode_prototypes


class FedKTL(Method):
    """Payloads are those of `ktl.wire`, so the bytes counted are the bytes that a network would carry."""

    classifier = EtfClassifier
    uses_pairs = True
    _decoded: tuple[bytes, ImageVectorPairs] | None = None

    def ask(self, learner: EdgeLearner) -> Message:
        return Message(payloads={"prototypes": encode_prototypes(learner.prototypes())})

    def answer(self, round_index: int, asked: Mapping[int, Message]) -> Message:
        if not asked:
            return Message()
        uploads = {client: message.payloads["prototypes"] for client, message in asked.items()}
        return self._message(self._session().answered(round_index, uploads))

    def answered(self) -> dict[int, tuple[dict[int, Message], Message]]:
        rounds = {}
        for round_index in self._session().rounds():
            uploads, pairs = self._session().kept(round_index)
            asked = {client: Message(payloads={"prototypes": payload}) for client, payload in uploads.items()}
            rounds[round_index] = asked, self._message(pairs)
        return rounds

    def learn(self, learner: EdgeLearner, message: Message) -> None:
        learner.receive(self.pairs_in(message))

    def recall(self, learner: EdgeLearner, message: Message) -> None:
        learner.receive(self.pairs_in(message))

    def numbers_up(self, message: Message) -> int:
        """A prototype of K numbers for each class that the client has."""
        if not message:
            return 0
        return decode_prototypes(message.payloads["prototypes"], self.problem.request.num_classes).vectors.numel()

    def numbers_down(self, message: Message) -> int:
        """Raw pixels and latents."""
        pairs = self.pairs_in(message)
        return pairs.images.numel() + pairs.vectors.numel()

    def pairs_in(self, message: Message) -> ImageVectorPairs:
        """The pairs of an answer, decoded once for all edges that ask one after the other."""
        payload = message.payloads["pairs"]
        if self._decoded is None or self._decoded[0] != payload:
            reply = decode_message(message.payloads["reply"], SessionReply)
            self._decoded = payload, decode_pairs(payload, self.problem.request, reply.latent_dim)
        return self._decoded[1]

    def _message(self, pairs: bytes) -> Message:
        return Message(payloads={"pairs": pairs, "reply": self._session().reply})

    def _session(self) -> Exchange:
        if self.exchange is None:
            raise LookupError("the run has not opened a session with a cloud")
        return self.exchange
