"""`laser serve`: serves a model over the HTTP API."""

from __future__ import annotations

import gc
import ipaddress
import logging
import os
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from laser.cli.common.ending import ended_by_signals
from laser.cli.common.help_pages import THOUGHT, SectionedCommand, ShownFloatRange, ShownIntRange, examples
from laser.cli.common.located import located
from laser.cli.common.messages import errors_in_one_line, loading_bar, progress
from laser.cli.common.options import (
    CONFIDENCE,
    CONTROLLER,
    DEFAULT_URL,
    PEAK,
    POLICY,
    RISK,
    loading_options,
    model_option,
    order_options,
    policy_option,
    thinking_option,
)
from laser.server.telemetry.logs import LogFormat, set_up

if TYPE_CHECKING:
    from experiments.progress import Reporter
    from laser.server.config import ServeConfig
    from laser.server.service import Service

log = logging.getLogger(__name__)


class ServeCommand(SectionedCommand):
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


SECTIONS = {
    "Model": ("--config", "--model", "--name", "--alias", "--thinking", "--chat-template", "--trust-markers"),
    "Address and access": (
        "--host", "--port", "--keys", "--public", "--allow-host", "--allow-origin", "--max-body", "--idle-s",
        "--drain-s", "--ready-fd",
    ),
    "When thoughts stop": (
        "--policy", "--set", "--threshold", "--budget", "--max-budget", "--risk", "--risk-peak",
        "--controller", "--decision-log", "--early-exit", "--score", "--every", "--agree", "--margin",
        "--loop-detection",
    ),
    "Queue and limits": (
        "--max-waiting", "--max-wait-s", "--head-start-s", "--shortest-first", "--pauses", "--default-max-tokens",
        "--slo-s",
    ),
    "Engine": (
        "--engine", "--threads", "--max-batch", "--cells", "--runner", "--dtype", "--cache-type", "--in-process",
    ),
    "Logs and metrics": ("--log-format", "--log-bodies", "--metrics", "--vllm-metrics"),
}  # fmt: skip
"""The headings of the help page, with their options."""


@click.command(
    "serve",
    cls=ServeCommand,
    sections=SECTIONS,
    help=f"Serve a model over HTTP, compatible with OpenAI's chat completions.\n\n{THOUGHT}",
    epilog=examples(
        "laser serve",
        "laser serve --model DIR --port 8080",
        "laser serve --policy fixed --threshold 0.95",
        "laser serve --policy signal --set signal=margin --set level=6",
        "laser serve --config configs/serve.yaml",
    ),
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="Settings, a YAML file; flags win over it. `laser init` lays out an example.",
)
@model_option
@click.option("--name", help="The model's name for clients. [default: its name on the hub, or the directory's]")
@click.option(
    "--alias",
    multiple=True,
    help="A further name by which clients may call the model, * for any characters: claude-*; repeatable. "
    "[default: none]",
)
@click.option("--host", help="Address to listen on; 0.0.0.0 takes requests of other machines. [default: 127.0.0.1]")
@click.option("--port", type=ShownIntRange(0, 65535), help="Port to listen on; 0: any free one. [default: 8000]")
@policy_option(f"{POLICY} [default: auto]")
@click.option(
    "--controller",
    type=click.Path(path_type=Path),
    help=f"{CONTROLLER} It is read again whenever it changes.",
)
@click.option(
    "--decision-log",
    type=click.Path(path_type=Path),
    help="Record here what load-aware decides and why, JSON Lines; `laser replay` and `laser analyze --log` read it.",
)
@click.option(
    "--threshold",
    type=ShownFloatRange(0.0, 1.0, min_open=True),
    help="Confidence at which a thought is stopped. [default: 0.9, with --policy fixed]",
)
@click.option(
    "--early-exit/--no-early-exit",
    default=None,
    help="Probe thoughts and stop those that are sure; off: only budgets stop thoughts. [default: on]",
)
@click.option(
    "--score",
    type=click.Choice(["geometric_mean", "joint", "minimum"]),
    help=f"{CONFIDENCE}; minimum, the least of them. [default: the thinking format's]",
)
@click.option(
    "--budget",
    type=ShownIntRange(0),
    help="Thinking tokens after which a thought is stopped, where a request does not say. [default: no limit]",
)
@click.option(
    "--agree",
    type=ShownIntRange(2),
    help="With --policy consistency: probes in a row that must give the same answer. [default: 3]",
)
@click.option(
    "--margin",
    type=ShownFloatRange(0.0),
    help="With --policy margin: how far the end of the thought may be from the likeliest next token, in log "
    "probability; larger stops sooner. [default: 6]",
)
@click.option(
    "--every",
    type=ShownIntRange(1),
    help="Probe every N tokens. [default: at ends of paragraphs and words such as Wait]",
)
@click.option(
    "--risk",
    type=ShownFloatRange(0.0, 1.0, min_open=True, max_open=True),
    help=f"{RISK} Load-aware stays within it. Any value works without a new calibration if the profile has questions "
    "enough for it: the smaller, the more. [default: what the profile was calibrated with]",
)
@click.option(
    "--risk-peak",
    type=ShownFloatRange(0.0, 1.0, min_open=True, max_open=True),
    help=f"{PEAK} [default: --risk, so that there is nothing to save]",
)
@order_options
@click.option(
    "--shortest-first/--first-come",
    default=None,
    help="Which waiting request starts first: that with the shortest predicted thought (needs a profile), or the one "
    "that came first. [default: by --head-start-s]",
)
@thinking_option
@click.option(
    "--slo-s",
    type=ShownFloatRange(0.001),
    help="Seconds a reply should take, shown on the page; goals that load-aware acts on stand in --controller's file. "
    "[default: none]",
)
@click.option(
    "--default-max-tokens",
    type=ShownIntRange(1),
    help="Longest reply, thought and answer together, for requests that name none. [default: 2048]",
)
@loading_options
@click.option(
    "--max-budget", type=ShownIntRange(0), help="Thinking tokens that no request may have more of. [default: no limit]"
)
@click.option(
    "--loop-detection/--no-loop-detection",
    default=None,
    help="Stop thoughts that repeat themselves word for word. [default: on]",
)
@click.option(
    "--in-process/--no-in-process",
    default=None,
    help="Run the engine in the server's own process: less memory, but a crash of the engine ends the server. "
    "[default: no-in-process]",
)
@click.option(
    "--max-waiting",
    type=ShownIntRange(0),
    help="Requests that may wait; further ones are turned away (429). [default: 128]",
)
@click.option(
    "--max-wait-s",
    type=ShownFloatRange(0.001),
    help="Turn a request away (429) that would wait longer than so many seconds. [default: no limit]",
)
@click.option(
    "--keys",
    type=click.Path(path_type=Path),
    help="Who may use the server: bearer keys, a YAML file, read again whenever it changes; `laser init` lays out an "
    "example. [default: no key is needed]",
)
@click.option(
    "--public/--no-public", default=None, help="Listen to other machines even without keys. [default: no-public]"
)
@click.option(
    "--allow-host",
    multiple=True,
    help="Without keys only requests that call the server localhost are answered; this is a further name of it; "
    "repeatable.",
)
@click.option(
    "--allow-origin",
    multiple=True,
    help="A web page whose scripts may use the API, e.g. https://chat.example; *: any; repeatable. [default: none]",
)
@click.option("--max-body", type=ShownIntRange(1024), help="Largest request, bytes. [default: 4 MiB]")
@click.option(
    "--idle-s",
    type=ShownFloatRange(0.001),
    help="Seconds that a connection may be silent, or a request take to arrive. [default: 30]",
)
@click.option(
    "--drain-s",
    type=ShownFloatRange(0.001),
    help="Seconds that running replies have to end after SIGTERM or Ctrl-C. [default: 30]",
)
@click.option("--metrics/--no-metrics", default=None, help="Offer Prometheus metrics at /metrics. [default: on]")
@click.option(
    "--vllm-metrics/--no-vllm-metrics", default=None, help="Offer metrics under vLLM's names, too. [default: off]"
)
@click.option("--log-format", type=click.Choice(["text", "json"]), help="Format of the log. [default: text]")
@click.option(
    "--log-bodies/--no-log-bodies",
    default=None,
    help="Log the requests' texts, too: what people say. [default: off]",
)
@click.option(
    "--ready-fd",
    type=int,
    callback=_writable,
    help="For programs that start the server: a file descriptor that its address is written to once it answers.",
)
def command(config_file: Path | None, ready_fd: int | None, **flags: Any) -> None:
    """Serve a model over HTTP, compatible with OpenAI's chat completions."""
    notes: list[str] = []
    with ended_by_signals() as end_if_told, errors_in_one_line():
        from laser.server.config import load_config

        config = load_config(config_file, flags, notes.append)
        set_up(config.log_format)
        for note in notes:
            log.warning("%s", note)
        _guard(config)
        _serve(config, ready_fd, end_if_told)


