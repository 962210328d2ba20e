"""Official network files: what is in them is read and converted exactly; hostile ones are refused, nothing executed."""

from __future__ import annotations

import builtins
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ktl.errors import CheckpointError
from ktl.generators import load_generator
from ktl.generators.official import convert_official
from ktl.generators.official_config import stylegan2_config
from ktl.generators.official_pickle import read_official
from ktl.generators.stylegan import StyleGANGenerator
from ktl.generators.stylegan2 import StyleGAN2, StyleGAN2Config

from .official_files import OfficialWriter, Reduced, golden_network

MOST_BYTES = 200 * 2**20


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """Exists if code of a file was run."""
    return tmp_path / "canary"


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch, canary: Path) -> OfficialWriter:
    return OfficialWriter(monkeypatch, canary)


@pytest.fixture
def refused(tmp_path: Path, canary: Path) -> Callable[..., str]:
    """refused(payload) is the one-line error; nothing of the payload was run, and it took little time."""

    def refuse(payload: bytes, which: str = "G_ema") -> str:
        path = tmp_path / "hostile.pkl"
        path.write_bytes(payload)
        started = time.monotonic()
        with pytest.raises(CheckpointError) as caught:
            read_official(path, which)
        assert time.monotonic() - started < 60
        assert not canary.exists()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600
        return str(caught.value)

    return refuse


def opened(payload: bytes) -> bytes:
    return b"\x80\x04" + payload


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("nested", [False, True])
def test_a_converted_network_draws_the_same_images_to_the_bit(
    writer: OfficialWriter, canary: Path, tmp_path: Path, protocol: int, nested: bool
) -> None:
    config, state = golden_network()
    arguments = dict(config)
    if nested:  # as the first release gives them
        sizes = {name: arguments.pop(name) for name in ("channel_base", "channel_max", "num_fp16_res", "conv_clamp")}
        arguments["synthesis_kwargs"] = writer.table(sizes)
    networks = {"G": None, "D": None, "G_ema": writer.network(arguments, state), "training_set_kwargs": writer.table()}
    path = writer.write(tmp_path / "official.pkl", networks, protocol)
    converted = convert_official(path, tmp_path / "converted.safetensors", licence="CC0-1.0")
    assert not canary.exists()

    sizes = StyleGAN2Config(32, 32, 32, channel_base=256, channel_max=16, mapping_lr_multiplier=0.01)
    network = StyleGAN2(sizes)
    network.load_state_dict(state)
    expected = StyleGANGenerator(network, name="", licence="", fingerprint="")
    loaded = load_generator(str(tmp_path / "converted.safetensors"))
    z = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 32)).astype(np.float32))
    for generator in (converted, loaded):
        assert torch.equal(generator.latents(z), expected.latents(z))
        assert torch.equal(generator.images(generator.latents(z)), expected.images(expected.latents(z)))
    assert isinstance(loaded, StyleGANGenerator)
    assert all(torch.equal(value, state[name]) for name, value in loaded.network.state_dict().items())
    assert (loaded.licence, loaded.fingerprint) == ("CC0-1.0", converted.fingerprint)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_attributes_come_as_plain_values(writer: OfficialWriter, tmp_path: Path, protocol: int) -> None:
    own = {
        "gain": np.float64(1.5),
        "sizes": np.array([[4, 8]]),
        "shape": torch.Size([2, 3]),
        "kind": torch.float16,
        "device": torch.device("cpu"),
        "names": OrderedDict(a=1),
        "_hidden": 3,
    }
    inner = nn.Linear(2, 3)
    weight = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    network = writer.record(
        "Odd", **own, _init_args=(1, "a"), _parameters={"w": nn.Parameter(weight)}, _modules={"fc": inner}
    )
    official = read_official(writer.write(tmp_path / "official.pkl", {"D": network}, protocol), "D")
    assert (official.class_name, official.init_args, official.init_kwargs) == ("Odd", (1, "a"), {})
    attributes = official.attributes[""]
    assert attributes == {
        "gain": 1.5,
        "sizes": [[4, 8]],
        "shape": (2, 3),
        "kind": "torch.float16",
        "device": "cpu",
        "names": {"a": 1},
    }
    assert official.classes == {"": "Odd", "fc": "torch.nn.modules.linear.Linear"}
    assert official.attributes["fc"]["in_features"] == 2
    assert set(official.state) == {"w", "fc.weight", "fc.bias"}
    assert torch.equal(official.state["w"], weight)
    assert torch.equal(official.state["fc.weight"], inner.weight)


