"""`python -m laser.tethered MODULE ARGUMENT…`: a module that ends when whoever started it does.

It runs like `python -m MODULE ARGUMENT…`, but for a thread that reads stdin: a pipe closes with the process at its
other end, however that was killed, and then this one gets a SIGTERM.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def main() -> None:
    """Run the module that the command line names."""
    threading.Thread(target=_watch, name="tether", daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _watch() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
