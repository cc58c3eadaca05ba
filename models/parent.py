"""The process that has started this one, and which this one is not to outlive."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

SET_PDEATHSIG = 1  # prctl: the signal that comes when the parent ends


def end_with(parent: int) -> None:
    """Has the kernel end this process when its parent ends, where the kernel can; ends it if that has happened."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
