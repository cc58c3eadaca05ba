"""The process that has started this one, and which this one is not to outlive."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

import psutil

SET_PDEATHSIG = 1  # prctl: the signal that comes when the parent ends


def end_with(parent: int) -> bool:
    """Has the kernel end this process when its parent ends, where it can; returns whether. Ends it if it has happened.

    `parent`: who wants this process. It may have started it through a launcher, which is the parent then.
    """
    linux = sys.platform == "linux"
    if linux:
        ctypes.CDLL(None).prctl(SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent and not psutil.pid_exists(parent):
        os._exit(1)
    return linux
