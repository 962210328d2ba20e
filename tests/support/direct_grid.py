"""A Flower grid in this process: each message goes through its node's ClientApp at once, without a scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any
from uuid import uuid4

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

try:
    from flwr.supercore.run import Run
    from flwr.supercore.task_identity import TaskIdentity
except ImportError:  # of an older Flower, whose messages get the run's number as they are sent
    from flwr.common.typing import Run

    TaskIdentity = None

RUN_ID = 7


class DirectGrid(Grid):
    """Nodes by their numbers, each with its configuration and the state that Flower keeps for it.

    silent: whether a node gets no such message, as if it had been killed; exchanged: all messages and replies.
    """

    def __init__(
        self,
        app: ClientApp,
        nodes: dict[int, dict[str, Any]],
        silent: Callable[[int, Message], bool] = lambda node, message: False,
    ) -> None:
        if TaskIdentity is not None:
            TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = RUN_ID, 1, 1
        self.app = app
        self.silent = silent
        self.nodes = nodes
        self.connected = set(nodes)
        self.exchanged: list[tuple[int, Message, Message | None]] = []
        self._states: dict[int, RecordDict] = {}
        self._replies: dict[str, Message] = {}

    def set_run(self, run: Run) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Run:
        return Run.create_empty(run_id=RUN_ID)

    def create_message(self, *_: Any, **__: Any) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return sorted(self.connected)

    def get_nodes(self) -> Iterable[Any]:
        raise NotImplementedError

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return [self._push(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(name) for name in list(message_ids) if name in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))

    def _push(self, message: Message) -> str:
        name, node = str(uuid4()), message.metadata.dst_node_id
        message.metadata.__dict__["_message_id"] = name
        reply = None
        if not self.silent(node, message):
            context = Context(RUN_ID, node, self.nodes[node], self._states.setdefault(node, RecordDict()), {})
            try:
                reply = self.app(deepcopy(message), context)  # as it would be after its journey
            except Exception as error:  # as Flower's own runtimes do
                reply = Message(Error(code=0, reason=str(error)), reply_to=message)
            self._replies[name] = reply
        self.exchanged.append((node, message, reply))
        return name
