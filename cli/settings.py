"""Options that come from settings classes: type, default, range and help are said once, beside the field."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_origin

import typer

from ktl.errors import UsageError
from ktl.settings import Settings, setting_at, value_of

Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any other setting, as often as needed: --set transfer.temperature=0.1. `ktl transfers`, `ktl methods` "
        "and the like list them.",
        show_default=False,
    ),
]


DEFAULT = "DEFAULT"  # where the value of a parameter that was not given comes from, by name in every typer
CONTEXT = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)


@dataclass(frozen=True)
class Option:
    """An option that stands for a field of a settings class, by its dotted name.

    help: instead of what the field says; default: in words, where it is not the field's or wants words;
    of: the settings class of a choice's own field; written: a number that may be written with a unit.
    """

    path: str
    help: str = ""
    default: str | None = None
    of: type[Settings] | None = None
    written: bool = False


def with_options(
    kind: type[Settings], options: Mapping[str, Option]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command `options` before its own; its `values` are those that were given, by the names of settings."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [*signature.parameters.values()]
        derived = [_parameter(kind, name, option) for name, option in options.items()]

        def run(context: typer.Context, **arguments: Any) -> None:
            given = [name for name in options if getattr(context.get_parameter_source(name), "name", "") != DEFAULT]
            values = {options[name].path: arguments[name] for name in given}
            command(values=values, **{name: arguments[name] for name in arguments if name not in options})

        named = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own if p.name != "values"]
        parameters = [CONTEXT, *derived, *named]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        run.__doc__, run.__name__ = command.__doc__, command.__name__
        return run

    return decorate


def assigned(assignments: list[str] | None) -> dict[str, Any]:
    """The values of `--set` by the dotted names of settings. Raises UsageError for what is no NAME=VALUE."""
    values: dict[str, Any] = {}
    for assignment in assignments or []:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {assignment} is no assignment: give NAME=VALUE, as in training.batch=16")
        values[name] = value_of(text)
    return values


def _parameter(kind: type[Settings], name: str, option: Option) -> inspect.Parameter:
    setting = setting_at(kind, option.path) if option.of is None else setting_at(option.of, option.path.split(".")[-1])
    plain = setting.kind if setting.kind in (int, float, bool) and not option.written else str
    words = option.help or setting.description
    if get_origin(setting.kind) is Literal and "|" not in words:
        words = setting.expected.removeprefix("one of ").replace(", ", " | ") + (f": {words}" if words else "")
    default = None if option.default else setting.default
    if plain is bool and default is False:  # a switch, of one name
        info = typer.Option(f"--{name.replace('_', '-')}", help=words, show_default=False)
    else:
        info = typer.Option(help=words, show_default=option.default or default is not None)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[plain | None, info]
    )
