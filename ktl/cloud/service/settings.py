"""How a server is set up: flags, then KTL_CLOUD_* variables, then a TOML file, then these defaults.

Nothing here imports a package of the extra `cloud`: `--help` reads it too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta

from ktl import settings
from ktl.errors import UsageError
from ktl.field_annotations import expected
from ktl.protocol import is_loopback

PREFIX = "KTL_CLOUD_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"  # names the file
OF_RAY = ("generator_replicas", "most_generator_replicas", "generator_gpus", "ingress_replicas")


@dataclass(frozen=True)
class Units:
    """How a number with a unit is written, the unit of a bare number first."""

    factors: Mapping[str, int]
    example: str

    def read(self, text: str) -> float:
        """The number of '1.5GB' or '90s', case ignored. Raises ValueError."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
        factors = {unit.lower(): factor for unit, factor in self.factors.items()}
        unit = (match[2] or next(iter(factors))) if match else None
        if match is None or unit not in factors:
            raise ValueError(f"expected {self.example}")
        return float(match[1]) * factors[unit]

    def write(self, number: float) -> str:
        """The number in the largest unit that it is a whole multiple of."""
        unit = max((u for u, factor in self.factors.items() if number % factor == 0), key=self.factors.__getitem__)
        return f"{number // self.factors[unit]:.0f}{unit}"


DURATION = Units({"s": 1, "m": 60, "h": 3600, "d": 86_400}, "a duration like 90s, 15m, 12h or 7d")
SIZE = Units(
    {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
    "a size like 500kB, 10GB or 64MiB",
)


@dataclass(frozen=True)
class Settings(settings.Settings):
    """All of a server's settings; each is a flag of `ktl cloud serve` by the same name.

    Raises UsageError for a value out of bounds, or a combination that would not be safe or cannot work.
    """

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="0 takes a free one.")] = 8765
    database: Annotated[str, Meta(description="sqlite:///FILE or postgresql://...")] = "sqlite:///ktl-cloud.db"
    generator: Annotated[str, Meta(description="'builtin', a generator file, or pool:FOLDER_OR_TAR.")] = "builtin"
    space: Annotated[
        str | None,
        Meta(
            description="What pairs' vectors are: latent | encoder | projection, or encoder?dimension=64&...; if none, "
            "by the latents' size."
        ),
    ] = None
    products: Annotated[
        Literal["float32", "bfloat16"],
        Meta(description="Precision of a StyleGAN's convolutions; bfloat16 is a level or two off."),
    ] = "float32"
    compile: Annotated[bool, Meta(description="Compile a StyleGAN at its first images: a minute or more.")] = False
    threads: Annotated[int, Meta(ge=1, description="CPU threads of the generator.")] = 2
    engine: Annotated[
        Literal["process", "ray"], Meta(description="process | ray: all in this process, or Ray Serve's replicas.")
    ] = "process"
    generator_replicas: Annotated[int, Meta(ge=1, description="Of --engine ray: processes that draw.")] = 1
    most_generator_replicas: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="As many under load; by default never more.")
    ] = None
    generator_gpus: Annotated[float, Meta(ge=0, description="GPUs of each, such as 0.5.")] = 0.0
    ingress_replicas: Annotated[int, Meta(ge=1, description="Of --engine ray: processes that answer requests.")] = 1
    jobs: Annotated[int, Meta(ge=1, le=64, description="Rounds drawn at the same time, in common batches.")] = 4
    queue: Annotated[int, Meta(ge=1, description="Rounds that may wait; then 503.")] = 256
    most_seconds: Annotated[float, DURATION, Meta(gt=0, description="Most time for a round; then it fails.")] = 3600.0
    keep: Annotated[float, DURATION, Meta(ge=0, description="Delete sessions idle for this long.")] = 604_800.0
    most_stored: Annotated[int, SIZE, Meta(ge=0, description="Payload bytes of all sessions; then 503.")] = 10 * 10**9
    most_image_size: Annotated[int, Meta(ge=4, le=1024, description="Pixels that a session may ask for.")] = 256
    most_download: Annotated[int, SIZE, Meta(ge=0, description="Bytes that a round may ask for.")] = 64 * 2**20
    most_warm_start: Annotated[
        int, SIZE, Meta(ge=0, description="Bytes of a trained extractor that a session may ask for.")
    ] = 8 * 10**6
    warm_start_images: Annotated[
        Annotated[int, Meta(ge=2, le=10**8)] | None,
        Meta(description="Images that such an extractor is trained on; by default a ready one is sent."),
    ] = None
    most_quorum: Annotated[int, Meta(ge=1, description="Edges of a session.")] = 1000
    most_pairs: Annotated[int, Meta(ge=1, description="Pairs that a round may ask for.")] = 100_000
    most_session_pairs: Annotated[int, Meta(ge=1, description="Pairs of all rounds of a session.")] = 2_000_000
    most_memory: Annotated[int, SIZE, Meta(ge=0, description="Memory of the rounds that are drawn; others wait.")] = (
        600 * 10**6
    )
    token_sessions: Annotated[int, Meta(ge=1, description="Sessions of one token's name.")] = 1000
    token_stored: Annotated[int, SIZE, Meta(ge=0, description="Bytes of one name's sessions.")] = 2 * 10**9
    token_rounds: Annotated[int, Meta(ge=1, description="Rounds of one name that wait or are drawn.")] = 32
    token_pairs: Annotated[int, Meta(ge=1, description="Pairs that one name may have drawn in a day.")] = 1_000_000
    token_waits: Annotated[int, Meta(ge=1, description="Requests of one name that wait for pairs.")] = 100
    most_wait: Annotated[float, DURATION, Meta(ge=0, description="Longest that a request may wait for pairs.")] = 600.0
    connections: Annotated[int, Meta(ge=1, description="Clients that are connected at once.")] = 12_000
    rate: Annotated[float, Meta(gt=0, description="Requests per second and token; twice as many at once.")] = 100.0
    tls_cert: Annotated[Path | None, Meta(description="Certificate chain, PEM.")] = None
    tls_key: Annotated[Path | None, Meta(description="Private key, PEM.")] = None
    client_ca: Annotated[Path | None, Meta(description="PEM of an authority whose certificates clients need.")] = None
    insecure: Annotated[bool, Meta(description="Allow plain HTTP beyond this machine.")] = False
    trusted_proxies: Annotated[
        str, Meta(description="Addresses and networks whose X-Forwarded-For and -Proto are taken, with commas between.")
    ] = "127.0.0.1,::1"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="debug | info | warning | error")
    ] = "info"
    stop_seconds: Annotated[float, Meta(gt=0, description="Seconds that requests have to end after SIGTERM.")] = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("--tls-cert and --tls-key go together: give both")
        if self.client_ca is not None and self.tls_cert is None:
            raise UsageError("--client-ca needs TLS: give --tls-cert and --tls-key, too")
        self._check_engine()
        files = {"--tls-cert": self.tls_cert, "--tls-key": self.tls_key, "--client-ca": self.client_ca}
        for flag, file in files.items():
            if file is not None and not file.is_file():
                raise UsageError(f"{flag} {file}: there is no such file")
        for proxy in self.trusted_proxies.split(",") if self.trusted_proxies else []:
            _check_network(proxy.strip())
        if self.tls_cert is None and not self.insecure and not is_loopback(self.host):
            raise UsageError(
                f"--host {self.host} without TLS would send tokens in the clear: give --tls-cert and --tls-key, or "
                "--insecure if something before this server does TLS"
            )

    def _check_engine(self) -> None:
        if self.engine == "ray":
            if not self.database.startswith("postgresql"):
                raise UsageError("--engine ray needs --database postgresql://...: a file of SQLite has one server only")
            if self.client_ca is not None:
                raise UsageError("--client-ca: Ray's proxy does not ask clients for certificates; use --engine process")
            if (self.most_generator_replicas or self.generator_replicas) < self.generator_replicas:
                raise UsageError("--most-generator-replicas is less than --generator-replicas: give as many or more")
            if self.generator_gpus > 1 and self.generator_gpus % 1:
                raise UsageError(f"--generator-gpus {self.generator_gpus:g}: give a part of one GPU, or whole ones")
            return
        for name in OF_RAY:
            if getattr(self, name) != getattr(type(self), name):
                raise UsageError(f"--{name.replace('_', '-')} needs --engine ray")

    @property
    def url(self) -> str:
        """Where the server answers."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.tls_cert is None else 'https'}://{host}:{self.port}"


HINTS = get_type_hints(Settings, include_extras=True)


def default_text(name: str) -> str:
    """A setting's default as a user writes it: '7d', '64MiB', 'builtin'; empty for none and for a switch."""
    default = getattr(Settings, name)
    if default is None or isinstance(default, bool):
        return ""
    units = _units(name)
    return units.write(default) if units else f"{default:g}" if isinstance(default, float) else str(default)


