"""Edge models by name: feature extractors that end in 512 features, and the groups that federations are made of."""

from __future__ import annotations

from collections.abc import Sequence

from ktl.errors import UsageError
from ktl.registry import Registry

MODELS = Registry(
    "model",
    "ktl.models",
    {
        "cnn4": ("ktl.models.compact:FourLayerCNN", "2 convolutions + 2 dense layers: the compact CNN of the paper"),
        "resnet4": ("ktl.models.resnet:resnet4", "one basic block after a 3 x 3 stem: the smallest residual network"),
        "resnet6": ("ktl.models.resnet:resnet6", "two basic blocks, 64 and 128 wide"),
        "resnet8": ("ktl.models.resnet:resnet8", "three basic blocks, 64 to 256 wide"),
        "resnet8-slim": ("ktl.models.resnet:resnet8_slim", "narrower, and begins at half of the side: photographs"),
        "resnet10": ("ktl.models.resnet:resnet10", "four basic blocks, 64 to 512 wide"),
        "mobilenetv2": ("ktl.models.mobilenet:mobilenetv2", "inverted residuals; strides for small images"),
        "resnet18": ("ktl.models.resnet:resnet18", "torchvision's"),
        "resnet34": ("ktl.models.resnet:resnet34", "torchvision's"),
        "resnet50": ("ktl.models.resnet:resnet50", "torchvision's"),
        "resnet101": ("ktl.models.resnet:resnet101", "torchvision's"),
        "resnet152": ("ktl.models.resnet:resnet152", "torchvision's"),
        "googlenet": ("ktl.models.googlenet:googlenet", "torchvision's, without auxiliary heads"),
        "vit-b16": ("ktl.models.vit:vit_b16", "torchvision's vision transformer, patches of 16 pixels"),
        "vit-b32": ("ktl.models.vit:vit_b32", "torchvision's vision transformer, patches of 32 pixels"),
    },
    adapt="ktl.models.backbone:OwnModel",
)

IN_TORCHVISION = {
    "mobilenetv2": "mobilenet_v2",
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "resnet101": "resnet101",
    "resnet152": "resnet152",
    "googlenet": "googlenet",
    "vit-b16": "vit_b_16",
    "vit-b32": "vit_b_32",
}
"""Names in torchvision.models of the architectures that are torchvision's, layer for layer: its weights fit them."""

_EIGHT = ["cnn4", "googlenet", "mobilenetv2", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]

GROUPS: dict[str, list[str]] = {
    "HtFE2": ["cnn4", "resnet18"],
    "HtFE3": ["resnet10", "resnet18", "resnet34"],
    "HtFE4": ["cnn4", "googlenet", "mobilenetv2", "resnet18"],
    "HtFE5": ["googlenet", "mobilenetv2", "resnet18", "resnet34", "resnet50"],
    "HtFE8": _EIGHT,
    "HtFE9": [
        "resnet4",
        "resnet6",
        "resnet8",
        "resnet10",
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
    ],
    "HtM10": [*_EIGHT, "vit-b16", "vit-b32"],
}
"""HtFLlib's groups of image models, all but HtFE5 the paper's too: client i takes the group's model i mod its size."""


def torchvision_name(model: str) -> str:
    """What torchvision calls a model's architecture. Raises UsageError for one that is not torchvision's."""
    module, _, function = model.partition(":")
    if module == "torchvision.models" and function:
        return function
    if model not in IN_TORCHVISION:
        raise UsageError(
            f"weights are for architectures of torchvision, and {model!r} is none: choose one of "
            f"{', '.join(IN_TORCHVISION)}, or torchvision.models:NAME"
        )
    return IN_TORCHVISION[model]


def begins_pretrained(model: str) -> bool:
    """Whether a model is a class of one's own that says `pretrained = True`: it loads trained weights by itself.

    Raises UsageError for a name that is unknown or cannot be imported.
    """
    return model not in MODELS.builtin() and bool(getattr(MODELS.load(model), "pretrained", False))


def model_group(names: str | Sequence[str]) -> list[str]:
    """The models of a group's name, or of a list of names (a sequence, or one text with commas).

    Raises UsageError for a name that is neither, listing the choices.
    """
    parts = [part.strip() for part in names.split(",")] if isinstance(names, str) else list(names)
    if not any(parts):
        raise UsageError(f"--models is empty: give one of {', '.join(GROUPS)}, or names with commas between")
    models: list[str] = []
    for part in parts:
        if part in GROUPS:
            models += GROUPS[part]
        elif part in MODELS.names() or ":" in part:
            models.append(MODELS.check(part))
        else:
            choices = ", ".join([*GROUPS, *MODELS.names()])
            raise UsageError(f"unknown model or group {part!r}: choose of {choices}, or module:Class")
    return models


def client_model(names: str | Sequence[str], client: int) -> str:
    """The model of client 0, 1, ... in a federation with the models `names`, as `model_group` takes them."""
    models = model_group(names)
    return models[client % len(models)]
