"""Tiny but complete text-to-image pipelines with random weights, saved as `diffusers` saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from ktl.generators.base import sample_latents
from ktl.generators.diffusion.pipeline import DiffusionGenerator, load_diffusion
from ktl.seeds import initialising, stream

WORDS = ["a", "cat", "dog"]
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def write_pipeline(folder: Path, *, latent_size: int = 8, scheduler: str = "PNDMScheduler", **unet: Any) -> Path:
    """A Stable Diffusion of 4 x `latent_size` x `latent_size` latents and images of twice the side."""
    import diffusers

    with initialising(0, "tiny pipeline"):
        pipeline = diffusers.StableDiffusionPipeline(
            vae=autoencoder(),
            text_encoder=text_encoder(folder, "CLIPTextModel"),
            tokenizer=tokenizer(folder),
            unet=denoiser(latent_size, **unet),
            scheduler=getattr(diffusers, scheduler)(
                **NOISE | ({"skip_prk_steps": True} if "PNDM" in scheduler else {})
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.save_pretrained(folder)
    return folder


def write_xl_pipeline(folder: Path) -> Path:
    """A Stable Diffusion XL with its two text encoders, 4 x 8 x 8 latents."""
    import diffusers

    width = 2 * 16 + 6 * 8  # of the added condition: a pooled text embedding and six numbers about the size
    with initialising(0, "tiny pipeline"):
        pipeline = diffusers.StableDiffusionXLPipeline(
            vae=autoencoder(),
            text_encoder=text_encoder(folder, "CLIPTextModel"),
            text_encoder_2=text_encoder(folder, "CLIPTextModelWithProjection"),
            tokenizer=tokenizer(folder),
            tokenizer_2=tokenizer(folder),
            unet=denoiser(
                8,
                cross_attention_dim=32,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=width - 16,
            ),
            scheduler=diffusers.EulerDiscreteScheduler(),
            add_watermarker=False,
        )
    pipeline.save_pretrained(folder)
    return folder


def denoiser(latent_size: int, **other: Any) -> Any:
    from diffusers import UNet2DConditionModel

    sizes: dict[str, Any] = {
        "sample_size": latent_size,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 2,
        "cross_attention_dim": 16,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    return UNet2DConditionModel(**(sizes | other))


def autoencoder() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=4,
    )


def text_encoder(folder: Path, kind: str) -> Any:
    import transformers

    config = transformers.CLIPTextConfig(
        vocab_size=len(vocabulary()),
        hidden_size=16,
        intermediate_size=16,
        projection_dim=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return getattr(transformers, kind)(config)


def vocabulary() -> list[str]:
    letters = sorted(set("".join(WORDS)))
    return ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]


def tokenizer(folder: Path) -> Any:
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    vocab.write_text(json.dumps({token: index for index, token in enumerate(vocabulary())}))
    merges.write_text("#version: 0.2\n")
    try:
        return CLIPTokenizer(str(vocab), str(merges), model_max_length=16)
    finally:
        vocab.unlink()
        merges.unlink()


def load(folder: Path, query: str = "") -> DiffusionGenerator:
    return load_diffusion(f"diffusers:{folder}{'?' if query else ''}{query}")


def noise(generator: DiffusionGenerator, count: int = 3, seed: int = 0) -> Tensor:
    return sample_latents(generator, count, stream(seed, "test"))


def change_json(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
