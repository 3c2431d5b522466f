"""One JSON object a line on standard error, with the role and whatever the caller put into `extra`."""

import json
import logging
import time

STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonLines(logging.Formatter):
    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "role": self._role,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(role: str, level: int = logging.INFO) -> None:
    """Once at start, before anything logs."""
    stream = logging.StreamHandler()
    stream.setFormatter(JsonLines(role))
    logging.basicConfig(level=level, handlers=[stream], force=True)
