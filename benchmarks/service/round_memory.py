"""The memory that one round takes beside what it was estimated to take; exits with 1 if it takes more.

Each round is drawn in a process of its own; measured is its highest resident memory above that before the round.

Run: python -m benchmarks.service.round_memory
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.service.edges import GREEDY, MODEST, prototypes
from benchmarks.service.limited import memory_of
from ktl.cloud.knowledge import KnowledgeCloud
from ktl.cloud.round_bounds import round_bounds
from ktl.generators import load_generator
from ktl.wire import SessionRequest, count_pairs, decode_prototypes, encode_pairs

SMALL_IMAGES = replace(GREEDY, pairs_per_class=15, download_bytes=4_000_000)
ROUNDS: dict[str, tuple[SessionRequest, int]] = {  # and how many edges take part
    "robust, 1,000 classes": (SMALL_IMAGES, 3),
    "pooled, 1,000 classes": (replace(SMALL_IMAGES, alignment="pooled"), 3),
    "published, 200 classes, 10 edges": (
        replace(
            SMALL_IMAGES, alignment="published", num_classes=200, pairs_per_class=60, alignment_settings={"epochs": 1}
        ),
        10,
    ),
    "robust, 256 x 256 pixels": (replace(MODEST, image_size=256, pairs_per_class=40, download_bytes=10_000_000), 1),
}


def main() -> None:
    if len(sys.argv) > 1:
        print(*measured(*ROUNDS[sys.argv[1]]))
        return
    print("| round | pairs | measured MB | estimated MB |\n|---|---|---|---|")
    broken = False
    for name in ROUNDS:
        command = [sys.executable, "-m", "benchmarks.service.round_memory", name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        pairs, taken, estimated = map(int, done.stdout.split())
        print(f"| {name} | {pairs:,} | {taken / 1e6:.0f} | {estimated / 1e6:.0f} |", flush=True)
        broken |= taken > estimated
    sys.exit(1 if broken else 0)


def measured(request: SessionRequest, edges: int) -> tuple[int, int, int]:
    """Pairs drawn, bytes taken, bytes estimated."""
    generator = load_generator("builtin", cached=True)
    _draw(generator, replace(request, num_classes=2, pairs_per_class=2), [prototypes(2)])  # what is loaded once
    payloads = [prototypes(request.num_classes, seed=edge) for edge in range(edges)]
    Path("/proc/self/clear_refs").write_text("5")  # the highest from here on
    before = memory_of("self", "VmRSS")
    pairs = _draw(generator, request, payloads)
    estimated = round_bounds(KnowledgeCloud(generator, request), edges).memory
    return pairs, memory_of("self", "VmHWM") - before, estimated


def _draw(generator, request: SessionRequest, payloads: list[bytes]) -> int:  # type: ignore[no-untyped-def]
    cloud = KnowledgeCloud(generator, request)
    came = [decode_prototypes(payload, request.num_classes) for payload in payloads]
    return count_pairs(encode_pairs(cloud.pairs(came), request))


if __name__ == "__main__":
    main()
