"""Messages to nodes and their answers, over Flower's grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from ktl.errors import KtlError, WireError
from ktl.flower.records import Answer, unpacked

POLL = 0.1  # seconds between two looks for answers, and as many more for every hundred that are missing

Key = TypeVar("Key")


class Post:
    """Sends to nodes and waits for their answers.

    timeout: seconds that a node has, or None; ended: whether what runs the nodes has ended, and no answer will come.
    """

    def __init__(self, grid: Grid, timeout: float | None, ended: Callable[[], bool] = lambda: False) -> None:
        self.grid = grid
        self.timeout = timeout
        self._ended = ended

    def answers(
        self, kind: str, contents: Mapping[Key, tuple[int, RecordDict]], group: str = ""
    ) -> dict[Key, Answer | str]:
        """Sends each content to its node; what was answered by the same keys, or why nothing was.

        Raises KtlError if `ended`.
        """
        sent = {
            key: Message(content, dst_node_id=node, message_type=kind, group_id=group)
            for key, (node, content) in contents.items()
        }
        if sent:
            self.grid.push_messages(list(sent.values()))
        ids = {key: message.metadata.message_id for key, message in sent.items()}  # since they were pushed
        replies = self._replies({*ids.values()})
        late = f"late: no answer within {self.timeout or 0:g} seconds"
        return {key: _answer(replies[ids[key]]) if ids[key] in replies else late for key in sent}

    def _replies(self, missing: set[str]) -> dict[str, Message]:
        replies: dict[str, Message] = {}
        started = time.monotonic()
        while missing and (self.timeout is None or time.monotonic() < started + self.timeout):
            if self._ended():
                raise KtlError("Flower's simulation ended while clients trained; go on with --resume")
            for reply in self.grid.pull_messages(missing):
                replies[reply.metadata.reply_to_message_id] = reply
            missing = missing - replies.keys()
            if missing:
                time.sleep(POLL * (1 + len(missing) / 100))  # a look goes through all of them
        return replies


def _answer(reply: Message) -> Answer | str:
    """What a reply says, or one line that says why it says nothing."""
    if reply.has_error():
        return f"its node failed: {' '.join(str(reply.error.reason).split())[-160:]}"
    try:
        answer = unpacked(reply.content, Answer)
    except WireError as error:
        return str(error)
    return answer if answer.error is None else " ".join(answer.error.split())[:200]
