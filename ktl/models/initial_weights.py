"""Pre-trained weights for architectures of torchvision: where they come from, whether they fit, what they expect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from ktl.errors import CheckpointError, UsageError
from ktl.file_kinds import TORCH, ZIP
from ktl.files import file_digest, kind_of, why_unreadable
from ktl.models import torchvision_name
from ktl.models.backbone import Backbone
from ktl.models.headless import Headless
from ktl.models.vit import PaddedTransformer
from ktl.seeds import initialising

DEFAULT = "default"
SAFETENSORS = ".safetensors"  # any other file is torch's
RGB = 3
# what torchvision's classification models call their classifiers, beside and after the feature extractor
HEADS = ("fc.", "classifier.", "heads.", "head.", "aux1.", "aux2.", "AuxLogits.")
COUNTER = "num_batches_tracked"  # of batch normalisation, which older files lack and nothing here reads
POSITIONS = "encoder.pos_embedding"
# torchvision turns ImageNet's normalisation of these two back to [-1, 1], in which their weights were trained
TRAINED_AS_HERE = ("googlenet", "inception_v3")
NAMED = 3  # tensors in an error

State = dict[str, Tensor]


class Normalised(nn.Module):
    """A pre-trained `body` behind what its weights expect: RGB images less a mean, over a deviation.

    images (n, 1 or 3, size, size) in [-1, 1] -> what the body makes of them; grey goes in as three equal channels.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, body: nn.Module, mean: Sequence[float], deviation: Sequence[float]) -> None:
        """mean, deviation: of each channel of images in [0, 1]."""
        super().__init__()
        self.body = body
        means, deviations = (torch.tensor(values).reshape(1, RGB, 1, 1) for values in (mean, deviation))
        self.register_buffer("scale", 0.5 / deviations)
        self.register_buffer("shift", (0.5 - means) / deviations)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.body(images.expand(-1, RGB, -1, -1) * self.scale + self.shift)
        return features


def normalisation(model: str) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and deviation of each channel of images in [0, 1], as torchvision's weights of this architecture expect."""
    name = torchvision_name(model)
    if name in TRAINED_AS_HERE:
        return [0.5] * RGB, [0.5] * RGB
    expected = _own_weights(name).transforms()
    return expected.mean, expected.std


def start_from(weights: str, extractor: Backbone, model: str, *, trained: bool) -> str:
    """Makes an extractor of `model` for three channels one that starts from `weights`; says in a line what they are.

    Where it is `trained`, only its form is changed: the weights are restored from elsewhere. Raises what
    `load_weights` raises.
    """
    origin = "" if trained else load_weights(weights, extractor, model)
    extractor.body = Normalised(extractor.body, *normalisation(model))
    return origin


def load_weights(weights: str, extractor: Backbone, model: str) -> str:
    """Puts pre-trained weights into a new extractor of `model` for three channels; says in a line what they are.

    `weights` is "default", torchvision's own, which it downloads once, or a file with the state dict of torchvision's
    network: a .safetensors, or a .pth of which nothing but tensors is loaded. Classifiers in it are left out; a
    transformer's embeddings of positions are interpolated to its image size. Raises UsageError for a missing file and
    one of another architecture, CheckpointError for a damaged one and a failed download.
    """
    name, network = torchvision_name(model), _torchvisions(extractor.body)
    path = Path(weights).expanduser()
    source, given = (
        (str(_own_weights(name)), _downloaded(name)) if weights == DEFAULT else (path.name, read_state_dict(path))
    )
    if isinstance(network, VisionTransformer) and POSITIONS in given:
        given = _at_size(given, network)
    wanted = network.state_dict()
    if odd := _differences(given, wanted):
        more = f" and {len(odd) - NAMED} more" if len(odd) > NAMED else ""
        raise UsageError(f"{source} holds weights of another architecture than {name}: {'; '.join(odd[:NAMED])}{more}")
    network.load_state_dict({key: value for key, value in given.items() if key in wanted}, strict=False)
    left_out = dict.fromkeys(key.rpartition(".")[0] for key in given if key not in wanted)
    digest = "" if weights == DEFAULT else f" (SHA-256 {file_digest(path)})"
    return source + digest + (f", all but {', '.join(left_out)}" if left_out else "")


def _torchvisions(body: nn.Module) -> nn.Module:
    """The network of torchvision's in an extractor's body."""
    if isinstance(body, Headless):
        return body.network
    return body.transformer if isinstance(body, PaddedTransformer) else body


def _own_weights(name: str) -> Any:
    """The member of torchvision's enumeration that it recommends."""
    try:
        return get_model_weights(name).DEFAULT
    except (ValueError, AttributeError) as error:
        raise UsageError(f"torchvision has no weights for {name!r}: leave --weights out") from error


def _downloaded(name: str) -> State:
    """torchvision's own, from its cache or its server, under the names of its present code."""
    own = _own_weights(name)
    try:
        with initialising(0, "replaced by the weights"):
            state: State = get_model(name, weights=own, progress=False).state_dict()
    except Exception as error:  # of urllib, of the file system, or a checksum that is wrong
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"torchvision's {own} could not be fetched from {own.url} ({reason}): check the network, or give "
            "--weights FILE with that file from elsewhere"
        ) from error
    return state


def read_state_dict(path: Path) -> State:
    """Tensors by name from a .safetensors, or from what torch.save wrote: of that nothing but tensors is loaded.

    Raises UsageError for a missing file and one that holds more, CheckpointError for one that cannot be read.
    """
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file: give a .pth or a .safetensors")
    try:
        if path.suffix == SAFETENSORS:
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises anything for bytes that are no checkpoint
        damaged = path.suffix != SAFETENSORS and kind_of(path) in (None, ZIP, TORCH)
        reason = "it is damaged, or holds other things than tensors" if damaged else why_unreadable(path, error)
        raise CheckpointError(f"{path} cannot be read: {reason}; give a state dict of tensors") from error
    named = isinstance(state, Mapping) and all(isinstance(key, str) for key in state)
    if not named or not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"{path} holds a {type(state).__name__}: give a state dict, tensors by name alone")
    return dict(state)


def _at_size(given: State, network: VisionTransformer) -> State:
    """With the embeddings of positions for the network's image size, between which torchvision interpolates."""
    try:
        return dict(interpolate_embeddings(network.image_size, network.patch_size, dict(given)))
    except ValueError:  # they are of no square, or no embeddings: the comparison of shapes will say it
        return given


def _differences(given: State, wanted: State) -> list[str]:
    """What tells a file's network from the wanted one, in words, classifiers and batch counters aside."""
    missing = [f"no {key}" for key in wanted if key not in given and not key.endswith(COUNTER)]
    others = [
        f"{key} is {tuple(given[key].shape)}, not {tuple(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in given and given[key].shape != tensor.shape
    ]
    unknown = [f"{key} is unknown" for key in given if key not in wanted and not key.startswith(HEADS)]
    return missing + others + unknown
