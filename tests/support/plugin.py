"""A package of somebody else's, as if it were installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ktl.registry import Registry


def write_package(folder: Path, group: str, entries: dict[str, str], **modules: str) -> None:
    """Writes modules by name, and the metadata that registers `entries` (a name, its module:attribute) in `group`."""
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    metadata = folder / "somebodys-0.1.dist-info"
    metadata.mkdir(exist_ok=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys\nVersion: 0.1\n")
    lines = "".join(f"{name} = {target}\n" for name, target in entries.items())
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{lines}")


@contextmanager
def installed(folder: Path, registry: Registry, entries: dict[str, str], **modules: str) -> Iterator[None]:
    """Inside, the package that `write_package` writes into `folder` is installed, and `registry` reads it anew."""
    write_package(folder, registry.group, entries, **modules)
    sys.path.insert(0, str(folder))
    registry.__dict__.pop("_registered", None)
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        registry.__dict__.pop("_registered", None)
        for name in modules:
            sys.modules.pop(name, None)
