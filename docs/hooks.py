"""What MkDocs adds to the pages of this folder: references that are made from the code, and the examples' files."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click

ROOT = Path(__file__).resolve().parents[1]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    document = openapi()
    made = {
        "reference/cli.md": command_reference(),
        "reference/http.md": http_reference(document),
        "reference/openapi.json": json.dumps(document, indent=1),
    }
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    for example in sorted(each for each in (ROOT / "examples").rglob("*") if each.is_file()):
        if "__pycache__" not in example.parts:
            name = example.relative_to(ROOT).as_posix()
            included = File.generated(config, name, abs_src_path=str(example), inclusion=InclusionLevel.INCLUDED)
            files.append(included)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to examples leave docs/ in the repository; on the site the examples lie in its root."""
    return re.sub(r"\]\(\.\./((?:\.\./)*examples/)", r"](\1", markdown)


def command_reference() -> str:
    """Every command with its options, as `ktl ... --help` prints them."""
    from ktl_cli.main import app

    command = typer.main.get_command(app)
    text: str = get_docs_for_click(obj=command, ctx=typer.Context(command, info_name="ktl"), name="ktl")
    return re.sub(r"(`[^`]*`)|<", lambda found: found[1] or "&lt;", text)  # <name> outside of code would be a tag


def openapi() -> dict[str, Any]:
    """The OpenAPI document of this version's server."""
    from ktl.cloud.service.app import create_app
    from ktl.cloud.service.batching import BatchingGenerator
    from ktl.cloud.service.chosen import chosen_generator, chosen_space
    from ktl.cloud.service.database import Database
    from ktl.cloud.service.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/empty.db"
        settings = Settings(database=url)
        generator = BatchingGenerator(chosen_generator(settings))
        return create_app(settings, Database(url), generator, chosen_space(settings, generator)).openapi()


def http_reference(document: dict[str, Any]) -> str:
    """The routes of an OpenAPI document as a page."""
    lines = [
        "# HTTP reference",
        "",
        "Made from the server's [OpenAPI document](openapi.json), which a running server has at `/openapi.json`.",
        "[The protocol](protocol.md) explains what the routes are for.",
        "",
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            lines += [f"## `{method.upper()} {path}`", "", operation.get("description", operation["summary"]), ""]
            lines += list(parameter_rows(operation))
            for status, answer in operation["responses"].items():
                kinds = ", ".join(f"`{kind}`" for kind in answer.get("content", {}))
                lines.append(f"- **{status}** {answer['description']}{f' ({kinds})' if kinds else ''}")
            lines.append("")
    return "\n".join(lines)


def parameter_rows(operation: dict[str, Any]) -> Iterator[str]:
    if not operation.get("parameters"):
        return
    yield from ("| parameter | in | | |", "|---|---|---|---|")
    for each in operation["parameters"]:
        schema = {key: value for key, value in each["schema"].items() if key != "title"}
        needed = "required" if each.get("required") else ""
        yield f"| `{each['name']}` | {each['in']} | {needed} | `{json.dumps(schema).replace('|', '&#124;')}` |"
    yield ""
