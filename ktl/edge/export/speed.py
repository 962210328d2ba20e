"""What a model costs on this machine: latency, throughput, size and memory, by runtime, threads and batch."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from ktl.data.images import Images
from ktl.edge.export.measure import Latency, Measured, open_session, time_calls
from ktl.errors import CheckpointError
from ktl.machine import peak_memory

TORCH, FLOAT32, INT8 = "torch", "onnxruntime", "int8"


@dataclass(frozen=True)
class Row:
    """One runtime with one number of threads and one batch; latency is a call's, memory the process's peak."""

    runtime: str
    threads: int
    batch: int
    latency: Latency
    size: int  # bytes on disk
    memory: int  # bytes

    @property
    def throughput(self) -> float:
        """Pictures per second, by the median call."""
        return 1e3 * self.batch / self.latency.p50


def bench(target: Path, threads: Sequence[int], batches: Sequence[int]) -> Iterator[Row]:
    """Times a run (torch, onnxruntime, int8 if it has pairs to calibrate on) or one .onnx file, from uint8 pictures of
    the model's own size to probabilities.

    Each row comes from a process of its own, so that no runtime's memory or threads are counted as another's.
    Raises CheckpointError for a target that is neither a finished run nor a model.
    """
    if target.is_file():
        for count in threads:
            for batch in batches:
                yield _apart(FLOAT32 if target.suffix == ".onnx" else target.name, target, count, batch)
        return
    if not (target / "model.onnx").is_file():
        raise CheckpointError(f"{target} is neither a finished run nor an .onnx file: train it to the end")
    with tempfile.TemporaryDirectory() as scratch:
        models = {TORCH: target, FLOAT32: target / "model.onnx"}
        if (target / "wire").is_dir():
            models[INT8] = _quantised(target, Path(scratch))
        for count in threads:
            for batch in batches:
                for runtime, model in models.items():
                    yield _apart(runtime, model, count, batch)


def _apart(runtime: str, model: Path, threads: int, batch: int) -> Row:
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
        return process.submit(_row, runtime, model, threads, batch).result()


def _row(runtime: str, model: Path, threads: int, batch: int) -> Row:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    call, size = (_torch_call if runtime == TORCH else _onnx_call)(model, threads, batch)
    latency = time_calls(call)
    return Row(runtime, threads, batch, latency, size, peak_memory())


def _onnx_call(model: Path, threads: int, batch: int) -> tuple[Callable[[], object], int]:
    try:
        session = open_session(model, threads)
        facts = session.get_modelmeta().custom_metadata_map["ktl"]
    except Exception as error:  # onnxruntime's own exceptions share no public base
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{model} is no model of ktl ({reason}); export it anew") from None
    pictures = _pictures(batch, json.loads(facts)["image_size"])
    return lambda: session.run(None, {"images": pictures}), model.stat().st_size


def _torch_call(run: Path, threads: int, batch: int) -> tuple[Callable[[], object], int]:
    """The same work in torch: from RGB pictures of the model's own size to probabilities."""
    import torch

    from ktl.data.transforms import fit_batch
    from ktl.edge.onnx.model_file import PictureClassifier
    from ktl.edge.record import read_record
    from ktl.edge.run import load_run
    from ktl.edge.task import kept_task

    record = read_record(run)
    learner, temperature = load_run(run, kept_task(record, "crop")), record.temperature
    torch.set_num_threads(threads)
    channels, size = learner.task.shot_images.shape[1:3]
    classifier = PictureClassifier(learner.model.cpu().eval(), temperature).eval()
    pictures = torch.from_numpy(_pictures(batch, size))

    @torch.inference_mode()
    def call() -> object:
        return classifier(fit_batch(pictures.permute(0, 3, 1, 2), size, channels))

    weights = sum(tensor.numel() * tensor.element_size() for tensor in learner.model.state_dict().values())
    return call, weights


def _pictures(count: int, size: int) -> Images:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def _quantised(run: Path, scratch: Path) -> Path:
    """The run's int8 model, whatever it loses: `ktl export --int8` looks at that."""
    from ktl.edge.export.quantise import PairReader, quantise
    from ktl.edge.record import read_record

    model = Path(shutil.copyfile(run / "model.onnx", scratch / "model.onnx"))
    unasked = Measured(0.0, 0, Latency(0.0, 0.0))
    quantise(model, scratch / "int8.onnx", PairReader.of(run, read_record(run)), lambda file: unasked, max_drop=1.0)
    return scratch / "int8.onnx"
