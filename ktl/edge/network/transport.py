"""Requests over a network that fails: bounded answers, retries that back off, errors that say what to check."""

from __future__ import annotations

import json
import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx

from ktl.errors import CloudError, CloudUnreachable, UsageError
from ktl.protocol import JSON, is_loopback

PASSING = {408, 425, 429, 502, 503, 504}  # what another try may mend
FIRST_DELAY, MAX_DELAY = 0.2, 10.0  # seconds between two tries, before jitter
MAX_RETRY_AFTER = 120.0  # seconds; a cloud that asks for more is asked again after this
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0  # that a silent connection is kept, beside the time a request asks the cloud to wait
MAX_ANSWER_BYTES = 1 << 20  # of a JSON answer


@dataclass(frozen=True)
class Access:
    """Where a cloud is, and what opens it. `patience`: seconds of tries without any progress before giving up.

    `client_cert`: a PEM file of a certificate and its key, for a cloud that asks its clients for one.
    """

    url: str
    token: str
    ca_file: Path | None = None
    patience: float = 120.0
    insecure: bool = False  # allow plain HTTP to another machine
    client_cert: Path | None = None

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.url)
        except (httpx.InvalidURL, TypeError) as error:
            raise UsageError(f"--cloud {self.url!r} is no address ({error}): give https://HOST[:PORT]") from error
        if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
            raise UsageError(f"--cloud {self.url!r} is no cloud's address: give https://HOST[:PORT]")
        if url.scheme == "http" and not self.insecure and not is_loopback(url.host):
            raise UsageError(
                f"--cloud {self.url} would send the token unencrypted: give https://, or --insecure on a closed network"
            )
        if self.token and not (self.token.isascii() and self.token.isprintable() and " " not in self.token):
            raise UsageError("the token has characters that no token has: check the file of --token-file, or KTL_TOKEN")


class Answer:
    """A cloud's answer whose body is still on the way."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers

    def body(self, max_bytes: int) -> Iterator[bytes]:
        """The body, piece by piece as it comes. Raises CloudError for one larger than `max_bytes` bytes."""
        count = 0
        for piece in self._response.iter_raw():
            count += len(piece)
            if count > max_bytes:
                raise CloudError(
                    f"the cloud's answer is larger than {max_bytes:,} bytes: is {self._response.url.host} a ktl cloud?"
                )
            yield piece

    def table(self) -> dict[str, Any]:
        """The body as a JSON object. Raises CloudError for anything else."""
        try:
            values = json.loads(b"".join(self.body(MAX_ANSWER_BYTES)))
        except (ValueError, RecursionError) as error:
            raise CloudError(f"{self._response.url.host} sent no JSON ({error}): is it a ktl cloud?") from error
        if not isinstance(values, dict):
            raise CloudError(f"{self._response.url.host} sent JSON that is no object: is it a ktl cloud?")
        return values


class Transport:
    """One cloud's address and token; every request goes through `retried`."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._client = httpx.Client(
            base_url=access.url.rstrip("/"),
            headers={"Accept-Encoding": "identity"}
            | ({"Authorization": f"Bearer {access.token}"} if access.token else {}),
            verify=_tls(access),
        )

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def request(
        self, method: str, path: str, *, headers: Mapping[str, str], content: bytes | None = None, wait: float = 0.0
    ) -> Iterator[Answer]:
        """One try. `wait`: seconds that the cloud was asked to hold the answer back.

        Raises httpx.TransportError or Passing for what another try may mend, CloudError for a refusal.
        """
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS, read=ANSWER_SECONDS + wait)
        with self._client.stream(method, path, content=content, headers=dict(headers), timeout=timeout) as response:
            answer = Answer(response)
            if answer.status >= 300:
                raise _refusal(answer, self.access)
            yield answer

    def table(self, path: str) -> dict[str, Any]:
        """The JSON object at `path`. Raises as `retried` does."""

        def attempt(progress: Callable[[], None]) -> dict[str, Any]:
            with self.request("GET", path, headers={"Accept": JSON}) as answer:
                return answer.table()

        found: dict[str, Any] = self.retried(attempt)
        return found

    def retried(self, attempt: Callable[[Callable[[], None]], Any]) -> Any:
        """Calls `attempt(progress)` until it returns, with a pause after each passing fault that grows and is jittered.

        `attempt` calls `progress()` whenever something new arrived. Raises CloudUnreachable when tries have failed for
        `patience` seconds without progress, and anything else that `attempt` raises at once.
        """
        failing_since, failures = 0.0, 0

        def progress() -> None:
            nonlocal failures
            failures = 0

        while True:
            try:
                return attempt(progress)
            except (httpx.TransportError, Passing) as error:
                if _is_untrusted(error):
                    raise CloudError(
                        f"the certificate of {self.access.url} is not trusted ({error}): "
                        "check the address and the device's clock, or give its authority with --ca-file"
                    ) from error
                delay = min(FIRST_DELAY * 2**failures, MAX_DELAY) * random.uniform(0.5, 1.0)
                delay = max(delay, getattr(error, "retry_after", 0.0))
                if not failures:
                    failing_since = time.monotonic()
                failures += 1
                if time.monotonic() + delay - failing_since > self.access.patience:
                    raise _gave_up(error, self.access) from error
                time.sleep(delay)


