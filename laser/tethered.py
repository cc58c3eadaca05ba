"""`python -m laser.tethered MODULE ARGUMENT…`: runs a module, and ends it when its parent process ends.

It runs like `python -m MODULE ARGUMENT…`, with one more thread, which reads stdin, a pipe from the parent. When the
parent ends, even if it is killed, the pipe closes, and the thread sends this process a SIGTERM.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def main() -> None:
    """Runs the module that the command line names."""
    threading.Thread(target=_watch, name="tether", daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _watch() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
