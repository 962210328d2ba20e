"""examples/plugin as somebody installs it: a package of its own, in an environment of its own, through the console."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "examples" / "plugin"
MODULES = sorted((PLUGIN / "ktl_colour").glob("*.py"))
DOCS = "".join(page.read_text() for page in sorted((ROOT / "docs" / "extending").glob("*.md")))
SCRIPT = """#!{python}
import sys
from ktl_cli.main import main
if __name__ == "__main__":  # client processes import it again
    sys.exit(main())
"""
QUICK_ONES = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from ktl_cli.main import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["ktl", *command]
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as ended:
            print(json.dumps([ended.code, out.getvalue(), err.getvalue()]), file=sys.__stdout__)
"""
SMALL = ["--data", "colour-shapes", "--image-size", "16", "--steps", "4"]
EDGE = [*SMALL, "--warmup-steps", "4", "--pairs-per-class", "8", "--threads", "1"]

Ktl = Callable[..., "subprocess.CompletedProcess[str]"]
Answer = tuple[int, str, str]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with this checkout, what it depends on, and the plug-in as pip installs it."""
    folder = tmp_path_factory.mktemp("plugin")
    source, home = folder / "source", folder / "environment"
    shutil.copytree(PLUGIN, source)  # building leaves files in it
    venv.create(home, with_pip=False)
    [packages] = home.glob("lib/python3*/site-packages")
    present = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    lines = [str(ROOT), *(f"import site; site.addsitedir({path!r})" for path in present)]
    (packages / "checkout.pth").write_text("\n".join(lines) + "\n")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", packages, source], check=True)
    script = home / "bin" / "ktl"
    script.write_text(SCRIPT.format(python=home / "bin" / "python"))
    script.chmod(0o755)
    return home


@pytest.fixture
def ktl(environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ktl:
    """ktl("edge", "train", ...) in the plug-in's environment, in an empty folder."""
    monkeypatch.setenv("COLUMNS", "300")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(environment / "bin" / "ktl"), *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def quick_ones(environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Answer]]:
    """Exit code, output and errors of several commands in one process, as starting one takes seconds."""
    monkeypatch.setenv("COLUMNS", "300")

    def run(commands: list[list[str]]) -> list[Answer]:
        command = [environment / "bin" / "python", "-c", QUICK_ONES, json.dumps(commands)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return [tuple(json.loads(line)) for line in done.stdout.splitlines()]

    return run


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.stem))
def test_a_file_fits_thirty_lines(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= 30


def test_the_docs_show_the_files_as_they_are() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", DOCS, flags=re.MULTILINE | re.DOTALL)
    shown = {module.read_text() for module in MODULES if module.stem != "__init__"}
    assert len(shown) == 9
    assert shown < set(blocks)
    [registered] = re.findall(r"^```toml\n(.*?)^```$", DOCS, flags=re.MULTILINE | re.DOTALL)
    assert registered in (PLUGIN / "pyproject.toml").read_text()
    assert registered.count(" = ") == 9


LISTED = [
    ("methods", "shared-bias", "Each client's bias goes", "share = 0.5 a number of at least 0 and at most 1: How far"),
    ("methods", "proximal-bias", "As shared-bias, and each", "share = 0.5 a number of at least 0"),
    ("transfers", "cosine", "The cosine distance", "margin = 0.0 a number of at least 0 and below 2: Cosine"),
    ("alignments", "nearest-noise", "The same draws", "draws = 10 a whole number of at least 1 and at most 100"),
    ("spaces", "brightness-grid", "How bright each cell", "cells = 4 a whole number of at least 2 and at most 32"),
    ("encoders", "colour-histogram", "How many pixels have", None),
    ("generators", "blobs", "Four soft blobs", "radius = 0.6 a number above 0 and at most 2: Of a blob"),
    ("models", "depthwise", "Depthwise separable convolutions", None),
    ("datasets", "colour-shapes", "Discs, squares and crosses", None),
]


def test_listings_show_it_with_its_settings(quick_ones: Callable[..., list[Answer]]) -> None:
    answers = quick_ones([[listing] for listing, *_ in LISTED])
    for (_, name, words, setting), (_, out, _) in zip(LISTED, answers, strict=True):
        lines = [" ".join(line.split()) for line in out.splitlines()]
        [row] = [index for index, line in enumerate(lines) if line.startswith(f"{name} {words}")]
        assert setting is None or [line for line in lines[row + 1 : row + 10] if line.startswith(setting)]


def test_an_edge_trains_with_it_by_name(ktl: Ktl, tmp_path: Path) -> None:
    names = ["--model", "depthwise", "--generator", "blobs", "--alignment", "nearest-noise", "--transfer", "cosine"]
    settings = ["transfer.margin=0.1", "cloud.generator.radius=0.5", "cloud.alignment.draws=5"]
    ended = ktl("edge", "train", *EDGE, *names, *(f"--set={setting}" for setting in settings), "--out", "run")
    assert ended.returncode == 0, ended.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["model"], config["data"]["source"]) == ("depthwise", "colour-shapes")
    assert config["transfer"]["name"] == "cosine"
    assert config["transfer"]["settings"]["margin"] == 0.1
    assert config["cloud"]["generator"] == {"name": "blobs", "settings": {"radius": 0.5}}
    assert config["cloud"]["alignment"] == {"name": "nearest-noise", "settings": {"draws": 5}}
    [row] = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert 0 < row["pair_loss"] < 2
    assert (tmp_path / "run" / "model.onnx").is_file()


