"""Writes files with the structure of the official StyleGAN network pickles."""

from __future__ import annotations

import json
import pickle
import struct
import sys
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ktl.generators.official.convert import read_network

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def golden_arrays(name: str) -> dict[str, np.ndarray]:
    """What the official code drew with a small network: z, c, ws_psi1, img_psi1, ..., beside its state."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        return dict(file)


def golden_network(name: str = "stylegan2-32") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The constructor arguments and the state of a small official network."""
    arrays = golden_arrays(name)
    config = json.loads(arrays["meta_json"].tobytes())["config"]
    state = {key.removeprefix("state/"): torch.from_numpy(arrays[key]) for key in arrays if "state/" in key}
    return config, state


def golden_copy(name: str) -> Any:
    """The same network as ktl's own."""
    return read_network(GOLDEN / f"{name}.npz").eval()


class Reduced:
    """An object that pickles as a call."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self._reduced = (call, arguments)

    def __reduce__(self) -> Any:
        return self._reduced


class OfficialWriter:
    """Pickles modules as `torch_utils.persistence` does, with a source text that would leave `canary` if run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, canary: Path) -> None:
        persistence = ModuleType("torch_utils.persistence")
        util = ModuleType("dnnlib.util")
        for module in (ModuleType("torch_utils"), persistence, ModuleType("dnnlib"), util):
            monkeypatch.setitem(sys.modules, module.__name__, module)

        def _reconstruct_persistent_obj(meta: Any) -> None:
            raise AssertionError("never called")

        _reconstruct_persistent_obj.__module__ = persistence.__name__
        _reconstruct_persistent_obj.__qualname__ = _reconstruct_persistent_obj.__name__
        persistence._reconstruct_persistent_obj = self.reconstruct = _reconstruct_persistent_obj
        util.EasyDict = self.table = type("EasyDict", (dict,), {"__module__": util.__name__})
        self.source = f"open({str(canary)!r}, 'w').close()\n"

    def record(self, class_name: str, version: Any = 6, **state: Any) -> Reduced:
        meta = {"type": "class", "version": version, "module_src": self.source, "class_name": class_name}
        return Reduced(self.reconstruct, meta | {"state": state})

    def module(
        self,
        state: dict[str, Tensor],
        class_names: dict[str, str],
        name: str = "",
        attributes: dict[str, dict[str, Any]] | None = None,
        **own: Any,
    ) -> Reduced:
        """The module `name` of a network with `state`, and all those in it; `attributes` are each one's own."""
        attributes = attributes or {}
        inside = {key.removeprefix(f"{name}." if name else ""): value for key, value in state.items()}
        here = {key: value for key, value in inside.items() if "." not in key}
        learned = {"weight", "bias", "const", "noise_strength"}
        deeper = {
            child: {key: value for key, value in state.items() if f"{key}.".startswith(f"{name}.{child}.".lstrip("."))}
            for child in dict.fromkeys(key.split(".")[0] for key in inside if "." in key)
        }
        return self.record(
            class_names.get(name, "Layer"),
            training=False,
            _parameters={key: nn.Parameter(value, False) for key, value in here.items() if key in learned},
            _buffers={key: value for key, value in here.items() if key not in learned},
            _non_persistent_buffers_set=set(),
            _modules={
                child: self.module(part, class_names, f"{name}.{child}".lstrip("."), attributes)
                for child, part in deeper.items()
            },
            **attributes.get(name, {}),
            **own,
        )

    def network(self, config: dict[str, Any], state: dict[str, Tensor], **own: Any) -> Reduced:
        first = "SuperresGenerator" if "head_layers" in config else "Generator"
        names = {"": first, "mapping": "MappingNetwork", "synthesis": "SynthesisNetwork"}
        return self.module(state, names, _init_args=(), _init_kwargs=self.table(config), **own)

    def write(self, path: Path, networks: Any, protocol: int = 4) -> Path:
        path.write_bytes(pickle.dumps(networks, protocol))
        return path


def legacy_storage(
    kind: Any, length: int = 2, counted: int = 2, numbers: bytes = bytes(8), reference: Any = "cpu"
) -> bytes:
    """A storage as torch.save wrote it before its zip format."""

    class Persistent(pickle._Pickler):  # type: ignore[name-defined,misc]
        def persistent_id(self, value: Any) -> Any:
            return value.as_tuple if isinstance(value, Reference) else None

    class Reference:
        as_tuple = ("storage", kind, "1", reference, length, None)

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
