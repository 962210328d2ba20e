"""Networks of torchvision and timm with their pre-trained weights: what goes into their last layer is the embedding."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ktl.encoders.base import Encoder, weights_digest
from ktl.errors import CheckpointError, UsageError

Triple = tuple[float, float, float]
ZERO_CENTRED = ("googlenet", "inception_v3")  # of torchvision: trained on pixels in [-1, 1]


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

    name, file = _parts(location)
    known = models.list_models(module=models)
    if name not in known:
        raise UsageError(f"torchvision has no classifier {name!r}: choose one of {', '.join(known)}")
    weights = models.get_model_weights(name).DEFAULT
    preparation = weights.transforms()
    mean, deviation = ([0.5] * 3,) * 2 if name in ZERO_CENTRED else (preparation.mean, preparation.std)
    size = preparation.crop_size[0]
    network = Headless(models.get_model_builder(name), size)
    arrays = _read(file) if file else _downloaded(name, lambda: weights.get_state_dict(check_hash=True))
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

    name, file = _parts(location)
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name.partition('_')[0]}*")[:5]) or "see timm.list_models()"
        raise UsageError(f"timm has no network {name!r}: choose another name ({near})")
    if file:
        network = timm.create_model(name, num_classes=0)
        _fill(network, _read(file), file)
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


def _read(file: str) -> dict[str, Tensor]:
    """A state dict in .safetensors, or as torch.save wrote it; nothing in it is run."""
    path = Path(file).expanduser()
    if not path.is_file():
        raise CheckpointError(f"there is no weights file {file}: give the path of a .safetensors or of torch.save's")
    try:
        arrays = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        if not isinstance(arrays, dict) or not all(isinstance(value, Tensor) for value in arrays.values()):
            raise ValueError("it holds more than tensors by name")
    except (SafetensorError, pickle.UnpicklingError, ValueError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{file} is no state dict ({reason}); save one with safetensors or torch.save") from error
    return arrays


def _fill(network: nn.Module, arrays: dict[str, Tensor], source: str) -> None:
    """Loads weights; those of the last layer, which is left out, may be there too."""
    try:
        missing, _ = network.load_state_dict(arrays, strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"the weights of {source} do not fit the network: {reason}") from error
    if missing:
        raise CheckpointError(f"the weights of {source} lack {missing[0]}: give those of the same network")
