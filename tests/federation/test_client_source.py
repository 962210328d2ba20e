"""A federation's client leaves as an edge does, with all that its method predicts by."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from ktl.data.partition import FederatedData
from ktl.data.transforms import to_network
from ktl.edge.export.bundle import MAX_DIFFERENCE, write_bundle
from ktl.edge.export.bundle_source import rgb_pictures
from ktl.edge.export.measure import run_model
from ktl.edge.inference.predictor import Predictor
from ktl.edge.onnx.model_file import head_nodes
from ktl.errors import CheckpointError, UsageError
from ktl.federation.client_source import federation_client
from ktl.federation.run import federate
from ktl.federation.settings import FederationConfig
from ktl.federation.trained_client import trained_client
from ktl.methods import METHODS
from ktl.methods.fedproto import NearestMean
from ktl.shared_space.pooled_model import PooledModel
from ktl.spaces import SPACES, encoder


@pytest.fixture(scope="module")
def pooled(plain: FederationConfig, shared: FederatedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a federation that pools."""
    out = tmp_path_factory.mktemp("pooled") / "fedktl"
    federate(replace(plain, method=METHODS.choose("fedktl", pool="all")), out, data=shared, workers=0)
    return out


def last_row(run: Path) -> dict[str, dict[str, float]]:
    row: dict[str, dict[str, float]] = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    return row


@pytest.mark.parametrize("client", [0, 1])
def test_a_pooled_client_is_the_predictor_that_the_run_tested(pooled: Path, client: int, tmp_path: Path) -> None:
    bundle = write_bundle(pooled, tmp_path / "bundle", load=partial(federation_client, client=client))
    trained = trained_client(pooled, client)
    task = trained.learner.task
    assert isinstance(trained.predictor, PooledModel)
    with torch.no_grad():
        scores = trained.predictor(to_network(task.test_images))
    probabilities = run_model(bundle.out / "model.onnx", rgb_pictures(task.test_images))
    assert np.abs(probabilities - scores.softmax(dim=1).numpy()).max() <= MAX_DIFFERENCE
    exact = scores.log_softmax(dim=1).numpy()
    likely = exact > -50  # float32 holds their probabilities
    assert np.abs(np.log(probabilities[likely]) - exact[likely]).max() <= 1e-4 * np.abs(exact).max()
    right = (probabilities.argmax(axis=1) == task.test_labels.numpy()).mean()
    assert right == pytest.approx(last_row(pooled)["by_client"][str(client)])
    assert bundle.parity is not None
    assert bundle.parity.holds
    assert bundle.parity.images == len(task.test_labels)


def test_a_client_s_bundle_is_an_edge_s(pooled: Path, shared: FederatedData, tmp_path: Path) -> None:
    bundle = write_bundle(pooled, tmp_path / "bundle", load=partial(federation_client, client=1))
    assert {file.name for file in bundle.out.iterdir()} == {"model.onnx", "labels.json", "card.md", "predict.py"}
    assert Predictor(bundle.out).labels == shared.class_names
    card = (bundle.out / "card.md").read_text()
    accuracy = 100 * last_row(pooled)["by_client"]["1"]
    for fact in (
        "client 1 of fedktl",
        f"{accuracy:.1f}% (95% interval",
        "the client's share s",
        "round 2 of 2",
        "float32",
    ):
        assert fact in card, fact


@pytest.mark.slow
def test_int8_quantises_extractors_and_leaves_the_discriminant_exact(pooled: Path, tmp_path: Path) -> None:
    load = partial(federation_client, client=0)
    bundle = write_bundle(pooled, tmp_path / "int8", int8=True, max_drop=1.0, load=load)
    exact = write_bundle(pooled, tmp_path / "float32", check=False, load=load)
    assert bundle.quantisation is not None
    assert bundle.quantisation.calibration is not None
    assert bundle.calibrated_on == "the client's own training images"
    assert bundle.quantisation.before.accuracy == pytest.approx(last_row(pooled)["by_client"]["0"])
    quantised, float32 = (onnx.load(b.out / "model.onnx") for b in (bundle, exact))
    weights = {tensor.name: tensor for tensor in float32.graph.initializer}
    kept = {tensor.name: tensor for tensor in quantised.graph.initializer}
    head = head_nodes(exact.out / "model.onnx")
    linear = [
        n for n in float32.graph.node if n.op_type in ("Gemm", "MatMul", "Conv") and weights.keys() & set(n.input)
    ]
    of_head = [node for node in linear if node.name in head]
    assert len(of_head) == 5  # two of the own classifier, the space map, two discriminants
    for node in linear:
        for name in weights.keys() & set(node.input):
            same = name in kept and kept[name].data_type == onnx.TensorProto.FLOAT
            assert same == (node in of_head or node.name.startswith("fit/")), node.name


@pytest.mark.parametrize("name", ["local", "fedproto", "fedmrl"])
def test_other_methods_clients_leave_too(
    plain: FederationConfig, shared: FederatedData, name: str, tmp_path: Path
) -> None:
    run = tmp_path / name
    federate(replace(plain, method=METHODS.choose(name), rounds=1), run, data=shared, workers=0)
    bundle = write_bundle(run, tmp_path / "bundle", load=partial(federation_client, client=1))
    assert bundle.parity is not None
    assert bundle.parity.holds
    if name == "fedproto":
        assert isinstance(trained_client(run, 1).predictor, NearestMean)
    if name == "local":  # others were tested before the cloud had the last round's reports
        card, accuracy = (bundle.out / "card.md").read_text(), 100 * last_row(run)["by_client"]["1"]
        assert f"{accuracy:.1f}% (95% interval" in card


def test_torch_formats_take_a_pooled_client_and_bare_weights_do_not(pooled: Path, tmp_path: Path) -> None:
    load = partial(federation_client, client=0)
    for name in ("torchscript", "torch-export"):
        parity = write_bundle(pooled, tmp_path / name, format_name=name, load=load).parity
        assert parity is not None
        assert parity.holds
    with pytest.raises(UsageError, match="holds the weights of one network, not a PooledModel: use onnx"):
        write_bundle(pooled, tmp_path / "weights", format_name="safetensors", load=load)
    assert not (tmp_path / "weights").exists()


def test_what_is_no_trained_client_is_refused(
    plain: FederationConfig, shared: FederatedData, pooled: Path, tmp_path: Path
) -> None:
    for client in (-1, 2):
        with pytest.raises(UsageError, match=rf"--client is {client}: .* has clients 0 to 1"):
            trained_client(pooled, client)
    with pytest.raises(CheckpointError, match="there is no run at"):
        trained_client(tmp_path, 0)
    stopped = iter([False, True])
    with pytest.raises(Exception, match="stopped after round 1"):
        federate(plain, tmp_path / "run", data=shared, workers=0, should_stop=lambda: next(stopped))
    with pytest.raises(CheckpointError, match="has ended 1 of 2 rounds: go on with --resume"):
        trained_client(tmp_path / "run", 0)


def test_a_client_that_learnt_from_an_encoder_s_vectors_is_found_again(
    plain: FederationConfig, shared: FederatedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "FITTED_ON", 150)
    space = SPACES.choose("encoder", dimension=8)
    federate(replace(plain, cloud=replace(plain.cloud, space=space)), tmp_path / "run", data=shared, workers=0)
    trained = trained_client(tmp_path / "run", 0)
    task = trained.learner.task
    with torch.no_grad():
        found = trained.predictor(to_network(task.test_images)).argmax(dim=1)
    right = (found == task.test_labels).float().mean().item()
    assert right == pytest.approx(last_row(tmp_path / "run")["by_client"]["0"])
