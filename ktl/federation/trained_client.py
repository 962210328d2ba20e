"""A client that has learnt in a federation, made again from a folder alone: the run's, or what its device keeps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from ktl.checkpoint import under
from ktl.data.fewshot import FewShotTask
from ktl.errors import CheckpointError, UsageError, WireError
from ktl.federation.node_folder import kept_pairs, latest_version, read_last
from ktl.federation.problem import data_of, federated_problem
from ktl.federation.processes import federated_edges, make_method
from ktl.federation.run import stale
from ktl.federation.settings import FederationConfig
from ktl.learning.learner import EdgeLearner
from ktl.learning.process import prepare_process
from ktl.loop.exchange import CloudExchange
from ktl.loop.folder import RunFolder, load_config
from ktl.loop.kept_session import KeptSession
from ktl.methods.base import Method, Problem
from ktl.methods.message import Message
from ktl.registry import chosen
from ktl.run_folder import is_federation, settings_table
from ktl.wire import SessionReply, decode_message


@dataclass(frozen=True)
class TrainedClient:
    """predictor: images in [-1, 1] -> logits or other scores (n, classes), by the last that the cloud sent; on the CPU.

    name, data: what it is called, and its images, in words; generator: what drew its pairs, None without pairs;
    rounds: how many the client's weights have seen, from the first to the last that it trained in.
    """

    name: str
    config: FederationConfig
    learner: EdgeLearner
    predictor: nn.Module
    rounds: int
    data: str
    generator: str | None


def trained_client(run: Path, client: int, data: str | None = None) -> TrainedClient:
    """Client number `client`, from 0, with its images, weights, pairs and the method's predictor.

    `run`: the folder of one method; `data`: where its data is now, if not where it was. Raises UsageError for a folder
    that is no federation's, or a client that is not in it, did not train or has no test image; CheckpointError for an
    unfinished or damaged run; DataError for data that is no longer as it was.
    """
    settings_table(run)  # says it where there is no run at all
    if not is_federation(run):
        raise UsageError(f"{run} is the run of one edge: leave --client out")
    config = replace(load_config(run, FederationConfig), device="cpu")
    prepare_process(1)
    folder = RunFolder(run)
    tensors, progress = folder.load()
    shares = data_of(config, run, data)
    if not 0 <= client < len(shares.clients):
        raise UsageError(f"--client is {client}: {run} has clients 0 to {len(shares.clients) - 1}")
    task = shares.task(client)
    _check_images(task, f"client {client} of {run}", "name another --client")
    problem = federated_problem(config, shares)
    method = make_method(config, problem)
    edges = federated_edges(config, problem, {client: task})
    try:
        rows, versions = progress["rows"], progress["clients"]
        if len(rows) < config.rounds and not stale(rows, config.patience):
            raise CheckpointError(f"{run} has ended {len(rows)} of {config.rounds} rounds: go on with --resume")
        if int(versions[str(client)]) == 0:
            raise UsageError(f"client {client} of {run} has trained in no round: name another --client")
        method.restore(under("cloud", tensors))
        message = _last_message(method, problem, run / "wire", config.seed)
        answers = {index: answer for index, (_, answer) in method.answered().items()}
        edges.restore(run / "clients", tensors, versions, answers)
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError, OSError) as error:
        raise folder.misfit(error) from error
    learner = edges.learners[client]
    predictor, rounds = method.predictor(learner, message).eval(), edges.versions[client]
    generator = (config.cloud.url or chosen(config.cloud.generator).name) if learner.pairs is not None else None
    return TrainedClient(f"client {client} of {run.name}", config, learner, predictor, rounds, config.source, generator)


def kept_client(folder: Path) -> TrainedClient:
    """What a device of a fleet over Flower learnt last, with the images that it learnt from.

    `folder`: that of the device, or of one of its runs. It predicts by what the cloud last sent it to. Raises
    CheckpointError where nothing was learnt, or what is there is damaged.
    """
    run, client, version = latest_version(folder)
    config, task = replace(run.config(), device="cpu"), run.task()
    _check_images(task, str(run.path), "its model cannot be tested")
    prepare_process(1)
    edges = federated_edges(config, run.setup().problem(config), {client: task})
    try:
        edges.restore(run.clients, {}, {str(client): version}, kept_pairs(run.clients))
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError, OSError, WireError) as error:
        raise CheckpointError(f"{run.path} is damaged ({error}); take part in a further round") from error
    learner, generator = edges.learners[client], None
    predictor = edges.method.predictor(learner, read_last(run.clients, client, version)).eval()
    if edges.messages:
        reply = edges.messages[max(edges.messages)].payloads["reply"]
        generator = decode_message(reply, SessionReply).generator
    data = "the device's own images"
    return TrainedClient(f"client {client} of run {run.name}", config, learner, predictor, version, data, generator)


def _check_images(task: FewShotTask, whose: str, fix: str) -> None:
    for what, labels in (("training", task.shot_labels), ("test", task.test_labels)):
        if len(labels) == 0:
            raise UsageError(f"{whose} has no {what} image: {fix}")


def _last_message(method: Method, problem: Problem, wire: Path, seed: int) -> Message:
    """What the clients of a further round would be tested with."""
    if not method.uses_pairs:
        return method.broadcast
    method.exchange = exchange = CloudExchange(problem.request, wire, KeptSession(wire, seed))
    pooled = exchange.last_pooled() if method.closes_rounds else None
    if pooled is None:
        return Message()
    reports = {client: Message(payloads={"statistics": payload}) for client, payload in pooled[0].items()}
    return method.close(exchange.rounds()[-1], Message(), reports)
