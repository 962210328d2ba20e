"""The server's side of TLS: which versions and ciphers, whose certificates, and reading them again while it runs."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from ktl.cloud.service.settings import Settings
from ktl.errors import KtlError, UsageError

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2: forward secret and authenticated; those of 1.3 all are

log = logging.getLogger("ktl.cloud")


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """What connections are made with; None for plain HTTP.

    Raises UsageError if the certificate, its key or the authority of clients cannot be used.
    """
    files = _certificate_files(settings)
    if files is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    _load_certificate(context, *files)
    if settings.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(settings.client_ca)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"--client-ca {settings.client_ca} holds no certificates ({error}); give PEM") from error
    return context


def reload_certificate(context: ssl.SSLContext, settings: Settings) -> None:
    """Reads certificate and key again, for new connections; where they cannot be used those of before stay."""
    try:
        if tls_context(settings) is not None and (files := _certificate_files(settings)) is not None:
            _load_certificate(context, *files)  # now that a new context took them: this one is in use
    except KtlError as error:
        log.error("the certificate was not read again", extra={"reason": str(error)})
    else:
        log.info("the certificate was read again")


def _certificate_files(settings: Settings) -> tuple[Path, Path] | None:
    return None if settings.tls_cert is None or settings.tls_key is None else (settings.tls_cert, settings.tls_key)


def _load_certificate(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    def no_password() -> str:
        raise UsageError(f"--tls-key {key} is encrypted: give a key without a password, readable by the server alone")

    try:
        context.load_cert_chain(certificate, key, no_password)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise UsageError(f"--tls-cert {certificate} and --tls-key {key} cannot be used together: {reason}") from error
