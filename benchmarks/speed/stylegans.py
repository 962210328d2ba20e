"""Images per second of ktl's StyleGANs against a straightforward transcription of the same networks.

Run: python -m benchmarks.speed.stylegans run [--families StyleGAN2] [--resolutions 64 256] [--compile]
     python -m benchmarks.speed.stylegans table

The transcription draws one image at a time in float32 the way the papers write a layer down: the style scales a copy of
the weights, which is demodulated and convolved with; up-sampling sets zeros between pixels and then filters; each
step is an operation of its own. Both sides have the same random weights, so their images are compared too. Timings
are taken in turn, side by side, so that other work on the machine slows both.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.lib.cells import Cell, Row
from benchmarks.lib.command_line import command_line
from benchmarks.lib.markdown import markdown
from ktl.generators.network import Network, NetworkGenerator
from ktl.generators.networks.convolution import products_in
from ktl.generators.networks.stylegan2 import StyleGAN2, StyleGAN2Config, SynthesisBlock
from ktl.generators.networks.stylegan3 import AliasFreeLayer, StyleGAN3
from ktl.generators.networks.stylegan3_layers import StyleGAN3Config
from ktl.generators.networks.stylegan_xl import Head, StyleGANXL, StyleGANXLConfig, grown
from ktl.seeds import initialising, stream

CLOCKS: dict[str, Callable[[], float]] = {
    "wall": time.perf_counter,
    "cpu": lambda: time.process_time() / torch.get_num_threads(),
}


def dense(layer: torch.nn.Module, w: Tensor) -> Tensor:
    """An affine layer of w (1, w_dim)."""
    weight, bias = layer.weight * layer.weight_gain, layer.bias * layer.bias_gain
    return w @ weight.T + bias


def modulated(x: Tensor, weight: Tensor, style: Tensor, demodulate: bool, padding: int, up: bool = False) -> Tensor:
    """Convolution of x (1, c, h, w) with the weights of one style (1, c)."""
    weight = weight * style[0, :, None, None]
    if demodulate:
        weight = weight * (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).rsqrt()
    if up:
        return F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    return F.conv2d(x, weight, padding=padding)


def filtered(x: Tensor, kernel: Tensor | None, up: int, down: int, padding: tuple[int, int], gain: float) -> Tensor:
    """Zeros between the pixels, padding, the low-pass filter, every `down`-th pixel."""
    n, c, h, w = x.shape
    x = F.pad(x.reshape(n, c, h, 1, w, 1), [0, up - 1, 0, 0, 0, up - 1]).reshape(n, c, h * up, w * up)
    before, after = padding
    x = F.pad(x, [before, after, before, after])
    if kernel is not None and kernel.ndim == 2:
        x = F.conv2d(x, (kernel * gain).expand(c, 1, *kernel.shape), groups=c)
    elif kernel is not None:
        column = (kernel * math.sqrt(gain)).expand(c, 1, len(kernel))
        x = F.conv2d(F.conv2d(x, column[:, :, None], groups=c), column[..., None], groups=c)
    return x[:, :, ::down, ::down]


def stylegan2_image(network: StyleGAN2, w: Tensor) -> Tensor:
    """The image (1, 3, r, r) of one w (1, w_dim)."""
    image: Tensor | None = None
    x = torch.empty(0)
    for resolution in network.synthesis.resolutions:
        block = network.synthesis.get_submodule(f"b{resolution}")
        assert isinstance(block, SynthesisBlock)
        if block.is_first:
            x = block.const[None]
        for layer in [block.conv1] if block.is_first else [block.conv0, block.conv1]:
            x = modulated(x, layer.weight, dense(layer.affine, w), True, 1, layer.up)
            if layer.up:
                x = filtered(x, layer.resample_filter, 1, 1, (1, 1), 4.0)
            x = x + layer.noise_const * layer.noise_strength
            x = x + layer.bias[:, None, None]
            x = F.leaky_relu(x, 0.2)
            x = x * math.sqrt(2)
        rgb = modulated(x, block.torgb.weight, dense(block.torgb.affine, w) * block.torgb.weight_gain, False, 0)
        rgb = rgb + block.torgb.bias[:, None, None]
        image = rgb if image is None else filtered(image, block.resample_filter, 2, 1, (2, 1), 4.0) + rgb
    assert image is not None
    return image


def alias_free_layer(layer: AliasFreeLayer, x: Tensor, w: Tensor) -> Tensor:
    """One layer of StyleGAN3 on x (1, c, h, h)."""
    style, weight = dense(layer.affine, w), layer.weight
    if layer.is_rgb:
        style = style / math.sqrt(weight[0].numel())
    else:
        weight = weight * weight.square().mean(dim=(1, 2, 3), keepdim=True).rsqrt()
        style = style * style.square().mean().rsqrt()
    x = modulated(x * layer.magnitude_ema.rsqrt(), weight, style, not layer.is_rgb, layer.kernel_size - 1)
    x = x + layer.bias[:, None, None]
    x = filtered(x, layer.up_filter, layer.up_factor, 1, layer.padding, layer.up_factor**2)
    if not layer.is_rgb:
        x = F.leaky_relu(x, 0.2)
        x = x * math.sqrt(2)
    if layer.conv_clamp is not None:
        x = x.clamp(-layer.conv_clamp, layer.conv_clamp)
    return filtered(x, layer.down_filter, 1, layer.down_factor, (0, 0), 1.0)


def stylegan3_image(network: StyleGAN3 | StyleGANXL, w: Tensor) -> Tensor:
    """The image (1, 3, r, r) of one w (1, w_dim)."""
    x = network.synthesis.input(w)
    for name in network.synthesis.layer_names:
        layer = network.synthesis.get_submodule(name)
        assert isinstance(layer, AliasFreeLayer)
        x = alias_free_layer(layer, x, w)
    return x * network.synthesis.output_scale


def networks(resolution: int) -> dict[str, tuple[Network, Callable[..., Tensor]]]:
    """Each family at `resolution`: random weights, an eighth of the published channels, StyleGAN-XL in two stages."""
    sizes = {"z_dim": 64, "w_dim": 512, "channel_max": 64}
    three = sizes | {"resolution": resolution, "channel_base": 4096}
    stem = StyleGANXLConfig(**sizes, c_dim=100, resolution=resolution // 4, num_layers=10, channel_base=4096)
    return {
        "StyleGAN2": (
            StyleGAN2(StyleGAN2Config(**sizes, resolution=resolution, channel_base=4096)),
            stylegan2_image,
        ),
        "StyleGAN3-T": (StyleGAN3(StyleGAN3Config(**three)), stylegan3_image),
        "StyleGAN3-R": (
            StyleGAN3(StyleGAN3Config(**three, conv_kernel=1, use_radial_filters=True)),
            stylegan3_image,
        ),
        "StyleGAN-XL": (StyleGANXL(grown(stem, [Head(5, 4)])), stylegan3_image),
    }


def rate(draw: Callable[[], Tensor], clock: Callable[[], float]) -> float:
    """Images per second of one call."""
    started = clock()
    images = draw()
    return len(images) / (clock() - started)


@torch.no_grad()
def measure(family: str, resolution: int, options: argparse.Namespace) -> Row:
    """Images per second of each way and repeat, in turn, and how far bfloat16 draws off."""
    torch.set_num_threads(options.threads)
    with initialising(0, "benchmark"):
        network, transcription = networks(resolution)[family]
    generator = NetworkGenerator(network, name="", licence="", fingerprint="")
    latents = torch.randn(options.batch, generator.latent_dim, generator=stream(0, "latents"))

    def ktl(products: torch.dtype | None) -> Tensor:
        with products_in(products):
            return generator.raw_images(latents)

    ways: dict[str, Callable[[], Tensor]] = {
        "transcription": lambda: torch.cat([transcription(network, w) for w in latents[: options.alone].split(1)]),
        "ktl": lambda: ktl(None),
        "ktl, bfloat16 products": lambda: ktl(torch.bfloat16),
    }
    reference, exact, rounded = (draw() for draw in ways.values())
    if options.compile:
        ways["ktl, compiled"] = compiled(network, latents, generator.images(latents))
    spread = exact.std()
    assert (reference - exact[: options.alone]).abs().max() < 1e-4 * spread, "the transcription is of another network"
    off = (rounded - exact).abs() / spread * 64  # 8-bit levels of images whose pixels deviate by 64, as natural ones do
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, draw in ways.items():
            rates[name].append(rate(draw, CLOCKS[options.clock]))
    return {"rates": rates, "off": float(off.mean()), "most_off": float(off.max()), "load": os.getloadavg()[0]}


def compiled(network: Network, latents: Tensor, expected: Tensor) -> Callable[[], Tensor]:
    """The same network by torch.compile, once it was seen to draw the same images."""
    generator = NetworkGenerator(network, name="", licence="", fingerprint="")
    generator.hasten(compiled=True)
    off = (generator.images(latents).float() - expected.float()).abs()
    assert off.max() <= 1, "the compiled network draws other images"
    return lambda: generator.images(latents)


def cells(args: argparse.Namespace) -> list[Cell]:
    """Each family at each resolution."""
    found = []
    for resolution in args.resolutions:
        for family in args.families:
            key = {"family": family, "resolution": resolution, "clock": args.clock, "threads": args.threads}
            found.append(Cell(key | {"compiled": args.compile}, measure, (family, resolution, args)))
    return found


def table(rows: Sequence[Row]) -> str:
    """A line per network: medians, and ratios to the transcription as median (least-most) of the repeats."""
    ways = list(dict.fromkeys(way for row in rows for way in row["rates"]))
    lines = []
    for row in rows:
        line = [f"{row['family']} {row['resolution']}"]
        for way in ways:
            rates = row["rates"].get(way, [])
            line.append(f"{statistics.median(rates):.1f}" if rates else "")
            if way != "transcription":
                ratios = [one / base for one, base in zip(rates, row["rates"]["transcription"], strict=bool(rates))]
                line.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})" if ratios else "")
        lines.append([*line, f"{row['off']:.2f}, at most {row['most_off']:.1f}", f"{row['load']:.1f}"])
    headings = [cell for way in ways for cell in ([way] if way == "transcription" else [way, "ratio"])]
    return markdown(["network", *headings, "levels off", "load"], lines)


def options(runs: argparse.ArgumentParser) -> None:
    """Of the command `run`."""
    runs.add_argument("--batch", type=int, default=16)
    runs.add_argument("--alone", type=int, default=2, help="images that the transcription draws, one at a time")
    runs.add_argument("--compile", action="store_true", help="also by torch.compile: minutes for each network")
    runs.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for a busy machine")
    runs.add_argument("--repeats", type=int, default=5)
    runs.add_argument("--threads", type=int, default=2)
    runs.add_argument("--resolutions", type=int, nargs="+", default=[64, 256])
    runs.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)


FAMILIES = ("StyleGAN2", "StyleGAN3-T", "StyleGAN3-R", "StyleGAN-XL")
TABLES = {"all": table}

if __name__ == "__main__":
    command_line("speed/stylegans", __doc__, options, cells, TABLES)
