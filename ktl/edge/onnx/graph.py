"""Torch's export of a module. It takes seconds, so of modules with one structure only the first is traced."""

from __future__ import annotations

import io
import logging
import pickle
import warnings
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
HEAD = "head/"  # begins the names of nodes outside of extractors, which quantisation may have to leave exact
SCOPES = "pkg.torch.onnx.name_scopes"  # of torch's exporter: the modules that a node comes from
KEPT = 4  # graphs, each with a model's weights

_graphs: dict[bytes, ModelProto] = {}


def traced(classifier: nn.Module, channels: int, image_size: int) -> ModelProto:
    """The graph of `classifier` in evaluation: `pixels`, uint8 (n, channels, size, size) -> `probabilities`."""
    classifier = classifier.cpu().eval()
    tensors = {name: tensor.detach().numpy().tobytes() for name, tensor in _tensors(classifier).items()}
    structure = _structure(classifier, channels, image_size)
    if structure in _graphs:
        return _with_tensors(_graphs[structure], tensors)
    model = _trace(classifier, torch.zeros(2, channels, image_size, image_size, dtype=torch.uint8))
    held = {each.name: each.raw_data for each in model.graph.initializer}
    if structure is not None and all(held.get(name) == content for name, content in tensors.items()):
        while len(_graphs) >= KEPT:
            del _graphs[next(iter(_graphs))]
        _graphs[structure] = _with_tensors(model, tensors)
    return model


def _trace(classifier: nn.Module, example: Tensor) -> ModelProto:
    with warnings.catch_warnings(), torch.no_grad(), redirect_stdout(io.StringIO()):  # onnxscript tells its rewrites
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            classifier,
            (example,),
            input_names=["pixels"],
            output_names=["probabilities"],
            dynamic_shapes=[{0: torch.export.Dim("n", min=1)}],
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # it is, with dynamo
    model: ModelProto = program.model_proto
    for node in model.graph.node:
        if not any(entry.key == SCOPES and "extractor" in entry.value for entry in node.metadata_props):
            node.name = f"{HEAD}{node.name}"
        del node.metadata_props[:]  # where in the source it came from: a tenth of a small model
    return model


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _with_tensors(graph: ModelProto, tensors: dict[str, bytes]) -> ModelProto:
    model = type(graph)()
    model.CopyFrom(graph)
    for each in model.graph.initializer:
        if each.name in tensors:
            each.raw_data = tensors[each.name]
    return model


def _structure(module: nn.Module, channels: int, image_size: int) -> bytes | None:
    """All that a graph depends on: the module but for what its tensors hold. None if it cannot be written down.

    A graph is kept only if each tensor is in it by name and unchanged: then no constant was made from one.
    """
    tensors = {id(tensor) for tensor in _tensors(module).values()}

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            if not isinstance(obj, Tensor):
                return None
            return obj.shape, obj.dtype, None if id(obj) in tensors else obj.detach().numpy().tobytes()

    written = io.BytesIO()
    try:
        Pickler(written).dump((module, channels, image_size))
    except (pickle.PicklingError, AttributeError, TypeError):  # a function of its own, a hook
        return None
    return written.getvalue()
