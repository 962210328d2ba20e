"""Which arithmetic an edge's extractor trains in: bfloat16 halves the time where the hardware multiplies it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ktl.errors import UsageError

CPU_FEATURES = ("avx512_bf16", "amx_bf16")


def training_dtype(precision: str, device: torch.device) -> torch.dtype:
    """torch.bfloat16 or torch.float32 for `precision` auto | bfloat16 | float32; raises UsageError for another.

    `auto` is bfloat16 where the device has instructions for it, float32 elsewhere (there, bfloat16 is emulated).
    """
    if precision not in ("auto", "bfloat16", "float32"):
        raise UsageError(f"unknown precision {precision!r}: choose one of auto, bfloat16, float32")
    if precision == "auto":
        return torch.bfloat16 if _multiplies_bfloat16(device) else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def features_in(dtype: torch.dtype, extractor: nn.Module, images: Tensor) -> Tensor:
    """Features (n, d) of images (n, c, s, s), float32, but computed in `dtype`: heads and losses stay exact."""
    with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
        features: Tensor = extractor(images)
    return features.float()


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):  # torch 2.6 to 2.9 cannot tell
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(feature)) for feature in CPU_FEATURES)
