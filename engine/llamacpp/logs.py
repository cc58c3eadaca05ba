"""What llama.cpp logs: passed on to our log, and kept for the message of the error that follows it."""

from __future__ import annotations

import atexit
import ctypes
import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

log = logging.getLogger(__name__)

KEPT = 20  # lines
_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.DEBUG, 4: logging.INFO}  # llama.cpp's, by GGML_LOG_LEVEL_*
_ERROR, _CONTINUED = 4, 5
_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class LogSink:
    """Takes the lines of llama.cpp's log. An error that matters is raised by us, so none is logged as an error."""

    def __init__(self, log_set: Callable[..., Any]) -> None:
        self._errors: deque[str] = deque(maxlen=KEPT)
        self._line, self._level = "", 0
        self._told = True
        self._callback = _CALLBACK(self._take)  # kept, since llama.cpp calls it for as long as the process lives
        self._address = ctypes.cast(self._callback, ctypes.c_void_p)
        self._log_set = log_set
        self._listen()
        atexit.register(log_set, None, None)  # while the process ends there is no Python to call

    @contextmanager
    def to_itself(self) -> Iterator[None]:
        """Forgets the errors so far, and passes nothing on to our log in the block."""
        self.forget()
        self._told = False
        try:
            yield
        finally:
            self._told = True

    def forget(self) -> None:
        """Forgets the errors so far, and listens again if another user of the library has taken its log."""
        self._errors.clear()
        self._listen()

    def _listen(self) -> None:
        self._log_set(self._address, None)

    @property
    def errors(self) -> str:
        """What llama.cpp said went wrong since the last `forget`, in one line; "": nothing."""
        return "; ".join(dict.fromkeys(self._errors))

    def _take(self, level: int, text: bytes, _: object) -> None:
        if level != _CONTINUED:
            self._flush()
            self._level = level
        self._line += text.decode(errors="replace")
        if self._line.endswith("\n"):
            self._flush()

    def _flush(self) -> None:
        line, self._line = " ".join(self._line.split()), ""
        if not line:
            return
        if self._level == _ERROR:
            self._errors.append(line.partition(": ")[2] or line)  # without the name of the function
        if self._told:
            log.log(_LEVELS.get(self._level, logging.DEBUG), "%s", line)
