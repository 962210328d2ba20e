"""`ktl cloud token` and `gc`; `serve` is tested as a process in tests/cloud/service/test_durability.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.served import ServedCloud

from ktl.cloud.service.database import Database
from ktl.cloud.service.settings import Settings
from ktl.cloud.service.store import Opening, Store
from ktl.cloud.service.tokens import Tokens
from ktl.settings import describe

Ktl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'cloud.db'}"
    Database(url).upgrade()
    return url


def listed(ktl: Ktl, database: str) -> list[dict[str, str]]:
    return [
        json.loads(line) for line in ktl("cloud", "token", "list", "--json", "--database", database).stdout.splitlines()
    ]


def test_every_setting_of_a_server_is_a_flag(ktl: Ktl) -> None:
    shown = ktl("cloud", "serve", "--help").stdout
    for setting in describe(Settings):
        assert f"--{setting.name.replace('_', '-')} " in shown, setting.name


def test_a_token_from_creation_to_revocation(ktl: Ktl, database: str) -> None:
    secret = ktl("cloud", "token", "create", "cam-7", "--database", database).stdout.strip()
    boss = ktl("cloud", "token", "create", "boss", "--scope", "admin", "--database", database).stdout.strip()
    tokens = Tokens(Database(database))
    caller, admin = tokens.caller(secret), tokens.caller(boss)
    assert caller is not None
    assert admin is not None
    assert (caller.name, caller.sees, admin.name, admin.sees) == ("cam-7", "cam-7", "boss", None)
    assert [(row["name"], row["scope"], row["revoked"]) for row in listed(ktl, database)] == [
        ("cam-7", "edge", ""),
        ("boss", "admin", ""),
    ]
    done = ktl("cloud", "token", "revoke", caller.token, "--database", database)
    assert done.stdout == f"revoked: {caller.token} (cam-7, edge)\n"
    assert tokens.caller(secret) is None
    assert tokens.caller(boss) is not None
    assert listed(ktl, database)[0]["revoked"]
    table = ktl("cloud", "token", "list", "--database", database).stdout
    assert "cam-7" in table
    assert secret.split("_", 2)[2] not in table


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["create", "a b"], "the token name 'a b' must be 1 to 64"),
        (["create", "a", "--scope", "root"], "unknown scope 'root': choose one of edge, admin, metrics"),
        (["revoke", "nothing"], "there is no token 'nothing'"),
    ],
)
def test_a_wrong_token_command_is_refused(ktl: Ktl, database: str, arguments: list[str], reason: str) -> None:
    done = ktl("cloud", "token", *arguments, "--database", database)
    assert done.returncode == 2
    assert reason in done.stderr


def test_many_tokens_come_as_lines_or_files_that_their_owner_alone_reads(
    ktl: Ktl, database: str, tmp_path: Path
) -> None:
    (tmp_path / "names.txt").write_text("cam-2\ncam-3\n")
    create = ("cloud", "token", "create", "cam-1", "--names-file", tmp_path / "names.txt", "--database", database)
    lines = [line.split() for line in ktl(*create, "--expires", "90d").stdout.splitlines()]
    assert [name for name, _ in lines] == ["cam-1", "cam-2", "cam-3"]
    assert {row["expires"][:4] for row in listed(ktl, database)} != {""}
    done = ktl(*create, "--into", tmp_path / "tokens")
    assert (done.returncode, done.stdout) == (0, "")
    files = sorted((tmp_path / "tokens").iterdir())
    assert [(file.name, oct(file.stat().st_mode)[-3:]) for file in files] == [
        (f"cam-{i}.token", "600") for i in (1, 2, 3)
    ]
    caller = Tokens(Database(database)).caller(files[2].read_text().strip())
    assert caller is not None
    assert caller.name == "cam-3"
    tokens = len(listed(ktl, database))
    again = ktl(*create, "--into", tmp_path / "tokens")
    assert (again.returncode, "cam-1.token is there already" in again.stderr) == (2, True)
    assert len(listed(ktl, database)) == tokens
    nobody = ktl("cloud", "token", "create", "--database", database)
    assert (nobody.returncode, "no name was given" in nobody.stderr) == (2, True)
    soon = ktl("cloud", "token", "create", "a", "--expires", "soon", "--database", database)
    assert "--expires is 'soon': expected a duration like 90s, 15m, 12h or 7d" in soon.stderr


def test_a_token_is_rotated(ktl: Ktl, database: str) -> None:
    old = ktl("cloud", "token", "create", "cam-7", "--scope", "metrics", "--database", database).stdout.strip()
    rotate = ("cloud", "token", "rotate", old.split("_")[1], "--database", database)
    new = ktl(*rotate, "--grace", "0s").stdout.strip()
    tokens = Tokens(Database(database))
    caller = tokens.caller(new)
    assert caller is not None
    assert (caller.name, caller.scope, tokens.caller(old)) == ("cam-7", "metrics", None)
    assert ktl(*rotate).returncode == 2


def test_making_a_token_loads_no_torch(database: str, tmp_path: Path) -> None:
    program = (
        "import sys; from ktl_cli.main import main\n"
        "try: main()\nfinally: print({'torch', 'fastapi', 'numpy'} & set(sys.modules), file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, "cloud", "token", "create", "cam-7", "--database", database]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ.copy(), capture_output=True, text=True)
    assert done.stdout.startswith("ktl_")
    assert done.stderr == "set()\n"


def test_health_asks_the_server_of_the_same_settings(
    ktl: Ktl, tmp_path: Path, tiny_generator_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ServedCloud(tmp_path, tiny_generator_file)
    try:
        (tmp_path / "cloud.toml").write_text(
            f"port = {server.url.rpartition(':')[2]}\nhost = '0.0.0.0'\ninsecure = true\n"
        )
        monkeypatch.setenv("KTL_CLOUD_CONFIG", str(tmp_path / "cloud.toml"))
        well = ktl("cloud", "health")
        assert (well.returncode, well.stdout) == (0, "ok\n")
    finally:
        server.stop()
    gone = ktl("cloud", "health")
    assert gone.returncode == 1
    assert "is not ready: " in gone.stderr


def test_a_database_that_no_server_made_is_refused(ktl: Ktl, tmp_path: Path) -> None:
    done = ktl("cloud", "token", "create", "cam-7", "--database", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    assert done.returncode == 2
    assert "elsewhere.db cannot be opened: No such file or directory" in done.stderr
    assert not [*tmp_path.iterdir()]


def test_gc_deletes_what_is_older_than_asked(ktl: Ktl, database: str) -> None:
    opened = Database(database)
    opened.upgrade()
    store = Store(opened)
    store.open_session(Opening("o", "k", b'{"a":1}', b'{"b":2}'))
    assert ktl("cloud", "gc", "--database", database).stdout == "0 sessions deleted; 552 bytes are left\n"
    assert ktl("cloud", "gc", "--keep", "0s", "--database", database).stdout == "1 sessions deleted; 0 bytes are left\n"


def test_plain_http_beyond_this_machine_is_refused(ktl: Ktl, database: str) -> None:
    done = ktl("cloud", "serve", "--host", "0.0.0.0", "--database", database)
    assert done.returncode == 2
    assert "give --tls-cert and --tls-key, or --insecure" in done.stderr


def test_without_the_extra_one_line_says_how_to_get_it(tmp_path: Path) -> None:
    blocked = "import sys; sys.modules['sqlalchemy'] = None; from ktl_cli.main import main; main()"
    command = [sys.executable, "-c", blocked, "cloud", "token", "list"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ.copy(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: `ktl cloud` needs sqlalchemy: pip install 'ktl[cloud]'\n"
