"""The files of a diffusers pipeline: finds them, checks them, loads them, and computes their fingerprint."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import torch

from ktl.errors import CheckpointError, UsageError
from ktl.files import file_digest, kind_of

LIBRARIES = ("diffusers", "transformers")
UNUSED = {"safety_checker": None, "feature_extractor": None, "image_encoder": None}  # components that are not loaded
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
WEIGHTS = re.compile(r"[^.]+?(\.(?P<variant>[^.]+?))?(-\d+-of-\d+)?\.safetensors")
TAKEN = {"prompt", "latents", "num_inference_steps", "guidance_scale", "num_images_per_prompt", "output_type"}
ASKED = {"image", "video", "num_frames", "control_image"}  # what pipelines for other tasks take


def find_pipeline(location: str, variant: str | None) -> Path:
    """The folder of a pipeline: `location` itself, or where the hub's files of that id are kept after a download."""
    missing = [library for library in LIBRARIES if find_spec(library) is None]
    if missing:
        raise UsageError(f"a diffusers generator needs {' and '.join(missing)}: pip install 'ktl[diffusion]'")
    folder = Path(location).expanduser()
    if folder.is_dir():
        return folder
    if not HUB_ID.fullmatch(location):
        raise UsageError(f"there is no pipeline folder {location!r}: give a folder or OWNER/NAME on the hub")
    from diffusers import DiffusionPipeline

    try:
        return Path(DiffusionPipeline.download(location, use_safetensors=True, variant=variant, **UNUSED))
    except Exception as error:  # of four libraries, which share no base class
        raise CheckpointError(
            f"there is no folder {location!r}, and the hub gave no pipeline of that name ({_reason(error)})"
        ) from error


def load_pipeline(folder: Path, variant: str | None, dtype: torch.dtype) -> Any:
    """A text-to-image pipeline with its models' weights in `dtype`, from safetensors alone.

    Raises UsageError if the folder's pipeline is of another kind, CheckpointError if it cannot be loaded.
    """
    from diffusers import AutoPipelineForText2Image

    index = _index(folder)
    unused: dict[str, Any] = {name: part for name, part in UNUSED.items() if name in index}
    if "requires_safety_checker" in index:
        unused["requires_safety_checker"] = False
    try:
        with _quiet():
            kind = AutoPipelineForText2Image.from_pretrained
            pipeline = kind(folder, use_safetensors=True, variant=variant, torch_dtype=dtype, **unused)
    except Exception as error:  # of four libraries, which share no base class
        if "AutoPipeline can't find" in str(error):
            raise UsageError(_not_text_to_image(folder, index)) from error
        wrong = next(((file, kind) for file in sorted(folder.glob("*/*.safetensors")) if (kind := kind_of(file))), None)
        reason = _reason(error) if wrong is None else f"{wrong[0].relative_to(folder)} is {wrong[1]}"
        raise CheckpointError(f"the pipeline {folder} cannot be loaded: {reason}") from error
    if not _draws_from_noise(pipeline):
        raise UsageError(_not_text_to_image(folder, index))
    return pipeline


def fingerprint(folder: Path, variant: str | None, how: list[Any]) -> str:
    """Hexadecimal digest of the components' configurations and weights and of `how` they are used (JSON)."""
    contents = {}
    for component, described in sorted(_index(folder).items()):
        if not isinstance(described, list) or described[0] is None or component in UNUSED:
            continue
        for file in sorted((folder / component).iterdir()):
            weights = WEIGHTS.fullmatch(file.name)
            if weights["variant"] == variant if weights else file.suffix in (".json", ".txt", ".model"):
                contents[f"{component}/{file.name}"] = file_digest(file)
    return hashlib.sha256(json.dumps([contents, how], sort_keys=True).encode()).hexdigest()


def licence_of(folder: Path, location: str) -> str:
    """What the model card says, from the folder or the hub; "unknown" if there is none."""
    from huggingface_hub import ModelCard

    card = folder / "README.md"
    if not card.is_file() and not HUB_ID.fullmatch(location):
        return "unknown"
    try:
        data = ModelCard.load(card if card.is_file() else location).data
        licence = data.get("license_name") or data.get("license")
    except Exception:  # offline, no card, or one that is no YAML: an unknown licence stops nobody
        return "unknown"
    return licence if isinstance(licence, str) and licence.isprintable() else "unknown"


def _index(folder: Path) -> dict[str, Any]:
    """The table of components, refused if it names one that would run code from outside the two libraries."""
    path = folder / "model_index.json"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        kind = index["_class_name"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{folder} is no diffusers pipeline: it has no readable model_index.json") from error
    if not isinstance(kind, str):
        raise CheckpointError(f"{folder} is a pipeline with code of its own, {shortened(kind)}: ktl runs none")
    for name, described in index.items():
        if not isinstance(described, list) or name in UNUSED:
            continue
        library = described[0] if described else ""
        if library is not None and library not in LIBRARIES:
            raise CheckpointError(
                f"the component {shortened(name)} of {folder} comes from {shortened(library)}: only those of "
                f"{' and '.join(LIBRARIES)} are loaded"
            )
    return {str(name): described for name, described in index.items()}


def _draws_from_noise(pipeline: Any) -> bool:
    """Whether it takes a prompt and noise of the shape that its decoder decodes, and needs no image."""
    takes = set(inspect.signature(pipeline.__call__).parameters)
    parts = pipeline.components
    denoiser, vae = parts.get("unet") or parts.get("transformer"), parts.get("vae")
    if not takes >= TAKEN or takes & ASKED or denoiser is None or vae is None:
        return False
    sizes = denoiser.config
    return bool(sizes.get("sample_size")) and sizes.get("in_channels") == vae.config.get("latent_channels")


def _not_text_to_image(folder: Path, index: dict[str, Any]) -> str:
    return (
        f"{folder} is a {shortened(index['_class_name'])}, which does not draw an image from a prompt and "
        "unpacked noise: give a text-to-image pipeline such as Stable Diffusion"
    )


def _reason(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, the two libraries neither log nor draw progress bars, which would go between ktl's own lines."""
    import diffusers.utils.logging as of_diffusers
    import transformers.utils.logging as of_transformers

    libraries = (of_diffusers, of_transformers)
    before = [library.get_verbosity() for library in libraries]
    bars = [library.is_progress_bar_enabled() for library in libraries]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for library in libraries:
            library.set_verbosity_error()
            library.disable_progress_bar()
        try:
            yield
        finally:
            for library, verbosity, bar in zip(libraries, before, bars, strict=True):
                library.set_verbosity(verbosity)
                if bar:
                    library.enable_progress_bar()
