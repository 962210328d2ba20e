"""The script of a bundle: one file, with ktl's own definition of reading a picture in it."""

from __future__ import annotations

import ast
import re
from importlib.resources import files

IMPORT = re.compile(r"^from (ktl[\w.]*) import .*\n", re.MULTILINE)
FUTURE = "from __future__ import annotations\n"


def predict_script() -> str:
    """The text of predict.py: `ktl.edge.inference.standalone` with what it takes from ktl put in its place."""
    return IMPORT.sub(_inlined, _text("ktl.edge.inference.standalone"))


def _inlined(statement: re.Match[str]) -> str:
    text = _text(statement[1])
    about = ast.parse(text).body[0]
    body = "\n".join(text.splitlines()[about.end_lineno :]).replace(FUTURE, "").strip()
    return f"# of {statement[1]}\n{IMPORT.sub(_inlined, body)}\n"


def _text(module: str) -> str:
    package, _, name = module.rpartition(".")
    return files(package).joinpath(f"{name}.py").read_text(encoding="utf-8")
