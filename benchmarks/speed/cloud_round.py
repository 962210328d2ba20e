"""What a round costs the cloud: seconds of a core, and bytes.

Run: python -m benchmarks.speed.cloud_round run
     python -m benchmarks.speed.cloud_round table

The built-in generator, one thread, the processor's seconds; the second round of a session, as the first one makes the
generator ready. *One device* is the session of `ktl edge train`, *of many* a round of a device of `ktl federate`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import torch

from benchmarks.lib.cells import Cell, Row
from benchmarks.lib.command_line import command_line
from benchmarks.lib.markdown import markdown
from ktl import CloudConfig, EmbeddedCloud, load_generator
from ktl.loop.exchange import session_request
from ktl.prototypes import class_prototypes
from ktl.seeds import stream
from ktl.wire import decode_pairs, encode_message, encode_prototypes

SHOTS = 2
KINDS = {  # alignment, classes, pixels, channels, bytes down
    "one device, 100 classes of 32 pixels in colour": ("robust", 100, 32, 3, 1_430_000),
    "one device, 10 classes of 28 pixels in grey": ("robust", 10, 28, 1, 1_430_000),
    "of many, 100 classes of 32 pixels in colour": ("pooled", 100, 32, 3, 143_000),
    "of many, 10 classes of 28 pixels in grey": ("pooled", 10, 28, 1, 143_000),
}


def measure(alignment: str, classes: int, size: int, channels: int, download: int) -> Row:
    """The second round of a session of one edge."""
    torch.set_num_threads(1)
    generator = load_generator("builtin")
    cloud = EmbeddedCloud(generator)
    asked = CloudConfig(alignment=alignment)
    request = session_request(
        asked, classes=classes, channels=channels, image_size=size, download_bytes=download, seed=0
    )
    cloud.open(encode_message(request), [])
    labels = torch.arange(classes).repeat_interleave(SHOTS)
    points = torch.randn(len(labels), classes, generator=stream(0, "round"))
    upload = encode_prototypes(class_prototypes(torch.nn.functional.normalize(points), labels))
    cloud.exchange({0: upload})
    began = time.process_time()
    payload = cloud.exchange({0: upload})
    seconds = time.process_time() - began
    pairs = len(decode_pairs(payload, request, generator.latent_dim))
    return {"seconds": seconds, "pairs": pairs, "bytes_up": len(upload), "bytes_down": len(payload)}


def cells(args: argparse.Namespace) -> list[Cell]:
    """Each kind of round."""
    return [Cell({"kind": kind}, measure, shape) for kind, shape in KINDS.items()]


def table(rows: Sequence[Row]) -> str:
    """A line per kind of round."""
    lines = []
    for row in rows:
        rate = row["pairs"] / row["seconds"]
        lines.append(
            [row["kind"], f"{row['pairs']:,}", f"{row['bytes_down']:,}", f"{row['seconds']:.2f}", f"{rate:,.0f}"]
        )
    return markdown(["round", "pairs", "bytes down", "seconds of a core", "pairs per second"], lines)


def options(runs: argparse.ArgumentParser) -> None:
    """There are none."""


TABLES = {"all": table}

if __name__ == "__main__":
    command_line("speed/cloud_round", __doc__, options, cells, TABLES)
