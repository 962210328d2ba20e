"""What every page of the report shares: templates, how numbers and settings are written, and the page's file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError
from markupsafe import Markup

from ktl.errors import CheckpointError
from ktl.files import write_atomically
from ktl.formatting import in_bytes, in_percent
from ktl.report.figures import Drawing
from ktl.settings import named_values


def render_template(name: str, **values: Any) -> str:
    """The page that a template of this package makes of `values`.

    Raises CheckpointError where a run's settings lack what the page shows.
    """
    environment = Environment(
        loader=PackageLoader("ktl.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {"percent": in_percent, "bytes": in_bytes, "svg": _svg}
    environment.filters.update(filters)
    try:
        return environment.get_template(name).render(**values)
    except UndefinedError as error:
        raise CheckpointError(f"a run's config.json is damaged or from another ktl ({error}); start it anew") from error


def save_page(html: str, out: Path) -> None:
    """Writes `out`, making its folder. Raises CheckpointError if it cannot be written."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot write {out}: {error.strerror or error}; name another --out") from error
    write_atomically(out, html.encode(errors="backslashreplace"))  # a path need not be text


def _svg(drawing: Drawing) -> Markup:
    return Markup(drawing.svg)  # drawn by matplotlib, which escapes what it writes


def setting_texts(table: Mapping[str, Any]) -> dict[str, str]:
    """A run's settings by the names that `--set` takes: {"cloud.alignment": "robust", "transfer.temperature": "0.2"}.

    `table` is what `settings_table` gives.
    """
    return {name: str(value) for name, value in named_values(table).items()}
