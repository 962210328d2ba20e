"""How a server is set up: where its settings come from, and which it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ktl.cloud.service.settings import DURATION, SIZE, Settings, Units, default_text, load_settings
from ktl.errors import UsageError
from ktl.settings import describe


def test_flags_come_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cloud.toml"
    file.write_text('port = 1\nqueue = 2\nkeep = "12h"\nmost_stored = "2GB"\n')
    monkeypatch.setenv("KTL_CLOUD_PORT", "3")
    monkeypatch.setenv("KTL_CLOUD_QUEUE", "4")
    settings = load_settings({"port": 5, "jobs": None}, file)
    assert (settings.port, settings.queue, settings.keep, settings.most_stored) == (5, 4, 43_200.0, 2_000_000_000)
    assert settings.jobs == 4


ON_RAY = {"engine": "ray", "database": "postgresql://ktl@database/ktl"}
CLIENT_CA = {"client_ca": "ca.pem", "tls_cert": "cert.pem", "tls_key": "key.pem"}


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"port": 70_000}, "the setting port is 70000"),
        ({"products": "int4"}, "the setting products is 'int4'"),
        ({"keep": "a week"}, "expected a duration like 90s, 15m, 12h or 7d"),
        ({"colour": "red"}, "the setting colour"),
        ({"host": "0.0.0.0"}, "--host 0.0.0.0 without TLS would send tokens in the clear"),
        ({"host": "::"}, "without TLS"),
        ({"host": "example.org"}, "without TLS"),
        ({"tls_cert": "cert.pem"}, "--tls-cert and --tls-key go together"),
        ({"client_ca": "ca.pem"}, "--client-ca needs TLS"),
        ({"trusted_proxies": "10.0.0.1, proxy"}, "--trusted-proxies: 'proxy' is no address and no network"),
        ({"trusted_proxies": "10.0.0.1/8"}, "--trusted-proxies: '10.0.0.1/8'"),
        ({"engine": "ray"}, "--engine ray needs --database postgresql://...: a file of SQLite has one server only"),
        ({"generator_gpus": 0.5}, "--generator-gpus needs --engine ray"),
        ({**ON_RAY, "generator_replicas": 2, "most_generator_replicas": 1}, "--most-generator-replicas is less"),
        ({**ON_RAY, "generator_gpus": 1.5}, "--generator-gpus 1.5: give a part of one GPU, or whole ones"),
        ({**ON_RAY, **CLIENT_CA}, "--client-ca: Ray's proxy does not ask clients for certificates"),
        ({"tls_cert": "none.pem", "tls_key": "none.pem"}, "--tls-cert none.pem: there is no such file"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(flags: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError) as refused:
        load_settings(flags)
    assert reason in str(refused.value)


def test_a_settings_file_that_is_missing_or_no_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        load_settings({}, tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("port == 1")
    with pytest.raises(UsageError, match=r"bad\.toml cannot be read"):
        load_settings({}, tmp_path / "bad.toml")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_plain_http_is_for_this_machine(host: str) -> None:
    assert load_settings({"host": host}).url.startswith("http://")
    assert load_settings({"host": "0.0.0.0", "insecure": True}).insecure


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("PORT", "3", 3),
        ("RATE", "2.5", 2.5),
        ("INSECURE", "true", True),
        ("COMPILE", "0", False),
        ("LOG_LEVEL", "debug", "debug"),
        ("KEEP", "90", 90.0),
        ("MOST_STORED", "1.5 kb", 1500),
        ("MOST_DOWNLOAD", "1MiB", 2**20),
    ],
)
def test_a_variables_text_becomes_a_value(name: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"KTL_CLOUD_{name}", text)
    assert getattr(load_settings({}), name.lower()) == value


@pytest.mark.parametrize(("name", "text"), [("PORT", "much"), ("INSECURE", "maybe"), ("RATE", "nan"), ("KEEP", "1y")])
def test_a_variables_text_that_is_no_value_is_refused_by_name(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"KTL_CLOUD_{name}", text)
    with pytest.raises(UsageError, match=f"the setting {name.lower()} is '{text}': expected "):
        load_settings({})


@pytest.mark.parametrize(
    ("units", "number", "text"),
    [
        (DURATION, 90.0, "90s"),
        (DURATION, 7200.0, "2h"),
        (DURATION, 604_800.0, "7d"),
        (SIZE, 1, "1B"),
        (SIZE, 10**10, "10GB"),
        (SIZE, 64 * 2**20, "64MiB"),
    ],
)
def test_a_number_with_a_unit_is_read_as_it_is_written(units: Units, number: float, text: str) -> None:
    assert units.write(number) == text
    assert units.read(text) == number


def test_a_variable_that_is_no_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KTL_CLOUD_PROT", "80")
    with pytest.raises(UsageError, match="the setting prot is unknown: choose of host, port"):
        load_settings({})


def test_every_setting_says_what_it_is_for_and_reads_its_own_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in describe(Settings):
        assert setting.description
        if text := default_text(setting.name):
            monkeypatch.setenv(f"KTL_CLOUD_{setting.name.upper()}", text)
    assert load_settings({}) == Settings()


def test_help_needs_no_package_of_the_extra() -> None:
    program = "import sys, ktl.cloud.service.settings; print(sorted({'torch', 'pydantic', 'httpx'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"
