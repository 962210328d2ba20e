"""What runs the server of `ktl cloud serve`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from ktl.errors import UsageError

from .cloud_database import needs_extra

if TYPE_CHECKING:
    from ktl.cloud.service.server import OnFirstTokens
    from ktl.cloud.service.settings import Settings

    Serve = Callable[[Settings, OnFirstTokens, Callable[[str], None]], None]


def serving(engine: str) -> Serve:
    """Serves until a signal, by one of the engines of the settings.

    Raises UsageError for one that is not installed, and on Windows.
    """
    if sys.platform == "win32":
        raise UsageError("the cloud service runs on Linux and macOS; on Windows start it in WSL")
    with needs_extra():
        from ktl.cloud.service.server import serve
    if engine == "process":
        return serve
    try:
        from ktl.ray.serving import serve as serve_on_ray
    except ImportError as error:
        raise UsageError(f"--engine {engine} needs Ray Serve: pip install 'ktl[cloud,ray]'") from error
    return serve_on_ray
