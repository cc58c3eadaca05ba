"""Whatever a client writes stands in one line of the log, in either format, and turns no terminal about."""

from __future__ import annotations

import io
import json
import logging
import sys
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laser.server.telemetry.logs import CONTROL, FIELDS, JsonFormatter, TextFormatter

ODD = [
    "\n",
    "\r",
    "\x1b[2J",
    "\x00",
    "\x7f",
    "\x85",
    "\x9b",
    "\u2028",
    "\u2029",
    "\u202e",
    "\u2066",
    "\ud800",
    "\udfff",
]


def record(text: str) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "laser.gate", "levelname": "INFO", "msg": "GET %s", "args": (text,)})
    setattr(made, FIELDS, {"body": text, text: 1})
    return made


@pytest.mark.parametrize("form", [JsonFormatter(), TextFormatter()], ids=["json", "text"])
@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_both_formats_escape_the_same(form: logging.Formatter, odd: str) -> None:
    (line,) = form.format(record(f"a{odd}b")).splitlines()
    assert not CONTROL.search(line)
    assert line.isprintable()
    line.encode()  # halves of characters cannot be written to a file


@given(text=st.text())
def test_json_tells_what_was_written(text: str) -> None:
    said = json.loads(JsonFormatter().format(record(text)))
    assert said["message"] == f"GET {text}"
    assert said["body" if text != "body" else text] in (text, 1)


@given(text=st.text(st.characters(codec=None)))
def test_no_text_breaks_a_log_that_is_written_to_a_file(text: str) -> None:
    for form in (JsonFormatter(), TextFormatter()):
        file = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        handler = logging.StreamHandler(file)
        handler.setFormatter(form)
        handler.emit(record(text))
        file.flush()
        assert file.buffer.getvalue().count(b"\n") == 1  # type: ignore[attr-defined] # a BytesIO


def test_a_traceback_begins_no_line_of_the_text_log() -> None:
    made = record("x")
    try:
        raise ValueError("a\nINFO laser.gate: forged \x1b[2J")
    except ValueError:
        made.exc_info = sys.exc_info()
    head, *lines = TextFormatter().format(made).split("\n")
    time, _, said = head.partition(" INFO ")
    datetime.strptime(time, "%Y-%m-%d %H:%M:%S.%f")
    assert said.startswith("laser.gate: GET x")
    assert lines
    assert all(line.startswith("  ") and "\x1b" not in line for line in lines)
    assert len(JsonFormatter().format(made).splitlines()) == 1