class Passing(CloudError):
    """A refusal for now: worth another try, after `retry_after` seconds at the earliest."""

    def __init__(self, text: str, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class Refusal(CloudError):
    """A refusal for good; `kind` is the protocol's name for it, e.g. "conflict", or "" where the cloud gave none."""

    def __init__(self, text: str, status: int, kind: str) -> None:
        super().__init__(text)
        self.status = status
        self.kind = kind


def read_token(file: Path) -> str:
    """The token in a file, without the white space around it. Raises UsageError for a missing or empty file."""
    try:
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--token-file {file} cannot be read ({error}); give a file that holds one token") from error
    if not token:
        raise UsageError(f"--token-file {file} is empty: put the token in it that `ktl cloud token create` printed")
    return token


def _refusal(answer: Answer, access: Access) -> CloudError:
    try:
        problem = answer.table()
    except CloudError:
        problem = {}
    urn, detail = str(problem.get("type", "")), str(problem.get("detail", ""))
    kind = urn.removeprefix("urn:ktl:error:") if urn.startswith("urn:ktl:error:") else ""
    detail = "".join(character if character.isprintable() else " " for character in detail)[:500]
    if answer.status in PASSING or kind in ("round-not-open", "damaged"):
        text = detail or f"status {answer.status}"
        return Passing(f"the cloud answered: {text}", _retry_after(answer.headers.get("retry-after", "")))
    if answer.status == 401:
        text = f"{access.url} does not accept the token: check --token-file or KTL_TOKEN; it may have been revoked"
    elif 300 <= answer.status < 400:
        text = f"{access.url} redirects elsewhere ({answer.status}): give the cloud's own address"
    elif kind:
        text = f"the cloud refused: {detail} ({answer.status})"
    else:
        text = f"{access.url} answered {answer.status}, not as a ktl cloud does: check the address"
    return Refusal(text, answer.status, kind)


def _gave_up(error: Exception, access: Access) -> CloudUnreachable:
    reason = str(error) or type(error).__name__
    if isinstance(error, Passing):
        return CloudUnreachable(
            f"{access.url} was still too busy after {access.patience:g} s ({reason}); try again later with --resume"
        )
    tried = f" for {access.patience:g} s" if access.patience else ""
    return CloudUnreachable(
        f"{access.url} could not be reached{tried} ({reason}): check the address, the network, any "
        "proxy, and that `ktl cloud serve` runs there; `ktl cloud ping` tries it alone"
    )


def _retry_after(value: str) -> float:
    """Seconds of a Retry-After header, in either of its forms; 0 for none or one that cannot be read."""
    try:
        seconds = float(value) if value.strip().isdigit() else _seconds_until(value)
    except (ValueError, TypeError):
        return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _seconds_until(date: str) -> float:
    return (parsedate_to_datetime(date) - datetime.now(timezone.utc)).total_seconds()


def _is_untrusted(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _tls(access: Access) -> ssl.SSLContext:
    if access.ca_file is None:
        context = httpx.create_ssl_context()
    else:
        try:
            context = ssl.create_default_context(cafile=str(access.ca_file))
        except OSError as error:  # ssl.SSLError is one
            raise UsageError(f"--ca-file {access.ca_file} holds no certificates ({error}); give a PEM file") from error
    if access.client_cert is not None:
        try:
            context.load_cert_chain(access.client_cert)
        except OSError as error:
            raise UsageError(
                f"the client certificate {access.client_cert} cannot be used ({error}): give it with its key, in PEM"
            ) from error
    return context