def _serve(config: ServeConfig, ready_fd: int | None, end_if_told: Callable[[], None]) -> None:
    """Listens, loads, tells what serves, and serves. Raises an error of `errors_in_one_line`."""

    def ready(service: Service, url: str) -> None:
        end_if_told()
        announce(service, url, ready_fd)

    from laser.server.engine_process.child import POSSIBLE, Child, launched
    from laser.server.intake.listener import listen

    ahead = click.get_current_context().find_object(Child)

    gc.disable()  # until the model is loaded: a sixth of the start went to looking through libraries for garbage
    with listen(config.host, config.port) as listener:
        config = replace(config, model=located(config.model, _reporter(config.log_format)))
        if config.in_process or not POSSIBLE:
            if ahead is not None:
                ahead.kill()
            _serve_here(config, listener, ready)
            return
        # the child loads while this process imports
        with launched(config, ahead) as child, loading_bar() as (told, loaded):
            from laser.server.run import run_apart

            def served(service: Service, url: str) -> None:
                loaded()
                ready(service, url)

            run_apart(config, child, listener, ready=served, told=lambda stage: told(stage.stage, stage.share))


def _serve_here(config: ServeConfig, listener: socket.socket, ready: Callable[[Service, str], None]) -> None:
    """Serves with the engine in this process, which answers once the model is loaded."""
    from engine.registry import check_gguf
    from laser.server.run import run
    from laser.server.telemetry.startup import loading, tell

    check_gguf(config.model, config.engine_options, pauses=config.pauses)
    with loading(config) as stage, errors_in_one_line(ValueError):
        stage("libraries")
        from laser.server.deployment import deploy
        from laser.server.service import Service

        deployment = deploy(config, stage=stage, late=True)
        service = Service(deployment)
    tell(deployment)
    run(service, listener, ready=lambda url: ready(service, url))


def _reporter(form: LogFormat) -> Reporter:
    """Returns what tells of files that are fetched: bars in a terminal, else records of the log."""
    if form is LogFormat.TEXT and sys.stderr.isatty():
        return progress()
    from experiments.progress import ProgressLines

    return ProgressLines(lambda line: log.info("%s", line))


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

    That is a model that is none, and a server that others can reach without keys or --public.

    It runs before the model is loaded.
    """
    from laser.server.keys import KeyRing
    from models.directory import check_place

    KeyRing(config.keys, time.monotonic)
    if config.model is not None and config.model.exists():
        check_place(config.model, click.ClickException)
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
