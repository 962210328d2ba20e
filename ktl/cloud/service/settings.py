"""How a server is set up: flags, then KTL_CLOUD_* variables, then a TOML file, then these defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ByteSize, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from ktl.errors import UsageError
from ktl.protocol import is_loopback

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _duration(value: Any) -> float:
    """Seconds of 90, "90s", "15m", "12h" or "7d"."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", str(value).strip())
    if match is None:
        raise ValueError("expected a duration like 90s, 15m, 12h or 7d")
    return float(match[1]) * UNITS[match[2] or "s"]


Duration = Annotated[float, BeforeValidator(_duration)]


class Settings(BaseSettings):
    """All of a server's settings; each is a flag of `ktl cloud serve` by the same name."""

    model_config = SettingsConfigDict(env_prefix="KTL_CLOUD_", extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(8765, ge=0, le=65_535)
    database: str = "sqlite:///ktl-cloud.db"
    generator: str = "builtin"
    products: str = Field("float32", pattern="^(float32|bfloat16)$", description="Of a StyleGAN's convolutions.")
    compile: bool = Field(False, description="Compile a StyleGAN at its first images.")
    threads: int = Field(2, ge=1, description="CPU threads of the generator.")
    jobs: int = Field(4, ge=1, le=64, description="Rounds that are drawn at the same time, in common batches.")
    queue: int = Field(256, ge=1, description="Rounds that may wait; then 503.")
    keep: Duration = Field(7 * 86_400.0, description="Sessions that nothing happened in for so long are deleted.")
    most_stored: ByteSize = Field(ByteSize(10 * 10**9), description="Payload bytes of all sessions; then 503.")
    most_image_size: int = Field(256, ge=4, le=1024, description="Pixels that a session may ask for.")
    most_download: ByteSize = Field(ByteSize(64 * 2**20), description="Bytes that a round may ask for.")
    most_quorum: int = Field(1000, ge=1)
    rate: float = Field(100.0, gt=0, description="Requests a second and token; twice as many at once.")
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure: bool = Field(False, description="Allow plain HTTP beyond this machine.")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")
    stop_seconds: float = Field(20.0, gt=0, description="For requests to end when the server is stopped.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags first, then the environment, then the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    def check(self) -> None:
        """Raises UsageError for a combination that would not be safe or cannot work."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("--tls-cert and --tls-key go together: give both")
        for flag, file in (("--tls-cert", self.tls_cert), ("--tls-key", self.tls_key)):
            if file is not None and not file.is_file():
                raise UsageError(f"{flag} {file}: there is no such file")
        if self.tls_cert is None and not self.insecure and not is_loopback(self.host):
            raise UsageError(
                f"--host {self.host} without TLS would send tokens in the clear: give --tls-cert and --tls-key, or "
                "--insecure if something before this server does TLS"
            )

    @property
    def url(self) -> str:
        """Where the server answers."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.tls_cert is None else 'https'}://{host}:{self.port}"


def load_settings(flags: dict[str, Any], file: Path | None = None) -> Settings:
    """Settings from given flags (None: not given), the environment and a TOML file. Raises UsageError."""
    if file is not None and not file.is_file():
        raise UsageError(f"--config {file}: there is no such file")
    given = {name: value for name, value in flags.items() if value is not None}

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    try:
        settings = FromFile(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise UsageError(f"the setting {name} is {first['input']!r}: {first['msg']}") from error
    except ValueError as error:  # not TOML
        raise UsageError(f"--config {file} cannot be read ({error})") from error
    settings.check()
    return settings
