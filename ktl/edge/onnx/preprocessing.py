"""The part of an exported model that takes pictures of any size: what `ktl.data.images.fit_image` does, as ONNX nodes.

ONNX Runtime resizes 8-bit images by Pillow's own arithmetic: the pixels that reach the network are those of training,
to the bit for most sizes. For some, such as 99 pixels to 32, its 32-bit factor rounds a pixel in a thousand otherwise,
by one level.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, checker, compose, helper, numpy_helper

from ktl.data.fitting import GREY
from ktl.data.settings import Fit

LUMA = (19595, 38470, 7471)  # of ITU-R BT.601 in 16-bit fixed point, as Pillow's; exact in float32 too
WHOLE = 65536
Constants = dict[str, NDArray[Any]]

GREY_CONVERSION = "fit/grey"  # the node that quantisation must leave exact


def with_preprocessing(core: ModelProto, image_size: int, channels: int, fit: Fit = "crop") -> ModelProto:
    """Puts fitting, scaling and grey conversion before `core`; its input `pixels` is uint8 (n, channels, size, size).

    The result's input `images` is uint8 RGB (n, height, width, 3), any n, height and width: made square by `fit`,
    scaled by an antialiased bicubic filter, then turned grey if `channels` is 1.
    """
    nodes, constants = SQUARED[fit]() if fit in SQUARED else ([], {})
    scaling, sizes = _scale(image_size, "square" if nodes else "images", "resized" if channels == 1 else "fitted")
    nodes, constants = nodes + scaling, constants | sizes
    if channels == 1:
        grey_nodes, grey_constants = _grey()
        nodes, constants = nodes + grey_nodes, constants | grey_constants
    graph = helper.make_graph(
        nodes,
        "preprocessing",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", "height", "width", 3])],
        [helper.make_tensor_value_info("fitted", TensorProto.UINT8, ["n", channels, image_size, image_size])],
        [numpy_helper.from_array(value, _named(name)) for name, value in constants.items()],
    )
    before = helper.make_model(graph, opset_imports=core.opset_import, ir_version=core.ir_version)
    merged: ModelProto = compose.merge_models(before, core, io_map=[("fitted", "pixels")])
    del merged.opset_import[:]  # the merge lists both graphs' versions, the same ones twice
    merged.opset_import.extend(core.opset_import)
    checker.check_model(merged, full_check=True)
    return merged


def _crop() -> tuple[list[NodeProto], Constants]:
    """From `images` to `square`: the central one."""
    nodes = [
        _node("Shape", "images", "heights_widths", start=1, end=3),
        _node("ReduceMin", "heights_widths", "side", keepdims=1),
        _node("Sub", "heights_widths side", "margin"),
        _node("Div", "margin two", "first"),
        _node("Add", "first side", "last"),
        _node("Slice", "images first last axes", "square"),
    ]
    return nodes, {"axes": np.array([1, 2]), "two": np.array([2])}


def _pad() -> tuple[list[NodeProto], Constants]:
    """From `images` to `square`: the whole in the middle of grey."""
    nodes = [
        _node("Shape", "images", "heights_widths", start=1, end=3),
        _node("ReduceMax", "heights_widths", "side", keepdims=1),
        _node("Sub", "side heights_widths", "margin"),
        _node("Div", "margin two", "before"),
        _node("Sub", "margin before", "after"),
        _node("Concat", "none before none none after none", "margins", axis=0),
        _node("Pad", "images margins grey", "square"),
    ]
    return nodes, {"two": np.array([2]), "none": np.array([0]), "grey": np.array(GREY, np.uint8)}


SQUARED: dict[str, Callable[[], tuple[list[NodeProto], Constants]]] = {"crop": _crop, "pad": _pad}


def _scale(image_size: int, source: str, output: str) -> tuple[list[NodeProto], Constants]:
    """From pictures to `output`: scaled to a square, channels first."""
    constants: Constants = {"planes": np.array([3]), "size": np.array([image_size, image_size])}
    nodes = [
        _node("Transpose", source, "channels_first", perm=[0, 3, 1, 2]),
        # sizes of all four axes: onnxruntime 1.32 moves a transpose past a Resize of two axes wrongly
        _node("Shape", "images", "count", start=0, end=1),
        _node("Concat", "count planes size", "shape", axis=0),
        helper.make_node(
            "Resize",
            [_named("channels_first"), "", "", _named("shape")],
            [_named(output)],
            mode="cubic",
            cubic_coeff_a=-0.5,
            antialias=1,
            exclude_outside=1,
        ),
    ]
    return nodes, constants


def _grey() -> tuple[list[NodeProto], Constants]:
    """From `resized`, RGB, to `fitted`, grey."""
    constants: Constants = {
        "luma": np.array(LUMA, np.float32).reshape(1, 3, 1, 1) / WHOLE,
        "half": np.array([0.5], np.float32),
    }
    nodes = [
        _node("Cast", "resized", "colours", to=TensorProto.FLOAT),
        _node("Conv", "colours luma half", "level", name=GREY_CONVERSION),
        _node("Floor", "level", "floor"),
        _node("Cast", "floor", "fitted", to=TensorProto.UINT8),
    ]
    return nodes, constants


def _node(kind: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(kind, [_named(name) for name in inputs.split()], [_named(output)], **attributes)


def _named(value: str) -> str:
    """Apart from the core's names, but for the two where the graphs begin and meet."""
    return value if value in ("images", "fitted") else f"fit/{value}"
