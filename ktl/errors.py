"""The one exception family: every error that a user can cause says what was wrong, with the value, and what to do."""

from __future__ import annotations


class KtlError(Exception):
    """Something the user can mend; its text is one line that names the value and the fix."""


class UsageError(KtlError):
    """An option or argument is wrong; nothing was started."""


class DataError(KtlError):
    """An image, folder or bundle cannot be used as it is."""


class WireError(KtlError):
    """A payload between edge and cloud is malformed, oversized, or of another version."""


class CheckpointError(KtlError):
    """A checkpoint or weights file cannot be read or written."""


class CloudError(KtlError):
    """A cloud on another machine refused a request, or what answered is no cloud."""


class CloudUnreachable(CloudError):
    """A cloud on another machine did not answer, or was too busy, for as long as the edge was told to try."""


class Interrupted(KtlError):
    """Work was asked to stop; its state is saved."""
