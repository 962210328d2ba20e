"""Networks of torchvision and timm with their pre-trained weights: what goes into their last layer is the embedding."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ktl.encoders.base import Encoder, weights_digest
from ktl.errors import CheckpointError, UsageError

Triple = tuple[float, float, float]


class PretrainedEncoder(Encoder):
    """A network with weights, and the size and normalisation of the images that it was trained on."""

    def __init__(self, network: nn.Module, name: str, image_size: int, mean: Triple, deviation: Triple) -> None:
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.name = name
        self.image_size = image_size
        self.mean = mean
        self.deviation = deviation
        self.fingerprint = weights_digest(network, image_size, mean, deviation)
        with torch.no_grad():
            self.dimension = self.features(torch.zeros(1, 3, image_size, image_size)).shape[1]

    def features(self, images: Tensor) -> Tensor:
        """What goes into the network's last layer, flattened."""
        features: Tensor = self.network(images).flatten(1).float()
        return features


def load_torchvision(location: str) -> PretrainedEncoder:
    """NAME[?FILE]: a classifier of torchvision.models with the weights in a file, or those that torchvision downloads.

    Raises UsageError for an unknown name, CheckpointError for weights that do not fit or cannot be had.
    """
    from torchvision import models

    from ktl.models.headless import Headless
    from ktl.models.initial_weights import normalisation, read_state_dict

    name, file = _parts(location)
    known = models.list_models(module=models)
    if name not in known:
        raise UsageError(f"torchvision has no classifier {name!r}: choose one of {', '.join(known)}")
    weights = models.get_model_weights(name).DEFAULT
    mean, deviation = normalisation(f"torchvision.models:{name}")
    size = weights.transforms().crop_size[0]
    network = Headless(models.get_model_builder(name), size)
    if file:
        arrays = read_state_dict(Path(file).expanduser())
    else:
        arrays = _downloaded(name, lambda: weights.get_state_dict(check_hash=True))
    _fill(network.network, arrays, file or name)
    return PretrainedEncoder(network, f"torchvision:{name}", size, _triple(mean), _triple(deviation))


def load_timm(location: str) -> PretrainedEncoder:
    """NAME[?FILE]: a network of timm with the weights in a file, or those that timm downloads.

    Raises UsageError for an unknown name or if timm is missing, CheckpointError for weights that do not fit or cannot
    be had.
    """
    if find_spec("timm") is None:
        raise UsageError("a timm encoder needs timm: pip install 'ktl[timm]'")
    import timm

    from ktl.models.initial_weights import read_state_dict

    name, file = _parts(location)
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name.partition('_')[0]}*")[:5]) or "see timm.list_models()"
        raise UsageError(f"timm has no network {name!r}: choose another name ({near})")
    if file:
        network = timm.create_model(name, num_classes=0)
        _fill(network, read_state_dict(Path(file).expanduser()), file)
    else:
        network = _downloaded(name, lambda: timm.create_model(name, pretrained=True, num_classes=0))
    prepared = timm.data.resolve_data_config(model=network)
    size = prepared["input_size"][1]
    return PretrainedEncoder(network, f"timm:{name}", size, _triple(prepared["mean"]), _triple(prepared["std"]))


def _parts(location: str) -> tuple[str, str]:
    name, _, file = location.partition("?")
    return name, file


def _triple(values: Any) -> Triple:
    red, green, blue = values
    return float(red), float(green), float(blue)


def _downloaded(name: str, download: Callable[[], Any]) -> Any:
    try:
        return download()
    except Exception as error:  # of the network, the hub and the disk: they share no base class
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"the weights of {name} cannot be downloaded ({reason}); give a file: NAME?FILE"
        ) from error


def _fill(network: nn.Module, arrays: dict[str, Tensor], source: str) -> None:
    """Loads weights; those of the last layer, which is left out, may be there too."""
    try:
        missing, _ = network.load_state_dict(arrays, strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"the weights of {source} do not fit the network: {reason}") from error
    if missing:
        raise CheckpointError(f"the weights of {source} lack {missing[0]}: give those of the same network")