@pytest.mark.slow
def test_clients_train_with_it_by_name(ktl: Ktl, tmp_path: Path) -> None:
    options = [
        "--clients",
        "2",
        "--rounds",
        "2",
        "--models",
        "depthwise",
        "--workers",
        "0",
        "--set",
        "method.share=0.25",
    ]
    ended = ktl("federate", "--method", "local,shared-bias,proximal-bias", *SMALL, *options, "--out", "runs")
    assert ended.returncode == 0, ended.stderr
    config = json.loads((tmp_path / "runs" / "shared-bias" / "config.json").read_text())
    assert config["method"] == {"name": "shared-bias", "settings": {"share": 0.25}}
    rows = {
        name: [json.loads(line) for line in (tmp_path / "runs" / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("local", "shared-bias", "proximal-bias")
    }
    assert [row["numbers_up"] for row in rows["local"]] == [0, 0]
    assert [row["numbers_up"] for row in rows["shared-bias"]] == [6, 6]  # 2 clients, 3 classes
    assert [row["numbers_down"] for row in rows["shared-bias"]] == [0, 6]
    shared, proximal = ([row["shot_loss"] for row in rows[name]] for name in ("shared-bias", "proximal-bias"))
    assert shared[0] == proximal[0]  # nothing has come down yet
    assert shared[1] != proximal[1]


@pytest.mark.slow
def test_it_needs_no_package(ktl: Ktl, tmp_path: Path) -> None:
    for name in ("transfer", "generator", "model"):
        shutil.copy(PLUGIN / "ktl_colour" / f"{name}.py", tmp_path / f"own_{name}.py")
    names = ["--transfer", "own_transfer:CosineRegression", "--generator", "own_generator:Blobs"]
    model = ["--model", "own_model:DepthwiseCNN", "--set", "transfer.margin=0.2"]
    ended = ktl("edge", "train", *EDGE, *names, *model, "--out", "run")
    assert ended.returncode == 0, ended.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["transfer"]["name"] == "own_transfer:CosineRegression"
    assert config["transfer"]["settings"]["margin"] == 0.2


REFUSED = [
    ("edge train --transfer cosine", "transfer.margin=3", "margin is 3: give a number of at least 0 and"),
    ("federate --method local,shared-bias", "method.share=2", "share is 2: give a number of at least 0 and"),
    ("federate --method local,shared-bias", "method.sahre=1", "no setting method.sahre of local, shared-bias"),
]


def test_a_wrong_setting_is_refused(quick_ones: Callable[..., list[Answer]], tmp_path: Path) -> None:
    options = ["--data", "colour-shapes", "--out", "run", "--set"]
    answers = quick_ones([[*command.split(), *options, setting] for command, setting, _ in REFUSED])
    for (_, _, refusal), (code, _, err) in zip(REFUSED, answers, strict=True):
        assert code == 2
        assert refusal in err
        assert not (tmp_path / "run").exists()


def test_choices_are_made_in_python_as_the_docs_say(environment: Path) -> None:
    [program] = [block for block in re.findall(r"```python\n(.*?)```", DOCS, flags=re.DOTALL) if "RunConfig(" in block]
    checks = "assert run.transfer.settings.margin == 0.1\nassert federation.method.settings.share == 0.25\n"
    subprocess.run([environment / "bin" / "python", "-c", program + checks], check=True)


def test_its_types_are_checked_against_ktls(environment: Path, tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    (tmp_path / "wrong.py").write_text("from ktl import TransferSettings\n\nweight: str = TransferSettings().weight\n")
    # the project's settings and cache, in which ktl has mostly been read already
    options = ["--strict", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    command = [sys.executable, "-m", "mypy", *options, "--python-executable", str(environment / "bin" / "python")]
    ended = subprocess.run(
        [*command, "-p", "ktl_colour", "-m", "wrong"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    [error, summary] = ended.stdout.splitlines()
    assert error.startswith('wrong.py:3: error: Incompatible types in assignment (expression has type "float"')
    assert summary.startswith("Found 1 error in 1 file (checked 11 source files)")
