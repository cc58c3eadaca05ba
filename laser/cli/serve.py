"""`laser serve`: serves a model over the HTTP API."""

from __future__ import annotations

import gc
import ipaddress
import logging
import os
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from laser.cli.common.messages import errors_in_one_line
from laser.cli.common.options import DEFAULT_URL, loading_options, policy_option, thinking_option
from laser.server.telemetry.logs import LogFormat, set_up

if TYPE_CHECKING:
    from laser.server.config import ServeConfig
    from laser.server.service import Service

log = logging.getLogger(__name__)


class ServeCommand(click.Command):
    """Lists in its help what is open to additions: exit signals and API surfaces, read when the help is shown."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from controller.serving.signals.base import SIGNALS
        from laser.server.api.surfaces import SURFACES

        super().format_epilog(ctx, formatter)
        with formatter.section("Exit signals of --policy signal"):
            formatter.write_text(f"{', '.join(SIGNALS)}, or module:Class")
        with formatter.section("Replies at"):
            formatter.write_text(", ".join(surface.path for surface in SURFACES))


def _writable(ctx: click.Context, param: click.Parameter, descriptor: int | None) -> int | None:
    """Returns the descriptor. Raises BadParameter if it is not open."""
    try:
        if descriptor is not None:
            os.fstat(descriptor)
    except (OSError, OverflowError) as error:
        raise click.BadParameter(f"{descriptor} is no open descriptor: {error}", ctx, param) from error
    return descriptor


@click.command("serve", cls=ServeCommand)
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
@thinking_option
@click.option(
    "--slo-s", type=float, help="Seconds a reply should take; SLOs of the controller come first. [default: none]"
)
@click.option("--default-max-tokens", type=int, help="Reply length for requests that name none. [default: 2048]")
@loading_options
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
@click.option(
    "--ready-fd",
    type=int,
    callback=_writable,
    help="Descriptor that gets the address, a line, once requests are answered.",
)
def command(config_file: Path | None, ready_fd: int | None, **flags: Any) -> None:
    """Serve a model over HTTP, compatible with OpenAI's chat completions."""
    from laser.server.config import load_config

    notes: list[str] = []
    with errors_in_one_line():
        config = load_config(config_file, flags, notes.append)
        set_up(config.log_format)
        for note in notes:
            log.warning("%s", note)
        _guard(config)
        _serve(config, ready_fd)


def _serve(config: ServeConfig, ready_fd: int | None) -> None:
    """Listens, loads, tells what serves, and serves. Raises an error of `errors_in_one_line`."""
    gc.disable()  # until the model is loaded: a sixth of the start went to looking through libraries for garbage
    from laser.server.run import listen, run
    from laser.server.telemetry.startup import loading, tell

    with listen(config.host, config.port) as listener:
        with loading(config), errors_in_one_line(ValueError):
            from laser.server.deployment import deploy
            from laser.server.service import Service

            deployment = deploy(config)
            service = Service(deployment)
        tell(deployment)
        run(service, listener, ready=lambda url: announce(service, url, ready_fd))


def announce(service: Service, url: str, ready_fd: int | None) -> None:
    """Says where the server is: to its user, and to the process that started it, if that process asked."""
    from laser.server.telemetry.startup import ready

    if service.config.log_format is LogFormat.JSON:
        ready(_invitation(service, url), url=url, model=service.model_id)
    else:
        click.echo(_invitation(service, url))
    if ready_fd is not None:
        with open(ready_fd, "w", encoding="utf-8") as pipe:
            pipe.write(f"{url}\n")


def _guard(config: ServeConfig) -> None:
    """Raises ConfigError if the keys are bad, and ClickException for what can be told at once.

    That is a model's directory that is none, and a server that others can reach without keys or --public.

    It runs before the model is loaded.
    """
    from laser.server.keys import KeyRing

    KeyRing(config.keys, time.monotonic)
    if config.model is not None and not config.model.is_dir():
        raise click.ClickException(f"{config.model}: is not a directory")
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


def _invitation(service: Service, url: str) -> str:
    """The line that says where the server is, and what to try."""
    example = "Given 37, 82, 51, 92, what is the largest number?"
    hint = "try" if service.config.keys is None else "with your key in LASER_KEY, try"
    where = "" if url == DEFAULT_URL else f" --url {url}"
    return f'{service.model_id} is ready at {url} — {hint}: {_command()} ask{where} "{example}"'


def _command() -> str:
    """The command as its user may type it: by its path where the shell would not find it."""
    started = Path(sys.argv[0])
    return "laser" if started.name != "laser" or shutil.which("laser") else shlex.quote(str(started))
