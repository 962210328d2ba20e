"""The image-vector pairs that a run received, from its wire/ alone."""

from __future__ import annotations

from pathlib import Path

from safetensors.numpy import load

from ktl.edge.record import Record
from ktl.pairs import ImageVectorPairs
from ktl.wire import MAX_PAIR_BYTES, MAX_PAIRS_PER_CLASS, SessionRequest, decode_pairs


def pair_files(run: Path) -> list[Path]:
    """One file per round, in order; none of a run without a cloud."""
    return sorted((run / "wire").glob("*-pairs.safetensors"))


def read_pairs(file: Path, record: Record) -> ImageVectorPairs:
    """The pairs in one of `pair_files` of the run whose record it is. Raises DataError for a damaged file."""
    payload = file.read_bytes()
    size, channels = record.arrays["shots"].shape[2:]
    request = SessionRequest(
        num_classes=len(record.class_names),
        image_size=size,
        channels=channels,
        pairs_per_class=MAX_PAIRS_PER_CLASS,
        download_bytes=MAX_PAIR_BYTES,
        alignment="",
        image_format="webp",
        seed=0,
    )
    return decode_pairs(payload, request, load(payload)["vectors"].shape[1])
