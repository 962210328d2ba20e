"""`ktl methods`, `ktl models` and the like: what can be chosen by name, and what each choice has to set."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import typer
from rich.table import Table

from ktl.errors import UsageError
from ktl.registry import Registry, imported
from ktl.settings import Described, Settings, as_table, describe

from .console import output


@dataclass(frozen=True)
class Listing:
    """`registry` as module:NAME; `option` takes a name; `--set` finds a choice's settings at `place`, if it has any."""

    command: str
    purpose: str
    registry: str
    option: str
    place: str | None = None


LISTINGS = [
    Listing("datasets", "The data sets that --data accepts.", "ktl.data:DATASETS", "--data"),
    Listing("models", "The models that --model accepts.", "ktl.models:MODELS", "--model"),
    Listing("methods", "What edges and a cloud exchange in a federation.", "ktl.methods:METHODS", "--method", "method"),
    Listing("transfers", "How an edge learns from pairs.", "ktl.objectives:TRANSFERS", "--transfer", "transfer"),
    Listing(
        "alignments", "How prototypes become latents.", "ktl.alignment:ALIGNMENTS", "--alignment", "cloud.alignment"
    ),
    Listing("spaces", "What the vectors of pairs are.", "ktl.spaces:SPACES", "--space", "cloud.space"),
    Listing("encoders", "What embeds the images, for --space encoder.", "ktl.encoders:ENCODERS", "cloud.space.encoder"),
    Listing("generators", "What draws the images.", "ktl.generators:GENERATORS", "--generator", "cloud.generator"),
]
PATHS = {
    "--data": [
        ("FOLDER", "train/<class>/* and test/<class>/*, or <class>/* (a quarter is held out to test)"),
        ("FILE.npz", "uint8 x_train, x_test (n, h, w[, c]); integer y_train, y_test; optional class_names"),
    ],
    "cloud.space.encoder": [("FILE.safetensors", "what `ktl encoder train` wrote")],
}


def add_listings(app: typer.Typer) -> None:
    """Adds the commands of LISTINGS."""
    for listing in LISTINGS:
        app.command(listing.command, help=listing.purpose)(_printing(listing))


def _printing(listing: Listing) -> Callable[[], None]:
    def command() -> None:
        print_choices(imported(listing.registry), listing.option, listing.place)

    return command


def print_choices(registry: Registry, option: str, place: str | None) -> None:
    """Prints each choice of `registry`, ktl's own and installed ones, and below it the settings that it has.

    `option` takes a name. `place` is where `--set` finds the settings; of None there are none, and nothing is imported.
    """
    table = Table(box=None, pad_edge=False)
    table.add_column(option)
    table.add_column("what it is")
    example = None
    for name in registry.names():
        table.add_row(name, _summary(registry, name))
        for setting in _settings(registry, name) if place else []:
            table.add_row(f"  {setting.name} = {_text(setting.default)}", _explained(setting))
            if example is None and setting.default is not None:
                example = f"{place}.{setting.name}={_text(setting.default)}"
    for row in PATHS.get(option, []):
        table.add_row(*row)
    table.add_row("module:Class" if option != "--data" else "module:function", "yours, if Python can import it")
    output.print(table)
    if option == "--generator":
        output.print("\nset those of diffusers in its name, diffusers:FOLDER_OR_ID?steps=4&size=512;")
        output.print(f"set those of other packages by --set {place}.NAME=VALUE")
    elif example:
        output.print(f"\nset them by their names: --set {shlex.quote(example)}; null stands for none")
    elif option == "--model":
        output.print("\nany classifier of torchvision, from scratch: torchvision.models:efficientnet_b0 and its like")
    elif option == "--data":
        from ktl.data.vision import data_folder

        output.print(f"\ndownloads are kept in {data_folder()}")


def _summary(registry: Registry, name: str) -> str:
    """One package that cannot be loaded hides no other's."""
    try:
        return registry.summary(name)
    except UsageError as error:
        return f"unusable: {error}"


def _settings(registry: Registry, name: str) -> list[Described]:
    try:
        return describe(registry.settings_of(name))
    except UsageError:  # the summary says so
        return []


def _explained(setting: Described) -> str:
    return f"{setting.expected}: {setting.description}" if setting.description else setting.expected


def _text(default: Any) -> str:
    """A default as `--set` takes it."""
    if isinstance(default, str):
        return default
    return json.dumps(as_table(default) if isinstance(default, Settings) else default)
