"""What commands on a server's machine share: its settings as options, and its database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ktl.cloud.service.settings import CONFIG_VARIABLE, HINTS, Settings, default_text, has_units
from ktl.errors import KtlError
from ktl.settings import help_for

from .settings import Option

if TYPE_CHECKING:
    from ktl.cloud.service.database import Database


SERVER = {name: Option(name, default=default_text(name), written=has_units(name)) for name in HINTS}


def setting(name: str, *flags: str) -> Any:
    """A server's setting as an option: what it is for and its default are those of the service's `Settings`."""
    return typer.Option(*flags, help=help_for(Settings, name), show_default=default_text(name) or False)


Config = Annotated[
    Path | None,
    typer.Option(
        help=f"A TOML file of settings; flags and KTL_CLOUD_* come first. Or {CONFIG_VARIABLE}.",
        envvar=CONFIG_VARIABLE,
        show_envvar=False,
    ),
]
DatabaseUrl = Annotated[str | None, setting("database")]


@contextmanager
def needs_extra() -> Iterator[None]:
    """Turns a missing package of the extra into a line that says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("ktl"):
            raise
        raise KtlError(f"`ktl cloud` needs {error.name}: pip install 'ktl[cloud]'") from error


def opened(settings: Settings) -> Database:
    """A server's database, which it has made. Raises KtlError for any other."""
    from ktl.cloud.service.database import Database

    database = Database(settings.database, new=False)
    database.check()
    return database
