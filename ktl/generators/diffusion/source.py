"""`diffusers:PATH_OR_ID?option=value&...`: which pipeline, and how it draws; one string, as in a run's config."""

from __future__ import annotations

import math
from dataclasses import dataclass
from urllib.parse import parse_qsl

from ktl.errors import UsageError

PREFIX = "diffusers:"
OPTIONS = ("prompt", "preset", "steps", "guidance", "scheduler", "size", "variant")


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
class DiffusionSource:
    """What a source string says; None: by the preset, and the preset by the pipeline."""

    location: str  # a folder, or an id on the Hugging Face hub
    prompt: str = "a cat"  # FedKTL's
    preset: str | None = None
    steps: int | None = None
    guidance: float | None = None
    scheduler: str | None = None
    size: int | None = None  # pixels, square
    variant: str | None = None  # of the weight files, such as fp16


def parse_source(source: str) -> DiffusionSource:
    """Reads `diffusers:PATH_OR_ID?prompt=a dog&steps=4`. Raises UsageError that names the option and the choices."""
    location, _, query = source.removeprefix(PREFIX).partition("?")
    if not location:
        raise UsageError(f"{source!r} names no pipeline: give diffusers:FOLDER or diffusers:OWNER/NAME")
    given = parse_qsl(query, keep_blank_values=True)
    values = dict(given)
    for name in values:
        if name not in OPTIONS:
            raise UsageError(f"unknown option {name!r} of a diffusers generator: choose from {', '.join(OPTIONS)}")
        if sum(name == other for other, _ in given) > 1:
            raise UsageError(f"the option {name!r} of a diffusers generator is given twice: give it once")
    for name, choices in (("preset", PRESETS), ("scheduler", SCHEDULERS)):
        if name in values and values[name] not in choices:
            raise UsageError(f"unknown {name} {values[name]!r}: choose one of {', '.join(choices)}")
    return DiffusionSource(
        location=location,
        prompt=values.get("prompt", DiffusionSource.prompt),
        preset=values.get("preset"),
        steps=_whole(values, "steps", 1, 1000),
        guidance=_guidance(values),
        scheduler=values.get("scheduler"),
        size=_whole(values, "size", 8, 2048),
        variant=values.get("variant"),
    )


def _whole(values: dict[str, str], name: str, least: int, most: int) -> int | None:
    text = values.get(name)
    if text is None:
        return None
    if not text.isdecimal() or not least <= int(text) <= most:
        raise UsageError(f"{name} is {text!r}: give a whole number from {least} to {most}")
    return int(text)


def _guidance(values: dict[str, str]) -> float | None:
    text = values.get("guidance")
    if text is None:
        return None
    try:
        guidance = float(text)
    except ValueError:
        guidance = math.nan
    if not 0.0 <= guidance <= 100.0:  # nan too
        raise UsageError(f"guidance is {text!r}: give a number from 0 to 100")
    return guidance
