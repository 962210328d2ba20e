"""All clients of a run, reached over Flower: what the loop asks of them goes out as messages, one to each node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ktl.errors import WireError
from ktl.flower.post import Post
from ktl.flower.records import ASK, LEARN, TEST, Answer, Order, packed
from ktl.flower.reports import check_reports
from ktl.loop.clients import Outcome, Watch
from ktl.loop.edges import client_file
from ktl.methods.base import Method
from ktl.methods.message import Message, message_bytes, read_message

ABSENT = "its node is not connected"


class Fleet:
    """A run's clients on Flower's nodes; implements `Clients`. It keeps which version of each client counts."""

    watched = False

    def __init__(
        self,
        post: Post,
        nodes: Callable[[], Mapping[int, int]],
        method: Method,
        run: str,
        clients: Sequence[int],
    ) -> None:
        """`nodes`: the node of each client that is connected now; `run`: its name at the nodes."""
        self._post = post
        self._nodes = nodes
        self._method = method
        self._run = run
        self.versions = dict.fromkeys(clients, 0)

    def ask(self, clients: Sequence[int], round_index: int) -> dict[int, Message | str]:
        """What each client sends before it trains, or why it cannot; nothing is sent where the method asks nothing."""
        if type(self._method).ask is Method.ask:
            connected = self._nodes()
            return {client: Message() if client in connected else ABSENT for client in clients}
        asked: dict[int, Message | str] = {}
        for client, answer in self._answers(ASK, clients, round_index, Message()).items():
            asked[client] = answer if isinstance(answer, str) else _message_in(answer)
        return asked

    def learn(
        self, clients: Sequence[int], round_index: int, message: Message, watch: Watch = Watch()
    ) -> dict[int, Outcome]:
        """One round of each client; steps on other machines are not watched, so a stop waits for the round's end."""
        outcomes = {
            client: Outcome(error=answer) if isinstance(answer, str) else _outcome(answer)
            for client, answer in self._answers(LEARN, clients, round_index, message).items()
        }
        outcomes = check_reports(outcomes, self._method.problem.classes)
        self.versions |= {client: round_index + 1 for client, outcome in outcomes.items() if outcome.error is None}
        return outcomes

    def test(self, clients: Sequence[int], message: Message) -> dict[int, tuple[int, int]]:
        """Of the clients that answer."""
        answers = self._answers(TEST, clients, 0, message).items()
        return {client: (answer.right, answer.tested) for client, answer in answers if not isinstance(answer, str)}

    def save(self, folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Which versions count: the nodes have saved them before they answered."""
        return {}, {str(client): version for client, version in self.versions.items()}

    def restore(
        self, folder: Path, tensors: dict[str, Tensor], progress: dict[str, Any], messages: Mapping[int, Message]
    ) -> None:
        """Nodes go back to these versions by themselves, when they are next asked."""
        self.versions = {client: int(progress[str(client)]) for client in self.versions}

    def tidy(self, folder: Path) -> None:
        """Of nodes that keep their files in the run's own folder; others tidy up when they next learn."""
        named = {client_file(folder, client, version) for client, version in self.versions.items()}
        for file in folder.glob("client-*.safetensors"):
            if file not in named:
                file.unlink()

    def begun(self, round_index: int) -> bool:
        """Never: clients of a federation are saved between rounds."""
        return False

    def _answers(
        self, kind: str, clients: Sequence[int], round_index: int, message: Message
    ) -> dict[int, Answer | str]:
        """What each client answers, in the order of their numbers, or why it does not."""
        body, nodes = message_bytes(message), self._nodes()
        orders = {c: Order(self._run, c, self.versions[c], round_index, body) for c in clients if c in nodes}
        contents = {client: (nodes[client], packed(order)) for client, order in orders.items()}
        answers = self._post.answers(kind, contents, group=str(round_index + 1))
        return {client: answers.get(client, ABSENT) for client in sorted(clients)}


def _message_in(answer: Answer) -> Message | str:
    try:
        return read_message(answer.message)
    except WireError as error:
        return str(error)


def _outcome(answer: Answer) -> Outcome:
    report = _message_in(answer)
    if isinstance(report, str):
        return Outcome(error=report)
    if answer.right > answer.tested:
        return Outcome(error=f"it says that {answer.right} of {answer.tested} test images are right")
    losses = {column: answer.losses.get(column) for column in ("shot_loss", "pair_loss")}
    return Outcome(report, answer.right, answer.tested, losses)
