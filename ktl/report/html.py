"""What every page of the report shares: templates, how numbers are written, and a file that is whole or not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ktl.errors import CheckpointError
from ktl.report.figures import Drawing


def render_template(name: str, **values: Any) -> str:
    """The page that a template of this package makes of `values`."""
    environment = Environment(
        loader=PackageLoader("ktl.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {"percent": _percent, "bytes": _bytes, "svg": _svg}
    environment.filters.update(filters)
    return environment.get_template(name).render(**values)


def save_page(html: str, out: Path) -> None:
    """Writes `out`, making its folder. Raises CheckpointError if it cannot be written."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = out.with_name(f".{out.name}.tmp")
        temporary.write_text(html, encoding="utf-8")
        temporary.replace(out)
    except OSError as error:
        raise CheckpointError(f"cannot write {out}: {error.strerror or error}; name another --out") from error


def _svg(drawing: Drawing) -> Markup:
    return Markup(drawing.svg)  # drawn by matplotlib, which escapes what it writes


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _bytes(count: float) -> str:
    if count < 1_000:
        return f"{count:.0f} B"
    return f"{count / 1e3:.1f} kB" if count < 1_000_000 else f"{count / 1e6:.2f} MB"
