"""How this process trains: on which devices and how many threads, and what becomes of the memory that a step frees."""

from __future__ import annotations

import ctypes
import sys

import torch

# of glibc's malloc.h
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_MMAP_THRESHOLD = 32 * 2**20  # bytes: glibc refuses more
KEPT = 2**30  # bytes


def prepare_process(threads: int) -> None:
    """Trains on `threads` threads from now on, and keeps freed memory for the next step.

    glibc would return it to the system after each step and have every page of it zeroed in the next: a fifth of the
    time of a step on 256 pairs. Where there is no glibc, memory is treated as ever.
    """
    torch.set_num_threads(threads)
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):  # musl has none
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT)


def is_available(device: str) -> bool:
    """Whether this machine has a device that torch calls so: cpu, cuda, cuda:1, mps."""
    kind = device.partition(":")[0]
    return kind == "cpu" or bool(getattr(torch, kind).is_available())
