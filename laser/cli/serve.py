"""`laser serve`: serves a model over the HTTP API."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
import signal
import socket
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from laser.cli.options import policy_option
from laser.server.telemetry.logs import set_up

if TYPE_CHECKING:
    from laser.server.config import ServeConfig
    from laser.server.service import Service

log = logging.getLogger(__name__)

GRACE_S = 5  # s for connections to close after all replies have ended


@click.command("serve")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML file; flags win over it.")
@click.option("--model", type=click.Path(path_type=Path), help="Model directory. [default: the bundled model]")
@click.option("--name", help="The model's name for clients. [default: the directory's]")
@click.option("--host", help="Address to listen on. [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0: any free one. [default: 8000]")
@policy_option("Who closes thoughts. [default: auto]")
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
@click.option("--agree", type=int, help="Probes in a row with the same answer, if consistency. [default: 3]")
@click.option("--margin", type=float, help="Of log p, how near its closing must be, if margin. [default: 6]")
@click.option("--every", type=int, help="Tokens from one probe to the next. [default: at transition points]")
@click.option("--risk", type=float, help="Certified risk that load-aware stays within. [default: the profile's]")
@click.option("--shortest-first/--first-come", default=None, help="Who starts first. [default: first-come]")
@click.option("--thinking", type=click.Path(path_type=Path), help="Thinking format. [default: the model's laser.yaml]")
@click.option(
    "--slo-s", type=float, help="Seconds a reply should take; SLOs of the controller come first. [default: none]"
)
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
@click.option("--max-budget", type=int, help="Thinking tokens that no request may have more of. [default: any]")
@click.option("--loop-detection/--no-loop-detection", default=None, help="Close thoughts that repeat. [default: on]")
@click.option("--max-waiting", type=int, help="Requests that may wait; beyond: 429. [default: 128]")
@click.option("--max-wait-s", type=float, help="Wait that a new request may expect, s; beyond: 429. [default: any]")
@click.option("--keys", type=click.Path(path_type=Path), help="Bearer keys, YAML; reread on change. [default: none]")
@click.option("--public/--no-public", default=None, help="Listen to other machines even without keys.")
@click.option("--allow-host", multiple=True, help="Further name of a server without keys. [default: localhost]")
@click.option("--allow-origin", multiple=True, help="Web pages whose scripts may use the API; *: any. [default: none]")
@click.option("--max-body", type=int, help="Bytes of a request. [default: 4 MiB]")
@click.option("--idle-s", type=float, help="Time a connection may be silent, s. [default: 30]")
@click.option("--drain-s", type=float, help="Time that replies have to end on SIGTERM, s. [default: 30]")
@click.option("--metrics/--no-metrics", default=None, help="GET /metrics. [default: on]")
@click.option("--vllm-metrics/--no-vllm-metrics", default=None, help="Metrics by vLLM's names, too. [default: off]")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="Of the log on stderr. [default: text]")
@click.option("--log-bodies/--no-log-bodies", default=None, help="Log what people say, too. [default: off]")
def command(config_file: Path | None, **flags: Any) -> None:
    """Serve a model over HTTP, compatible with OpenAI's chat completions."""
    # After an inaccurate solution the next solver is tried, so users need no warning.
    warnings.filterwarnings("ignore", message="Solution may be inaccurate", category=UserWarning)
    notes: list[str] = []
    config = _configuration(config_file, flags, notes.append)
    set_up(config.log_format)
    for note in notes:
        log.warning("%s", note)
    _guard(config)
    listener = _listen(config.host, config.port)
    with listener:
        _run(_service(config), listener)


def _configuration(file: Path | None, flags: dict[str, Any], deprecated: Callable[[str], None]) -> ServeConfig:
    from laser.server.config import load_config
    from models.files.strict_yaml import ConfigError

    try:
        return load_config(file, flags, deprecated)
    except ConfigError as error:
        raise click.ClickException(_line(error)) from error


def _guard(config: ServeConfig) -> None:
    """Raises ClickException if the keys are bad, or other machines can reach a server without keys or --public.

    It runs before the model is loaded.
    """
    from laser.server.keys import KeyRing
    from models.files.strict_yaml import ConfigError

    try:
        KeyRing(config.keys, time.monotonic)
    except ConfigError as error:
        raise click.ClickException(_line(error)) from error
    if config.keys is None and not config.public and not _is_this_machine(config.host):
        raise click.ClickException(
            f"host is {config.host}, which other machines can reach, but there are no keys: give --keys, or --public "
            "if anybody may use it"
        )


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    """Returns the bound socket. Raises ClickException, before the model is loaded, if it cannot be bound."""
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
    from laser.server.deployment import deploy
    from laser.server.service import Service

    try:
        return Service(deploy(config))
    except (EngineError, OSError, ValueError) as error:  # TokenizerError and ConfigError are ValueErrors
        raise click.ClickException(_line(error)) from error


def _run(service: Service, listener: socket.socket) -> None:
    import uvicorn

    from laser.server.app import create_app
    from laser.server.connection import PatientProtocol
    from laser.server.telemetry.tracing import name_service

    class Server(uvicorn.Server):
        """Drains at the first signal, ends at the second.

        Draining refuses new requests and ends the server once the last reply is complete, or after drain_s. The
        server also ends if the engine is broken, so that a supervisor can start a new process.
        """

        draining = False
        failure: str | None = None

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            self.events = asyncio.get_running_loop()
            self.watching = self.events.create_task(self.watch())
            if self.started:
                url = _url(listener)
                example = "Given 37, 82, 51, 92, what is the largest number?"
                hint = "try" if service.config.keys is None else "with your key in LASER_KEY, try"
                click.echo(f'{service.model_id} is ready at {url} — {hint}: laser ask{_flag(url)} "{example}"')

        async def watch(self) -> None:
            self.failure = await service.broken()
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE_S):
                    await service.drain()  # waiting clients get their error first
            self.should_exit = True

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if self.draining or not self.started:
                super().handle_exit(sig, frame)
            else:
                self.draining = True
                self.events.call_soon_threadsafe(self.begin_to_drain, sig, frame)

        def begin_to_drain(self, sig: int, frame: FrameType | None) -> None:
            self.task = self.events.create_task(self.drain(sig, frame))

        async def drain(self, sig: int, frame: FrameType | None) -> None:
            limit_s = service.config.drain_s
            log.info("the server takes no more requests; those under way have %g s", limit_s)
            try:
                async with asyncio.timeout(limit_s):
                    await service.drain()
            except TimeoutError:
                log.warning("replies under way have not ended within %g s; they get an error", limit_s)
                await service.stop()
            super().handle_exit(sig, frame)

    # uvicorn raises the signal again after a clean shutdown, which must not count as a failure
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    name_service()
    _allow_connections()
    settings = uvicorn.Config(
        create_app(service),
        http=PatientProtocol,
        log_config=None,  # all loggers keep the format of `set_up`
        log_level="warning",
        access_log=False,
        ws="none",
        lifespan="on",
        timeout_keep_alive=math.ceil(service.config.idle_s),
        timeout_graceful_shutdown=GRACE_S,
    )
    server = Server(settings)
    server.run(sockets=[listener])
    if server.failure is not None:
        raise click.ClickException(server.failure)
    if not server.started:
        raise click.ClickException("the server could not be started")


def _allow_connections() -> None:
    """Raises this process's limit on open files, connections among them, to the hard limit."""
    try:
        import resource
    except ImportError:  # not a Unix
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems refuse their own hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def _flag(url: str) -> str:
    from laser.cli.options import DEFAULT_URL

    return "" if url == DEFAULT_URL else f" --url {url}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
