"""Hostile official files: each is refused by a line, at little memory and time, and nothing in it is executed."""

from __future__ import annotations

import builtins
import json
import os
import pickle
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.official_files import OfficialWriter, Rebuilt, Reduced, legacy_storage

from ktl.errors import CheckpointError
from ktl.generators.official.pickles import read_official

MOST_BYTES = 200 * 2**20


def opened(payload: bytes) -> bytes:
    return b"\x80\x04" + payload


@pytest.mark.parametrize(
    ("call", "arguments", "named"),
    [
        (os.system, ("touch {canary}",), "posix.system"),
        (builtins.eval, ("open('{canary}', 'w')",), "eval"),
        (builtins.getattr, ({}, "clear"), "getattr"),
        (torch.load, ("{canary}",), "torch.serialization.load"),
        (np.load, ("{canary}",), "numpy"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_call_is_refused_by_name(
    refused: Callable[..., str], canary: Path, call: Any, arguments: Any, named: str, protocol: int
) -> None:
    filled = [part.format(canary=canary) if isinstance(part, str) else part for part in arguments]
    message = refused(pickle.dumps({"G_ema": Reduced(call, *filled)}, protocol))
    assert named in message
    assert "not admitted" in message


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"]" * 900_000 + b"a" * 899_999 + b".", "takes more than 1,000,000 operations"),
        (b"]" * 400_000 + b"a" * 399_999 + b".", "it holds a list"),
        (b"(" * 2_000_000, "takes more than 1,000,000 operations"),
        (b"}" + b")" + b"\x85" * 400_000 + b"K\x01s.", "a table's key is a tuple"),
        (b"\x8f\x94" * 1_000_000, "takes more than 1,000,000 operations"),
        (b"Nr\xff\xff\xff\x3f.", "it holds a NoneType"),
        (b"B\xff\xff\xff\xff.", "the file is cut short: 4,294,967,295 bytes are missing"),
        (b"\x8e" + struct.pack("<Q", 10**10), "the file is cut short: 10,000,000,000 bytes"),
        (b"\x8d" + struct.pack("<Q", 10**10), "bytes of text"),
        (b"\x95" + struct.pack("<Q", 2**63) + b"N.", "it holds a NoneType"),
        (b"I12345\n.", "the pickle instruction INT at byte 2 is not admitted"),
        (b"\x82\x01.", "the pickle instruction EXT1 at byte 2 is not admitted"),
        (b"cbuiltins\nexec\n.", "'builtins.exec', which is not admitted"),
        (b"NQ.", "an object outside it"),
        (b"}}b.", "holds no network 'G_ema'"),
        (b"]}b.", "sets the state of a list"),
        (b"N)R.", "calls a NoneType"),
        (b"cnumpy\nndarray\n)R.", "calls numpy.ndarray"),
        (b"\xff", "the pickle instruction"),
        (b"0.", "the pickle instruction POP"),
        (b"e.", "damaged or cut short"),
        (b".", "leaves loose values"),
        (b"", "the file is cut short"),
    ],
)
def test_malformed_pickles_are_refused(refused: Callable[..., str], payload: bytes, message: str) -> None:
    assert message in refused(opened(payload))


def test_every_truncation_and_trailing_data_are_refused(refused: Callable[..., str], writer: OfficialWriter) -> None:
    payload = pickle.dumps({"G_ema": writer.record("Generator", _buffers={"a": torch.zeros(3)}, gain=np.ones(2))})
    for end in range(0, len(payload), 7):
        refused(payload[:end])
    assert "1 bytes follow the pickle's end" in refused(payload + b"a")


def test_damage_anywhere_is_an_error_of_ours(writer: OfficialWriter, tmp_path: Path, canary: Path) -> None:
    payload = bytearray(pickle.dumps({"G_ema": writer.record("G", _buffers={"a": torch.zeros(3)}, gain=np.ones(2))}))
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged.pkl"
    for _ in range(800):
        damaged = bytearray(payload)
        damaged[rng.integers(len(payload))] = rng.integers(256)
        path.write_bytes(damaged)
        with suppress(CheckpointError):
            read_official(path)
    assert not canary.exists()


def text(value: bytes) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value