def has_units(name: str) -> bool:
    """Whether a setting's number may be written with a unit."""
    return _units(name) is not None


def load_settings(flags: Mapping[str, Any], file: Path | None = None) -> Settings:
    """Settings from given flags (None: not given), the environment and a TOML file. Raises UsageError."""
    variables = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in os.environ.items()
        if name.startswith(PREFIX) and name != CONFIG_VARIABLE
    }
    given = {name: value for name, value in flags.items() if value is not None}
    values = _table(file) | variables | given
    if unknown := sorted(values.keys() - HINTS.keys()):
        raise UsageError(f"the setting {unknown[0]} is unknown: choose of {', '.join(HINTS)}")
    return Settings(**{name: _read(name, value) for name, value in values.items()})


def _table(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        table: dict[str, Any] = msgspec.toml.decode(file.read_bytes())
    except FileNotFoundError as error:
        raise UsageError(f"--config {file}: there is no such file") from error
    except (OSError, msgspec.DecodeError, ValueError) as error:
        raise UsageError(f"--config {file} cannot be read ({error})") from error
    return table


def _read(name: str, value: Any) -> Any:
    """A value of the setting's type; texts, which is all that the environment has, become numbers and switches."""
    units = _units(name)
    try:
        number = units.read(value) if units and isinstance(value, str) else value
        return msgspec.convert(number, HINTS[name], strict=False, dec_hook=lambda kind, text: kind(text))
    except (msgspec.ValidationError, ValueError) as error:
        words = units.example if units else expected(HINTS[name])
        raise UsageError(f"the setting {name} is {value!r}: expected {words}") from error


def _check_network(text: str) -> None:
    try:
        ip_network(text)
    except ValueError as error:
        raise UsageError(f"--trusted-proxies: {text!r} is no address and no network like 10.0.0.0/8") from error


def _units(name: str) -> Units | None:
    return next((note for note in HINTS[name].__metadata__ if isinstance(note, Units)), None)
