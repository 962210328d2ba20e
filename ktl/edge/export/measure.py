"""How fast, large and accurate an ONNX model is on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ktl.data.images import Images

BATCH = 100
WARM_CALLS = 20
MIN_CALLS = 200
SECONDS = 1.0


@dataclass(frozen=True)
class Latency:
    """Of one call, in milliseconds: the median and the 99th percentile."""

    p50: float
    p99: float


@dataclass(frozen=True)
class Measured:
    """One model file: accuracy 0..1 on the test images, size in bytes, latency of one picture on one thread."""

    accuracy: float
    size: int
    latency: Latency


def open_session(model: Path, threads: int) -> Any:
    """An ONNX Runtime session on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_model(model: Path, images: Images) -> NDArray[np.float32]:
    """Probabilities (n, classes) of uint8 RGB images (n, size, size, 3)."""
    session = open_session(model, threads=1)
    batches = np.array_split(images, range(BATCH, len(images), BATCH))
    return np.concatenate([session.run(None, {"images": batch})[0] for batch in batches])


def measure(model: Path, images: Images, labels: NDArray[np.int64]) -> Measured:
    """On this machine, with uint8 RGB images (n, size, size, 3) and their labels (n,)."""
    accuracy = float((run_model(model, images).argmax(axis=1) == labels).mean())
    session = open_session(model, threads=1)
    latency = time_calls(lambda: session.run(None, {"images": images[:1]}))
    return Measured(accuracy, model.stat().st_size, latency)


def time_calls(call: Callable[[], object]) -> Latency:
    """Calls it for about a second, at least 200 times after 20 that do not count."""
    for _ in range(WARM_CALLS):
        call()
    seconds: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(seconds) < MIN_CALLS or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
    return Latency(float(p50), float(p99))
