"""The server's log: a line of text or a JSON object per record, without what people say unless log_bodies is set."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

FIELDS = "fields"  # a record's attribute for what is logged besides its message
FACTS = "facts"  # the same, where the message says it in words: only JSON has it as fields
# Control characters, line ends, what turns the direction of writing, and halves of characters, which no file takes
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class LogFormat(StrEnum):
    """The format of the log."""

    TEXT = "text"  # a line of text for each record
    JSON = "json"  # a JSON object for each record


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
            **getattr(record, FACTS, {}),
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return CONTROL.sub(_json_escaped, json.dumps(said, ensure_ascii=False, default=str))


class TextFormatter(logging.Formatter):
    """Formats a record as one line of text, its local time first.

    Escapes client text that could begin a line or control a terminal.
    """

    default_msec_format = "%s.%03d"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in getattr(record, FIELDS, {}).items())
        return CONTROL.sub(_escaped, super().formatMessage(record) + fields)

    def formatException(self, ei: Any) -> str:
        """Returns a traceback whose lines are set in, so that no text of a client begins a line of the log."""
        return "\n".join("  " + CONTROL.sub(_escaped, line) for line in super().formatException(ei).split("\n"))


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _json_escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def set_up(form: LogFormat) -> None:
    """Writes all records to standard error from now on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form is LogFormat.JSON else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it tells every address of a hub's file, with its signature
