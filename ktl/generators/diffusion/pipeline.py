"""Any text-to-image pipeline of `diffusers` as an `ImageGenerator`: its latents are the noise that it denoises.

So does FedKTL (CVPR 2024, section 4) with Stable Diffusion. The prompt is fixed: images differ by their noise alone.
Loading runs nothing that a pipeline's folder holds: weights are read from safetensors alone, and components of any
library but diffusers and transformers are refused. A pipeline's own safety checker is not loaded: it would blacken
images that an edge has paid for, and the operator chooses the prompt.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ktl.errors import UsageError
from ktl.generators.diffusion.pipeline_files import find_pipeline, fingerprint, licence_of, load_pipeline
from ktl.generators.diffusion.source import (
    PRESETS,
    SCHEDULERS,
    DiffusionSettings,
    DiffusionSource,
    Preset,
    parse_source,
)
from ktl.wire import MAX_LATENT_DIM

CPU_BATCH_PIXELS = 4 * 512 * 512  # of the images drawn at a time
CUDA_BYTES_PER_PIXEL = 4096  # of the images drawn at a time: float16 activations with guidance, a generous estimate
MAX_AT_ONCE = 32


class DiffusionGenerator:
    """Implements `ktl.generators.base.ImageGenerator`: noise and latents are both (n, c * h * w), in that order."""

    Settings = DiffusionSettings
    family = "diffusion"

    def __init__(
        self, pipeline: Any, source: DiffusionSource, settings: Preset, *, licence: str, fingerprint: str
    ) -> None:
        self.pipeline = pipeline
        self.settings = settings
        self.prompt = source.settings.prompt
        self.name = Path(source.location).name
        self.licence = licence
        self.fingerprint = fingerprint
        self._shape = latent_shape(pipeline, source.settings.size)
        self._pixels: tuple[int, ...] = tuple(side * pipeline.vae_scale_factor for side in self._shape[1:])
        self.noise_dim = self.latent_dim = math.prod(self._shape)
        if self.latent_dim > MAX_LATENT_DIM:
            raise UsageError(
                f"{self.name} has latents of {self.latent_dim:,} numbers, at most {MAX_LATENT_DIM:,} can be sent: "
                f"draw smaller images, such as size={min(self._pixels) // 2}"
            )
        self.image_size = min(self._pixels)
        models = (part for part in pipeline.components.values() if isinstance(part, torch.nn.Module))
        self.parameters = sum(parameter.numel() for model in models for parameter in model.parameters())

    def latents(self, noise: Tensor) -> Tensor:
        """The noise itself, (n, noise_dim)."""
        return noise

    def images(self, latents: Tensor) -> Tensor:
        """latents (n, latent_dim) -> uint8 (n, 3, image_size, image_size), the centre of an oblong pipeline's images.

        Schedulers that add noise on the way draw it from a stream that the latent itself seeds.
        """
        return torch.cat([self._draw(part) for part in latents.split(self._at_once())])

    def _draw(self, latents: Tensor) -> Tensor:
        pipeline = self.pipeline
        height, width = self._pixels
        drawn: Tensor = pipeline(
            prompt=self.prompt,
            num_images_per_prompt=len(latents),
            height=height,
            width=width,
            num_inference_steps=self.settings.steps,
            guidance_scale=self.settings.guidance,
            latents=latents.unflatten(1, self._shape).to(_denoiser(pipeline).dtype),
            generator=[torch.Generator().manual_seed(_seed(latent)) for latent in latents],
            output_type="pt",
        ).images
        top, left = (height - self.image_size) // 2, (width - self.image_size) // 2
        square = drawn[:, :, top : top + self.image_size, left : left + self.image_size]
        return (square.float() * 255.0).round().clamp(0, 255).to("cpu", torch.uint8)

    def _at_once(self) -> int:
        """How many images are drawn at a time: as many as are expected to fit the memory."""
        pixels = math.prod(self._pixels)
        if self.pipeline.device.type != "cuda":
            return max(1, CPU_BATCH_PIXELS // pixels)
        free, _ = torch.cuda.mem_get_info(self.pipeline.device)
        return max(1, min(MAX_AT_ONCE, free // (CUDA_BYTES_PER_PIXEL * pixels)))


def load_diffusion(source: str) -> DiffusionGenerator:
    """The generator of a source string such as `diffusers:sd-turbo?prompt=a dog`.

    Raises UsageError for an option or a pipeline that cannot be used, CheckpointError for files that cannot be read.
    """
    wanted = parse_source(source)
    options = wanted.settings
    folder = find_pipeline(wanted.location, options.variant)
    pipeline = load_pipeline(folder, options.variant, _dtype())
    settings = _settings(pipeline, wanted)
    _set_scheduler(pipeline, settings, asked=options.scheduler is not None)
    _place(pipeline)
    scheduler = [type(pipeline.scheduler).__name__, pipeline.scheduler.config.get("timestep_spacing")]
    how = [options.prompt, settings.steps, settings.guidance, scheduler, latent_shape(pipeline, options.size)]
    digest = fingerprint(folder, options.variant, how)
    licence = licence_of(folder, wanted.location)
    return DiffusionGenerator(pipeline, wanted, settings, licence=licence, fingerprint=digest)


def latent_shape(pipeline: Any, size: int | None) -> tuple[int, int, int]:
    """(channels, height, width) of the noise for images of `size` pixels, or of the size that it was trained at."""
    denoiser, scale = _denoiser(pipeline), pipeline.vae_scale_factor
    own = denoiser.config.sample_size
    height, width = (own, own) if isinstance(own, int) else own
    if size is not None:
        if size % (8 * scale):  # the denoiser halves the latent three times
            raise UsageError(f"size is {size}: this pipeline draws multiples of {8 * scale} pixels")
        height = width = size // scale
    return denoiser.config.in_channels, height, width


def _settings(pipeline: Any, wanted: DiffusionSource) -> Preset:
    """The preset that the user or the pipeline asks for, overridden by the options that the user gave."""
    distilled = _denoiser(pipeline).config.get("time_cond_proj_dim") is not None  # takes guidance as an input
    options = wanted.settings
    name: str | None = options.preset
    if name is None:
        consistent = distilled or type(pipeline.scheduler).__name__ == "LCMScheduler"
        few = "turbo" if "turbo" in Path(wanted.location).name.lower() else "standard"
        name = "lcm" if consistent else few
    preset = PRESETS[name]
    guidance = 8.0 if name == "lcm" and distilled else preset.guidance  # as such models were distilled for
    settings = Preset(
        steps=options.steps or preset.steps,
        guidance=guidance if options.guidance is None else options.guidance,
        scheduler=options.scheduler or preset.scheduler,
    )
    trained_steps = pipeline.scheduler.config.get("num_train_timesteps", settings.steps)
    if settings.steps > trained_steps:
        raise UsageError(f"steps is {settings.steps}: this pipeline was trained with {trained_steps}")
    return settings


def _set_scheduler(pipeline: Any, settings: Preset, *, asked: bool) -> None:
    """Replaces the scheduler. Another kind of model keeps its own; if the user asked otherwise, raises UsageError."""
    import diffusers
    from diffusers.schedulers import KarrasDiffusionSchedulers

    if settings.scheduler is None:
        return
    own = type(pipeline.scheduler)
    class_name, changes = SCHEDULERS[settings.scheduler]
    replacement = getattr(diffusers, class_name)
    if own is diffusers.LCMScheduler or own.__name__ in KarrasDiffusionSchedulers.__members__:
        pipeline.scheduler = replacement.from_config(pipeline.scheduler.config, **changes)
    elif asked:
        raise UsageError(f"scheduler {settings.scheduler!r} does not fit a pipeline with {own.__name__}: leave it out")


def _place(pipeline: Any) -> None:
    device = _device()
    pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.vae.enable_slicing()  # decodes one image at a time: the largest feature maps are the decoder's
    if device.type == "mps":  # elsewhere torch's own attention already needs no n x n matrix
        pipeline.enable_attention_slicing()


def _device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _dtype() -> torch.dtype:
    return torch.float16 if _device().type == "cuda" else torch.float32


def _denoiser(pipeline: Any) -> Any:
    return pipeline.components.get("unet") or pipeline.components["transformer"]


def _seed(latent: Tensor) -> int:
    """A seed that depends on the latent alone, rounded to float16 as it is sent."""
    digest = hashlib.blake2b(latent.to(torch.float16).cpu().numpy().tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
