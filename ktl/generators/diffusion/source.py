"""`diffusers:PATH_OR_ID?option=value&...`: which pipeline, and how it draws; one string, as in a run's config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from ktl.errors import UsageError
from ktl.settings import Settings
from ktl.source_options import read_options

PREFIX = "diffusers:"


@dataclass(frozen=True)
class Preset:
    """Settings that belong together; `scheduler` None keeps the pipeline's own."""

    steps: int
    guidance: float
    scheduler: str | None


PRESETS = {
    "published": Preset(steps=50, guidance=7.5, scheduler=None),  # FedKTL's, for Stable Diffusion 1.5
    "standard": Preset(steps=20, guidance=7.5, scheduler="dpm"),  # as good in 20 steps as others in 50
    "lcm": Preset(steps=4, guidance=1.0, scheduler="lcm"),  # guidance is distilled into the weights
    "turbo": Preset(steps=1, guidance=0.0, scheduler="euler-trailing"),
}

# class name in diffusers, and settings beside the pipeline's own
SCHEDULERS: dict[str, tuple[str, dict[str, str]]] = {
    "ddim": ("DDIMScheduler", {}),
    "dpm": ("DPMSolverMultistepScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-trailing": ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
    "euler-ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "pndm": ("PNDMScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
}


@dataclass(frozen=True)
class DiffusionSettings(Settings):
    """How a pipeline draws. What is None is taken from the preset, and the preset is chosen by the pipeline."""

    prompt: Annotated[str, Meta(description="One for all images; the default is FedKTL's.")] = "a cat"
    preset: Annotated[
        Literal["published", "standard", "lcm", "turbo"] | None,
        Meta(description="Steps, guidance and scheduler that belong together."),
    ] = None
    steps: Annotated[int, Meta(ge=1, le=1000, description="Steps of denoising.")] | None = None
    guidance: Annotated[float, Meta(ge=0, le=100, description="How strongly the prompt guides.")] | None = None
    scheduler: Annotated[
        Literal["ddim", "dpm", "euler", "euler-trailing", "euler-ancestral", "lcm", "pndm", "unipc"] | None,
        Meta(description="How noise is taken away step by step."),
    ] = None
    size: Annotated[int, Meta(ge=8, le=2048, description="Pixels of the square images.")] | None = None
    variant: Annotated[str | None, Meta(description="Of the weight files, such as fp16.")] = None


@dataclass(frozen=True)
class DiffusionSource:
    """A source string, read."""

    location: str  # a folder, or an id on the Hugging Face hub
    settings: DiffusionSettings


def parse_source(source: str) -> DiffusionSource:
    """Reads `diffusers:PATH_OR_ID?prompt=a dog&steps=4`. Raises UsageError that names the option and the choices."""
    location, _, query = source.removeprefix(PREFIX).partition("?")
    if not location or location == source:
        raise UsageError(f"{source!r} names no pipeline: give diffusers:FOLDER or diffusers:OWNER/NAME")
    return DiffusionSource(location, read_options(DiffusionSettings, query, "a diffusers generator"))
