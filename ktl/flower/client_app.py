"""Flower's ClientApp: what a node does for each kind of message. `app` is a device's."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from ktl.errors import DataError, KtlError
from ktl.federation.node_folder import Setup
from ktl.flower.node import Node
from ktl.flower.records import Answer, Hello, Order, packed, unpacked
from ktl.flower.secure_sums import summand_app
from ktl.flower.sites import Device, Site, device_of
from ktl.flower.summands import Vector
from ktl.methods.message import message_bytes, read_message

log = logging.getLogger("flwr")  # of the node


def client_app(site_of: Callable[[Context], Site]) -> ClientApp:
    """The app of nodes whose clients come from `site_of` their context."""
    app = ClientApp()

    def answers(act: Callable[[Node, Order], Answer]) -> Callable[[Message, Context], Message]:
        def handle(message: Message, context: Context) -> Message:
            try:
                order = unpacked(message.content, Order)
                answer = act(site_of(context).node(order.run, order.client, order.version), order)
            except KtlError as error:
                answer = Answer(error=str(error))
            return Message(packed(answer), reply_to=message)

        return handle

    app.query("ask")(answers(_ask))
    app.train("learn")(answers(_learn))
    app.evaluate("test")(answers(_test))
    app.train()(summand_app(lambda context, order: _summand(site_of(context), order)))  # Flower's own kind of message
    return app


def _ask(node: Node, order: Order) -> Answer:
    asked = node.ask(order.round)
    return Answer(error=asked) if isinstance(asked, str) else Answer(message=message_bytes(asked))


def _learn(node: Node, order: Order) -> Answer:
    outcome = node.learn(order.round, read_message(order.message))
    report = message_bytes(outcome.report)
    return Answer(outcome.error, report, outcome.right, outcome.tested, dict(outcome.losses))


def _test(node: Node, order: Order) -> Answer:
    right, tested = node.test(read_message(order.message))
    return Answer(right=right, tested=tested)


def _summand(site: Site, order: Order) -> Vector:
    return site.node(order.run, order.client, order.version).summand()


app = client_app(lambda context: device_of(context.node_config))


def _says(act: Callable[[Device, Message], bytes]) -> Callable[[Message, Context], Message]:
    """A handler of what a device does before it is any run's client."""

    def handle(message: Message, context: Context) -> Message:
        try:
            answer = Answer(message=act(device_of(context.node_config), message))
        except DataError as error:  # it may name classes, which stay here
            log.error("%s", error)
            answer = Answer(error="its images cannot be used: its own log says why")
        except KtlError as error:
            answer = Answer(error=str(error))
        return Message(packed(answer), reply_to=message)

    return handle


@app.query("hello")
@_says
def hello(device: Device, message: Message) -> bytes:
    """Who the device is."""
    return msgspec.msgpack.encode(device.introduce(unpacked(message.content, Hello)))


@app.query("prepare")
@_says
def prepare(device: Device, message: Message) -> bytes:
    """Keeps what a run is about; the run's name."""
    return device.prepare(unpacked(message.content, Setup)).encode()
