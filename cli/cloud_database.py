"""What commands on a server's machine share: its settings as options, and its database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ktl.cloud.service.settings import CONFIG_VARIABLE, HINTS, Settings, default_text
from ktl.errors import KtlError
from ktl.settings import help_for

if TYPE_CHECKING:
    from ktl.cloud.service.database import Database


def setting(name: str, *flags: str) -> Any:
    """A server's setting as an option: what it is for and its default are those of the service's `Settings`."""
    return typer.Option(*flags, help=help_for(Settings, name), show_default=default_text(name) or False)


def with_every_setting(command: Callable[..., None]) -> Callable[..., None]:
    """The command with a flag for each setting, in place of its `**flags`: None if it was not given, else as text.

    A switch is true or None.
    """

    def flag(name: str) -> Parameter:
        is_switch = isinstance(getattr(Settings, name), bool)
        kind = Annotated[bool | None, setting(name, f"--{name}")] if is_switch else Annotated[str | None, setting(name)]
        return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=kind)

    own = [each for each in signature(command, eval_str=True).parameters.values() if each.kind != each.VAR_KEYWORD]
    command.__signature__ = Signature([*map(flag, HINTS), *own])  # type: ignore[attr-defined]
    return command


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