BOMBS = {
    "claim": lambda: pickle.dumps({"G_ema": Rebuilt(legacy_storage(torch.FloatStorage, 2_500_000_000), 0, (2,), (1,))}),
    "counted": lambda: opened(b"\x8e" + struct.pack("<Q", 10**10)),
    "memo": lambda: opened(b"Nr\xff\xff\xff\x7f."),
    "sets": lambda: opened(b"\x8f\x94" * 1_000_000),
    "views": lambda: opened(b"C\x01a" * 1_000_000),
    "records": lambda: opened(b"ctorch.nn\nA\n\x94)\x94" + b"h\x00h\x01\x81" * 400_000),
    "types": lambda: opened(b"cnumpy\ndtype\n\x94" + text(b"f8") + b"\x85\x94" + b"h\x00h\x01R" * 400_000),
    "names": lambda: opened(b"".join(b"ctorch.nn\nA%d\n" % i for i in range(100_000))),
    "text": lambda: opened(b"X" + struct.pack("<I", 2**24) + bytes(2**24)),
}


CLAIMS: list[Any] = [
    {"format": "ktl-stylegan-1", "licence": "", "family": family, "config": config}
    for family, config in [
        ("StyleGAN2", {"resolution": 10**6}),
        ("StyleGAN2", {"resolution": 1024, "channel_base": 10**9, "channel_max": 10**9}),
        ("StyleGAN2", {"resolution": 1024, "channel_base": 2**22, "channel_max": 4096}),
        ("StyleGAN2", {"z_dim": 10**9}),
        ("StyleGAN2", {"resolution": 32.0}),
        ("StyleGAN3", {"num_layers": 10**9}),
        ("StyleGAN3", {"margin_size": 10**9}),
        ("StyleGAN3", {"layers": [{}] * 10**5}),
        ("StyleGAN-XL", {"c_dim": 100_000, "embed_dim": 4096}),
        ("StyleGAN-XL", {"c_dim": 10**12}),
    ]
]


READ = """
import re, sys
from pathlib import Path
from ktl.errors import CheckpointError
from ktl.generators import load_generator
kilobytes = lambda name: int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))
def refusal(path):
    try:
        load_generator(path)
    except CheckpointError as error:
        return error
refusal(sys.argv[1])  # takes what any reading takes
before = kilobytes("VmRSS")
for path in sys.argv[2:]:
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak, VmHWM, back to what is used now
    error = refusal(path)
    print(kilobytes("VmHWM") - before, error)
"""


@pytest.mark.timing
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
def test_bombs_are_refused_at_little_memory(tmp_path: Path, writer: OfficialWriter, canary: Path) -> None:
    laugh: Any = "ha"
    for _ in range(30):
        laugh = [laugh] * 10
    bombs = {name: make() for name, make in BOMBS.items()}
    bombs["laughs"] = pickle.dumps({"G_ema": writer.record("Generator", laugh=laugh)})
    bombs["call"] = pickle.dumps({"G_ema": Reduced(os.system, f"touch {canary}")})
    bombs["cut"] = bombs["claim"][:-20]
    bombs["trailing"] = bombs["call"].replace(b"posix", b"torch") + b"more"
    paths = [tmp_path / "first.pkl"] + [tmp_path / f"{name}.pkl" for name in bombs]
    for number, about in enumerate(CLAIMS):
        path = tmp_path / f"{number}.safetensors"
        save_file({"a": torch.zeros(2)}, path, {"ktl": json.dumps(about)})
        bombs[path.stem] = path.read_bytes()
        paths.append(path)
    bombs["header"] = struct.pack("<Q", 90_000_000) + b"{" * 90_000_000
    paths.append(tmp_path / "header.safetensors")
    for path, payload in zip(paths, [b"", *bombs.values()], strict=True):
        path.write_bytes(payload)
    ended = subprocess.run([sys.executable, "-c", READ, *paths], capture_output=True, text=True, check=True)
    lines = ended.stdout.splitlines()
    assert len(lines) == len(bombs)
    for line in lines:
        assert int(line.split()[0]) * 1024 < MOST_BYTES, line
        assert re.search("is no (official network|generator) that ktl can read: ", line)
    assert not canary.exists()
