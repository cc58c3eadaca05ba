"""`laser serve`: a model behind the HTTP API."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from laser.config import ServeConfig
    from laser.service import Service

GRACE_S = 10  # that running replies have to end once a shut-down is asked for


@click.command("serve")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML file; flags win over it.")
@click.option("--model", type=click.Path(path_type=Path), help="Model directory. [default: the bundled model]")
@click.option("--name", help="The model's name for clients. [default: the directory's]")
@click.option("--host", help="Address to listen on. [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0: any free one. [default: 8000]")
@click.option(
    "--policy",
    type=click.Choice(["auto", "load-aware", "fixed", "budget", "paper", "none"]),
    help="Who closes thoughts. [default: auto: load-aware if the model has a profile, else fixed]",
)
@click.option("--controller", type=click.Path(path_type=Path), help="Load-aware settings, YAML; reread on change.")
@click.option("--decision-log", type=click.Path(path_type=Path), help="Record of load-aware decisions, JSON Lines.")
@click.option("--threshold", type=float, help="Confidence at which a thought is closed. [default: 0.9 if fixed]")
@click.option("--early-exit/--no-early-exit", default=None, help="Probe thoughts at all. [default: early-exit]")
@click.option(
    "--score",
    type=click.Choice(["geometric_mean", "joint", "minimum"]),
    help="Confidence. [default: the thinking format's]",
)
@click.option("--budget", type=int, help="Thinking tokens, where a request does not say. [default: no budget]")
@click.option("--thinking", type=click.Path(path_type=Path), help="Thinking format. [default: the model's laser.yaml]")
@click.option("--default-max-tokens", type=int, help="Reply length for requests that name none. [default: 2048]")
@click.option(
    "--engine",
    type=click.Choice(["auto", "torch", "exllama"]),
    help="What decodes. [default: auto: exllama if it can serve the model here, else torch]",
)
@click.option("--cache-type", type=click.Choice(["fp16", "q8", "q6", "q4"]), help="exllama's cache. [default: fp16]")
@click.option(
    "--runner", type=click.Choice(["auto", "bare", "transformers"]), help="torch's forward pass. [default: auto]"
)
@click.option("--max-batch", type=int, help="Sequences decoded at once. [default: 32]")
@click.option("--cells", type=int, help="KV cache, tokens. [default: 65536]")
@click.option("--threads", type=int, help="Threads of the engine's arithmetic. [default: 1]")
def command(config_file: Path | None, **flags: Any) -> None:
    """Serve a model over HTTP, compatible with OpenAI's chat completions."""
    # A solver that is not sure is asked no further, and the next one is: nothing that a user must be told.
    warnings.filterwarnings("ignore", message="Solution may be inaccurate", category=UserWarning)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    config = _configuration(config_file, flags)
    listener = _listen(config.host, config.port)
    with listener:
        _run(_service(config), listener)


def _configuration(file: Path | None, flags: dict[str, Any]) -> ServeConfig:
    from laser.config import load_config
    from models.strict_yaml import ConfigError

    try:
        return load_config(file, flags)
    except ConfigError as error:
        raise click.ClickException(_line(error)) from error


def _listen(host: str, port: int) -> socket.socket:
    """The bound socket: a taken port is known before the model is loaded."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise click.ClickException(f"host {host!r} cannot be used: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise click.ClickException(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another with --port"
        ) from error
    return listener


def _service(config: ServeConfig) -> Service:
    from engine.base import EngineError
    from laser.deployment import deploy
    from laser.service import Service

    try:
        return Service(deploy(config))
    except (EngineError, OSError, ValueError) as error:  # TokenizerError and ConfigError are ValueErrors
        raise click.ClickException(_line(error)) from error


def _run(service: Service, listener: socket.socket) -> None:
    import uvicorn

    from laser.server import create_app

    async def end_late() -> None:
        await asyncio.sleep(GRACE_S)
        await service.stop()  # what still runs ends with an error

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                url = _url(listener)
                example = "Given 37, 82, 51, 92, what is the largest number?"
                click.echo(f'{service.model_id} is ready at {url} — try: laser ask{_flag(url)} "{example}"')

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            late = asyncio.create_task(end_late())
            await super().shutdown(sockets)
            late.cancel()

    # uvicorn raises the signal again once it has shut down cleanly; that is the end, not a failure
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    settings = uvicorn.Config(
        create_app(service),
        log_level="warning",
        access_log=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=GRACE_S + 5,
    )
    server = Server(settings)
    server.run(sockets=[listener])
    if not server.started:
        raise click.ClickException("the server could not be started")


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def _flag(url: str) -> str:
    from laser.commands.ask import DEFAULT_URL

    return "" if url == DEFAULT_URL else f" --url {url}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
