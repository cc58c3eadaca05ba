"""Serves the bundled model on a free port, asks it one question, and ends: python examples/serve_and_ask.py"""

import asyncio
import os
import signal
import threading

from laser import ServeConfig, Service, ask, deploy, listen, run


def question(url: str) -> None:
    async def show() -> None:
        async for piece in ask(url, "Given 37, 82, 51, 92, what is the largest number?"):
            print(getattr(piece, "text", "\n"), end="")

    asyncio.run(show())
    os.kill(os.getpid(), signal.SIGTERM)  # the server ends when its replies have


service = Service(deploy(ServeConfig()))
with listen("127.0.0.1", 0) as listener:
    run(service, listener, ready=lambda url: threading.Thread(target=question, args=(url,)).start())
