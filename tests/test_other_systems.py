"""Windows and macOS as far as Linux can play them: what they lack is taken away, what they refuse is refused."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from ktl.cloud.embedded import EmbeddedCloud
from ktl.data import data_name
from ktl.edge.compare import Comparison, train_beside_local
from ktl.edge.inference.predictor import Predictor
from ktl.edge.settings import RunConfig
from ktl.errors import UsageError
from ktl.learning.settings import TrainingConfig
from ktl.machine import cores, peak_memory

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [file for room in ("ktl", "cli") for file in sorted((ROOT / room).rglob("*.py"))]
POSIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
POSIX_CALLS = {"fork", "forkpty", "getuid", "geteuid", "killpg", "sched_getaffinity", "setsid", "statvfs", "uname"}
POSIX_SIGNALS = {"SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGSTOP", "SIGUSR1", "SIGUSR2"}
RESERVED = re.compile(r'[<>:"/\\|?*\x00-\x1f]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)


def is_open(path: str) -> bool:
    """Whether this process has a file open, or maps it: Windows then neither replaces nor deletes it."""
    real = os.path.realpath(path)
    opened = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    return real in opened or f" {real}\n" in Path("/proc/self/maps").read_text()


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what Windows lacks; a file that is open can be neither replaced nor deleted."""
    if sys.platform != "linux":
        pytest.skip("which files are open is read from /proc")
    for name in POSIX_MODULES:
        monkeypatch.setitem(sys.modules, name, None)
    for module, names in ((os, POSIX_CALLS), (signal, POSIX_SIGNALS)):
        for name in names:
            monkeypatch.delattr(module, name)
    for name in ("replace", "unlink", "remove"):
        real = getattr(os, name)

        def refused(*paths: os.PathLike[str], real: object = real, **options: object) -> None:
            for path in paths:
                if is_open(os.fspath(path)):
                    raise PermissionError(13, "the process cannot access the file because it is being used", str(path))
            real(*paths, **options)

        monkeypatch.setattr(os, name, refused)


def names_under(folder: Path) -> Iterator[str]:
    return (part for path in folder.rglob("*") for part in path.relative_to(folder).parts)


def test_a_run_and_its_predictions_need_nothing_that_windows_lacks(
    finished: Comparison,
    windows: None,
    small_config: RunConfig,
    cloud: EmbeddedCloud,
    tmp_path: Path,
    photographs: Path,
) -> None:
    short = replace(small_config, rounds=2, training=TrainingConfig(steps=4))
    trained = train_beside_local(short, tmp_path / "run", cloud)
    again = train_beside_local(short, tmp_path / "run", cloud, resume=True)
    assert again.ktl.evaluation.confusion.equal(trained.ktl.evaluation.confusion)
    [prediction] = Predictor(tmp_path / "run").predict([photographs / "00.png"])
    assert prediction.error is None
    assert len(set(names_under(tmp_path))) > 10
    assert [name for name in names_under(tmp_path) if RESERVED.search(name)] == []


def test_a_file_in_use_is_refused_by_the_windows_of_these_tests(windows: None, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "new").write_bytes(b"new")
    with open(tmp_path / "old", "rb"), pytest.raises(PermissionError):
        os.replace(tmp_path / "new", tmp_path / "old")
    os.replace(tmp_path / "new", tmp_path / "old")
    with pytest.raises(ImportError):
        import fcntl  # noqa: F401


def test_what_posix_alone_has_is_loaded_where_it_is_used_and_only_the_service_uses_it() -> None:
    early, elsewhere = [], []
    for file in SOURCES:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)}
        early += [f"{file}: {name}" for name in names & POSIX_MODULES]
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        if file.parent != ROOT / "ktl/cloud/service":
            elsewhere += [f"{file}: {name}" for name in used & (POSIX_CALLS | POSIX_SIGNALS)]
    assert (early, elsewhere) == ([], [])


def test_text_files_are_utf_8_everywhere() -> None:
    """Without an encoding Windows would take its own."""
    bare = []
    for file in SOURCES:
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or any(keyword.arg == "encoding" for keyword in call.keywords):
                continue
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            modes = [each.value for each in call.args if isinstance(each, ast.Constant)]
            text = name == "open" and (
                any(re.fullmatch(r"[rwax]\+?t?", str(mode)) for mode in modes)
                or (isinstance(call.func, ast.Name) and len(call.args) == 1 and not call.keywords)
            )
            if text or name in ("read_text", "write_text"):
                bare.append(f"{file}:{call.lineno}")
    assert bare == []


@pytest.mark.parametrize("engine", ["process", "ray"])
def test_the_service_says_that_it_is_not_for_windows(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ktl_cli.cloud_engine import serving

    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(UsageError, match="the cloud service runs on Linux and macOS; on Windows start it in WSL"):
        serving(engine)


def test_memory_and_cores_where_the_system_counts_them_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(psutil.Process, "memory_info", lambda process: SimpleNamespace(peak_wset=7 * 2**20))
    assert peak_memory() == 7 * 2**20
    monkeypatch.delattr(psutil.Process, "cpu_affinity")  # on macOS
    assert cores() == list(range(psutil.cpu_count()))


def test_a_run_of_a_plugin_s_data_has_a_name_that_windows_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ktl_cli.console import unused_folder

    monkeypatch.chdir(tmp_path)
    assert unused_folder(f"{data_name('own:shapes')}-2shot-seed0") == Path("runs/own_shapes-2shot-seed0")


def test_a_letter_that_the_output_s_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    """Of a pipe on Windows, which takes 256 letters."""
    code = "import sys, ktl_cli.main as main; main.main = lambda: print(sys.argv[1]); main.script()"
    shown = subprocess.run(
        [sys.executable, "-c", code, "caf\u00e9 \u732b"],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        check=True,
    )
    assert shown.stdout.decode("cp1252").strip() == "caf\u00e9 \\u732b"
