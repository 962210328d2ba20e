"""Text-to-image pipelines as generators: a tiny but complete Stable Diffusion, saved and loaded by diffusers itself."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_pipeline import change_json, load, noise, write_pipeline, write_xl_pipeline

from ktl.alignment import ALIGNMENTS
from ktl.errors import UsageError
from ktl.generators import GENERATORS, load_generator
from ktl.generators.diffusion.source import PRESETS, SCHEDULERS
from ktl.prototypes import class_prototypes
from ktl.settings import describe

pytest.importorskip("diffusers", reason="needs the extra ktl[diffusion]")


def test_the_initial_noise_is_noise_and_latent(tiny_pipeline: Path) -> None:
    generator = load(tiny_pipeline)
    assert (generator.name, generator.family, generator.licence) == ("tiny-diffusion", "diffusion", "unknown")
    assert (generator.noise_dim, generator.latent_dim, generator.image_size) == (4 * 8 * 8, 4 * 8 * 8, 16)
    latents = noise(generator)
    assert torch.equal(generator.latents(latents), latents)


def test_images_are_those_that_the_pipeline_itself_draws(tiny_pipeline: Path) -> None:
    from diffusers import StableDiffusionPipeline

    generator = load(tiny_pipeline, "prompt=a dog&scheduler=pndm&steps=5&guidance=3")
    latents = noise(generator)
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_pipeline)
    drawn = pipeline(
        ["a dog"] * 3,
        num_inference_steps=5,
        guidance_scale=3.0,
        latents=latents.reshape(3, 4, 8, 8),
        output_type="np",
    ).images
    expected = torch.from_numpy(drawn * 255).permute(0, 3, 1, 2)
    images = generator.images(latents)
    assert (images.shape, images.dtype) == ((3, 3, 16, 16), torch.uint8)
    assert (images.float() - expected).abs().max() < 0.51
    assert images.float().std(dim=0).mean() > 10


@pytest.mark.parametrize("option", ["prompt=a dog", "steps=3", "guidance=1", "scheduler=ddim", "size=32"])
def test_an_option_changes_images_and_fingerprint(tiny_pipeline: Path, option: str) -> None:
    plain, other = load(tiny_pipeline, "steps=4"), load(tiny_pipeline, "steps=4&" * ("steps" not in option) + option)
    assert plain.fingerprint != other.fingerprint
    images = other.images(noise(other))
    assert images.shape[2] == other.image_size == (32 if "size" in option else 16)
    assert not torch.equal(images, plain.images(noise(plain)))


@pytest.mark.parametrize("query", ["preset=lcm", "scheduler=euler-ancestral&steps=4", "preset=turbo&steps=2", ""])
def test_a_latent_gives_the_same_image_in_any_batch_at_any_time(tiny_pipeline: Path, query: str) -> None:
    generator = load(tiny_pipeline, query)
    latents = noise(generator, 5).half().float()
    images = generator.images(latents)
    alone = torch.cat([load(tiny_pipeline, query).images(latent[None]) for latent in latents.flip(0)]).flip(0)
    assert (images.int() - alone.int()).abs().max() <= 1  # rounding of the last bit


def test_large_images_are_drawn_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = load(write_pipeline(tmp_path / "pipeline"), "steps=2")
    together = generator.images(noise(generator, 5))
    monkeypatch.setattr("ktl.generators.diffusion.pipeline.CPU_BATCH_PIXELS", 2 * 16 * 16)
    assert (generator.images(noise(generator, 5)).int() - together.int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("made", "query", "expected"),
    [
        ({}, "", (20, 7.5, "DPMSolverMultistepScheduler")),
        ({}, "preset=published", (50, 7.5, "PNDMScheduler")),
        ({}, "preset=turbo", (1, 0.0, "EulerDiscreteScheduler")),
        ({}, "preset=lcm", (4, 1.0, "LCMScheduler")),
        ({}, "preset=lcm&steps=8&guidance=2&scheduler=unipc", (8, 2.0, "UniPCMultistepScheduler")),
        ({"scheduler": "LCMScheduler"}, "", (4, 1.0, "LCMScheduler")),
        ({"time_cond_proj_dim": 8}, "", (4, 8.0, "LCMScheduler")),
    ],
)
def test_presets(tmp_path: Path, made: dict[str, Any], query: str, expected: tuple[int, float, str]) -> None:
    generator = load(write_pipeline(tmp_path / "pipeline", **made), query)
    steps, guidance = generator.settings.steps, generator.settings.guidance
    assert (steps, guidance, type(generator.pipeline.scheduler).__name__) == expected
    assert generator.images(noise(generator)).float().std(dim=0).mean() > 10


def test_a_turbo_pipeline_is_known_by_its_name(tiny_pipeline: Path, tmp_path: Path) -> None:
    generator = load(shutil.copytree(tiny_pipeline, tmp_path / "sd-Turbo"))
    assert (generator.settings.steps, generator.settings.guidance) == (1, 0.0)
    assert generator.pipeline.scheduler.config.timestep_spacing == "trailing"


def test_an_xl_pipeline_with_two_text_encoders_draws_too(tmp_path: Path) -> None:
    generator = load(write_xl_pipeline(tmp_path / "xl"), "steps=2")
    images = generator.images(noise(generator))
    assert images.shape == (3, 3, 16, 16)
    assert images.float().std(dim=0).mean() > 10


def test_an_oblong_pipeline_gives_the_centre(tmp_path: Path) -> None:
    folder = write_pipeline(tmp_path / "pipeline")
    change_json(folder / "unet" / "config.json", sample_size=[8, 16])
    generator = load(folder, "steps=2")
    assert (generator.latent_dim, generator.image_size) == (4 * 8 * 16, 16)
    whole = generator.pipeline(
        "a cat",
        height=16,
        width=32,
        num_inference_steps=2,
        guidance_scale=7.5,
        latents=noise(generator).reshape(3, 4, 8, 16)[:1],
        output_type="pt",
    ).images
    assert torch.equal(generator.images(noise(generator)[:1]), (whole[:, :, :, 8:24] * 255).round().to(torch.uint8))


@pytest.mark.parametrize("alignment", ["robust", "published"])
def test_a_latent_of_16384_numbers_is_aligned(tmp_path: Path, alignment: str) -> None:
    generator = load(write_pipeline(tmp_path / "pipeline", latent_size=64), "preset=turbo")
    assert (generator.latent_dim, generator.image_size) == (16_384, 128)
    vectors = torch.eye(3).repeat_interleave(2, dim=0) + 0.1
    aligned = ALIGNMENTS.load(alignment)(3, 3, 0).align(
        [class_prototypes(vectors, torch.tensor([0, 0, 1, 1, 2, 2]))], generator, per_class=2
    )
    assert aligned.latents.shape == (3, 2, 16_384)
    if alignment == "robust":
        assert 0.95 < aligned.latents.std() < 1.05
    assert generator.images(aligned.centroids).shape == (3, 3, 128, 128)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?seed=1", "unknown option 'seed' of a diffusers generator: choose from prompt, preset, steps, guidance"),
        ("?steps=1&steps=2", "the option 'steps' of a diffusers generator is given twice"),
        ("?steps=0", "steps is '0': give a whole number of at least 1 and at most 1000$"),
        ("?steps=", "steps is '': give a whole number of at least 1 and at most 1000$"),
        ("?guidance=nan", "guidance is 'nan': give a number of at least 0 and at most 100$"),
        ("?guidance=much", "guidance is 'much': give a number of at least 0 and at most 100$"),
        ("?preset=best", "preset is 'best': give one of published, standard, lcm, turbo$"),
        ("?scheduler=none", "scheduler is 'none': give one of ddim, dpm, euler,"),
        ("?size=24", "size is 24: this pipeline draws multiples of 16 pixels"),
        ("?size=1024", "latents of 1,048,576 numbers, at most 65,536 can be sent: .* such as size=512"),
        ("/gone", "there is no pipeline folder '.*/gone': give a folder or OWNER/NAME on the hub"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tiny_pipeline: Path, query: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_generator(f"diffusers:{tiny_pipeline}{query}")


def test_the_options_that_are_listed_are_those_that_there_are() -> None:
    options = {option.name: option.expected for option in describe(GENERATORS.settings_of("diffusers"))}
    assert options["preset"] == f"one of {', '.join(PRESETS)}, or none"
    assert options["scheduler"] == f"one of {', '.join(SCHEDULERS)}, or none"
    assert options["guidance"] == "a number of at least 0 and at most 100, or none"


@pytest.mark.parametrize("option", [{"compiled": True}, {"products": "bfloat16"}])
def test_a_stylegans_ways_to_draw_faster_are_refused(tiny_pipeline: Path, option: dict[str, Any]) -> None:
    with pytest.raises(
        UsageError, match=r"--products and --compile are for a StyleGAN or a LatentFlow, but .* is a diffusion"
    ):
        load_generator(f"diffusers:{tiny_pipeline}", **option)


@pytest.mark.parametrize("source", ["diffusers:?steps=4", "diffusers:", "diffusers"])
def test_no_pipeline_at_all_is_refused(source: str) -> None:
    with pytest.raises(UsageError, match="names no pipeline: give diffusers:FOLDER or diffusers:OWNER/NAME"):
        load_generator(source)


def test_more_steps_than_it_was_trained_with_are_refused(copy: Path) -> None:
    change_json(copy / "scheduler" / "scheduler_config.json", num_train_timesteps=30)
    with pytest.raises(UsageError, match="steps is 31: this pipeline was trained with 30"):
        load(copy, "steps=31")


def test_a_scheduler_of_another_kind_of_model_is_kept_or_refused(tmp_path: Path) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    folder = write_pipeline(tmp_path / "pipeline")
    FlowMatchEulerDiscreteScheduler().save_pretrained(folder / "scheduler")
    change_json(folder / "model_index.json", scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"])
    assert type(load(folder).pipeline.scheduler) is FlowMatchEulerDiscreteScheduler
    with pytest.raises(UsageError, match="scheduler 'ddim' does not fit a pipeline with FlowMatchEulerDiscrete"):
        load(folder, "scheduler=ddim")


def test_loading_prints_nothing(tiny_pipeline: Path, capfd: pytest.CaptureFixture[str]) -> None:
    generator = load(tiny_pipeline, "steps=2")
    generator.images(noise(generator))
    assert capfd.readouterr() == ("", "")