@pytest.mark.parametrize("protocol", [2, 4])
def test_harmless_helpers_of_old_files_stand_inert(
    writer: OfficialWriter, canary: Path, tmp_path: Path, protocol: int
) -> None:
    config, state = golden_network()
    own = {
        "act": partial(torch.nn.functional.leaky_relu, negative_slope=0.2),
        "options": writer.table(a=writer.table(b=np.float32(2))),
        "names": frozenset(["a"]),
        "kernel": np.ones((2, 2), dtype=np.float32),
        "loss": writer.reconstruct,  # a function that is only named
        "unknown_of_a_later_release": [None, True],
    }
    path = writer.write(tmp_path / "official.pkl", {"G_ema": writer.network(config, state, **own)}, protocol)
    attributes = read_official(path).attributes[""]
    assert not canary.exists()
    assert attributes["act"] == "an object of functools.partial"
    assert attributes["options"] == {"a": {"b": 2.0}}
    assert attributes["names"] == ["a"]
    assert attributes["kernel"] == [[1.0, 1.0], [1.0, 1.0]]
    assert attributes["loss"] == "the function torch_utils.persistence._reconstruct_persistent_obj"
    assert convert_official(path, tmp_path / "out.safetensors").family == "StyleGAN2"


def test_a_partial_runs_nothing(writer: OfficialWriter, canary: Path, refused: Callable[..., str]) -> None:
    network = writer.record("Generator", act=partial(os.system, f"touch {canary}"))
    assert "'posix.system', which is not admitted" in refused(pickle.dumps({"G_ema": network}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"c_dim": 5}, r"its mapping\.embed\.weight is missing"),
        ({"c_dim": -1}, "its c_dim is -1: expected a count from 0"),
        ({"architecture": "resnet"}, "are missing or unknown: expected a plain StyleGAN2"),
        ({"architecture": "rest"}, "its architecture is 'rest': expected one of orig, skip, resnet"),
        ({"img_resolution": 2**40}, "its resolution is 1099511627776"),
        ({"img_resolution": 64}, r"its synthesis\.b64\.conv1\.weight is missing"),
        ({"channel_max": 4000}, r"its synthesis\.b4\.conv1\.weight is of shape \(16, 16, 3, 3\)"),
        ({"w_dim": 4000}, r"its mapping\.fc0\.weight is of shape \(32, 32\)"),
        ({"mapping_kwargs": 3}, "its mapping_kwargs is 3: expected a table"),
        ({"conv_clamp": -1}, "its conv_clamp is -1: expected a positive number"),
    ],
)
def test_another_network_is_refused_by_what_differs(
    writer: OfficialWriter, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    config, state = golden_network()
    path = writer.write(tmp_path / "official.pkl", {"G_ema": writer.network(config | change, state)})
    with pytest.raises(CheckpointError, match=message):
        convert_official(path, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_another_family_is_named(writer: OfficialWriter, tmp_path: Path) -> None:
    names = {"": "Generator", "synthesis": "DiffusionUnet"}
    network = writer.module({"synthesis.first.weight": torch.zeros(2)}, names)
    path = writer.write(tmp_path / "official.pkl", {"G_ema": network})
    with pytest.raises(CheckpointError, match="a 'Generator' with 'DiffusionUnet': expected a generator of"):
        convert_official(path, tmp_path / "out.safetensors")


@pytest.mark.parametrize("value", [None, 256])
def test_a_clamp_is_taken_from_the_layers_where_no_argument_gives_it(
    writer: OfficialWriter, tmp_path: Path, value: int | None
) -> None:
    config, state = golden_network()
    del config["conv_clamp"]
    network = read_official(writer.write(tmp_path / "official.pkl", {"G_ema": writer.network(config, state)}))
    network.attributes["synthesis.b4.conv1"]["conv_clamp"] = value
    assert stylegan2_config(network).conv_clamp == value


def test_clamped_layers_stay_within_the_bound() -> None:
    network = StyleGAN2(StyleGAN2Config(8, 8, 8, channel_base=64, channel_max=8, conv_clamp=0.25))
    block = network.synthesis.b4
    images = block(None, None, block.modulations(torch.randn(2, 3, 8).unbind()))[1]
    assert images.shape == (3, 3, 4, 4)
    assert images.abs().max() <= 0.25


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


def test_a_storage_that_holds_a_pickle_is_refused(refused: Callable[..., str], canary: Path) -> None:
    evil = Reduced(os.system, f"touch {canary}")
    for payload in (pickle.dumps(evil, 2), legacy(evil), legacy(torch.FloatStorage, reference=evil)):
        message = refused(pickle.dumps({"G_ema": Reduced(torch.storage._load_from_bytes, payload)}))
        assert "'posix.system', which is not admitted" in message


def legacy(kind: Any, length: int = 2, counted: int = 2, numbers: bytes = bytes(8), reference: Any = "cpu") -> bytes:
    """A storage as torch.save wrote it before its zip format."""

    class Persistent(pickle._Pickler):  # type: ignore[name-defined,misc]
        def persistent_id(self, value: Any) -> Any:
            return value.as_tuple if isinstance(value, Reference) else None

    class Reference:
        as_tuple = ("storage", kind, "1", reference, length, None)

    from io import BytesIO

    file = BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(value, file, 2)
    Persistent(file, 2).dump(Reference())
    pickle.dump(["1"], file, 2)
    return file.getvalue() + struct.pack("<q", counted) + numbers


class Rebuilt(Reduced):
    """A tensor with freely chosen claims."""

    def __init__(self, payload: bytes, offset: Any, size: Any, stride: Any) -> None:
        storage = Reduced(torch.storage._load_from_bytes, payload)
        super().__init__(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, OrderedDict())


@pytest.mark.parametrize(
    ("storage", "claim", "message"),
    [
        ({"length": 2_500_000_000}, (0, (2,), (1,)), "claims 2500000000 numbers, but 8 bytes came"),
        ({"length": 2_500_000_000, "counted": 2_500_000_000}, (0, (2,), (1,)), "claims 2500000000 numbers"),
        ({"length": -1, "counted": -1}, (0, (2,), (1,)), "claims -1 numbers"),
        ({}, (0, (2_500_000_000,), (1,)), "does not fit its 2 numbers"),
        ({}, (0, (2_500_000_000,), (0,)), "does not fit its 2 numbers"),
        ({}, (1, (2,), (1,)), "does not fit its 2 numbers"),
        ({}, (-1, (2,), (1,)), "a tensor's offset is"),
        ({}, (0, (2,), (-1,)), "a tensor's stride is"),
        ({}, (0, (1,) * 100, (1,) * 100), "a tensor's size is"),
    ],
)
def test_a_tensor_that_claims_more_than_it_has_is_refused(
    refused: Callable[..., str], storage: dict[str, Any], claim: Any, message: str
) -> None:
    assert message in refused(pickle.dumps({"G_ema": Rebuilt(legacy(torch.FloatStorage, **storage), *claim)}))


def test_one_large_tensor_repeated_is_refused(refused: Callable[..., str], writer: OfficialWriter) -> None:
    tensor = torch.zeros(2**20)
    network = writer.record("Generator", _buffers={f"b{i}": tensor for i in range(1000)})
    assert "take more bytes than the file has" in refused(pickle.dumps({"G_ema": network}))


def test_billions_of_repeated_values_are_refused(refused: Callable[..., str], writer: OfficialWriter) -> None:
    laugh: Any = "ha"
    for _ in range(30):
        laugh = [laugh] * 10
    assert "more than 200,000 values" in refused(pickle.dumps({"G_ema": writer.record("Generator", laugh=laugh)}))
    module = writer.record("Layer")
    for _ in range(30):
        module = writer.record("Layer", _modules={str(i): module for i in range(10)})
    assert "more than 200,000 values" in refused(pickle.dumps({"G_ema": module}))


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


def test_deep_modules_are_refused(refused: Callable[..., str], writer: OfficialWriter) -> None:
    module = writer.record("Layer")
    for _ in range(40):
        module = writer.record("Layer", _modules={"a": module})
    assert "nested more than 32 deep" in refused(pickle.dumps({"G_ema": module}))


@pytest.mark.parametrize("version", [0, 7, "6", None, True])
def test_other_versions_are_refused(refused: Callable[..., str], writer: OfficialWriter, version: Any) -> None:
    message = refused(pickle.dumps({"G_ema": writer.record("Generator", version)}))
    assert f"persistence version {version!r} is not supported: ktl reads 1 to 6" in message


def test_every_truncation_and_trailing_data_are_refused(refused: Callable[..., str], writer: OfficialWriter) -> None:
    payload = pickle.dumps({"G_ema": writer.record("Generator", _buffers={"a": torch.zeros(3)}, gain=np.ones(2))})
    for end in range(0, len(payload), 7):
        refused(payload[:end])
    assert "1 bytes follow the pickle's end" in refused(payload + b"a")


def test_another_network_or_no_file_is_named(
    refused: Callable[..., str], writer: OfficialWriter, tmp_path: Path
) -> None:
    payload = pickle.dumps({"G": writer.record("Generator"), "G_ema": None})
    assert "it holds no network 'G_ema': choose one of ['G']" in refused(payload)
    with pytest.raises(CheckpointError, match=r"there is no network file .*absent\.pkl"):
        read_official(tmp_path / "absent.pkl")


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
    "claim": lambda: pickle.dumps({"G_ema": Rebuilt(legacy(torch.FloatStorage, 2_500_000_000), 0, (2,), (1,))}),
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
CLAIMS.append([[]])
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
