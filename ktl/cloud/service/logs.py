"""Log lines as JSON, one object per line; never a payload, never a token."""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import datetime, timezone

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonLines(logging.Formatter):
    """time, level, logger, message, and whatever was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_to_stderr(level: str) -> None:
    """Sets up this process's logging."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    threading.excepthook = _log_fault
    logging.getLogger("uvicorn.access").disabled = True  # the service has its own, with request ids
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _log_fault(fault: threading.ExceptHookArgs) -> None:
    name = fault.thread.name if fault.thread else ""
    exception = fault.exc_value or fault.exc_type()
    logging.getLogger("ktl.cloud").critical("the thread %s ended", name, exc_info=exception)
