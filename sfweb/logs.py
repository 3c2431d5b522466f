"""Logs of every control-plane process: one JSON object a line, with the request and operation it belongs to.

What happens to an object is an event, not a log line. Members whose name speaks of a secret are masked, wherever they
stand in `extra`.
"""

import datetime
import json
import logging
import re
from contextvars import ContextVar
from typing import Any

request_id: ContextVar[str] = ContextVar("request_id", default="")
operation_id: ContextVar[str] = ContextVar("operation_id", default="")

MASK = "*****"
SECRET_NAMES = re.compile(
    r"(^|_)(key|secret|password|passwd|token|nonce|digest|authorization|cookie|user_data|ssh_key|ticket)s?$",
    re.IGNORECASE,
)
PLAIN_NAMES = frozenset({"object_key", "queued_key", "running_key", "active_key"})
_SECRET_TEXT = re.compile(r"(?i)(bearer\s+|sfk_|://[^\s:/@]*:(?=[^\s/]*@))[^\s@\"']+")
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def redact(value: Any, name: str = "") -> Any:
    """`value` with everything masked that its name or its own shape shows to be a secret."""
    if isinstance(value, dict):
        return {key: redact(member, str(key)) for key, member in value.items()}
    if value and name not in PLAIN_NAMES and SECRET_NAMES.search(name):
        return MASK
    if isinstance(value, list | tuple):
        return [redact(member) for member in value]
    return _SECRET_TEXT.sub(lambda found: found[1] + MASK, value) if isinstance(value, str) else value


class JsonLines(logging.Formatter):
    """One record, one line, one object."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "at": moment.isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if request_id.get():
            line["request_id"] = request_id.get()
        if operation_id.get():
            line["operation_id"] = operation_id.get()
        extra = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        extra.pop("request", None)  # Django adds the whole request, with its headers
        line |= redact(extra)
        if record.exc_info:
            line["traceback"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, default=str)


def configuration(level: str) -> dict[str, Any]:
    """The dictionary for `logging.config`: everything to standard error, as JSON lines."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonLines}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django": {"level": "INFO", "propagate": True, "handlers": []},
            "django.server": {"level": "WARNING", "propagate": True, "handlers": []},
            # a refused request is an answer, not an incident
            "django.request": {"level": "ERROR", "propagate": True, "handlers": []},
            "gunicorn.error": {"level": level, "propagate": True, "handlers": []},
            "health_check": {"level": "ERROR", "propagate": True, "handlers": []},
        },
    }
