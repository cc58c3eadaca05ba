"""Options that several commands share: which questions, which engine, which server."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from controller.policies.definition import PolicySettings
from controller.policies.registry import POLICIES, find, summaries
from engine.registry import AUTO, CacheType, Dtype, Runner, kinds, options_of
from laser.cli.common.help_pages import ShownFloatRange
from laser.cli.common.numbers import FiniteRange
from models.errors import LaserError
from models.thinking import format_file, format_names

Command = TypeVar("Command", bound=Callable[..., Any])


class _FormatFile(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.5
    """A thinking format, by the name of one that comes with LASER or as a file."""

    name = "NAME|FILE"

    def convert(self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        try:
            return value if isinstance(value, Path) else format_file(value)
        except LaserError as error:
            self.fail(str(error), param, ctx)


class _ThinkingOption(click.Option):
    """Lists the names of thinking formats in its help, which looks for them only when it is shown."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        return record and (record[0], record[1].replace("a known name", ", ".join(format_names()), 1))


thinking_option = click.option(
    "--thinking",
    cls=_ThinkingOption,
    type=_FormatFile(),
    help="How the model marks its thoughts: a known name or a YAML file. "
    "[default: the model's laser.yaml, else what its files tell]",
)

model_option = click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="The model: its directory, a GGUF file, or its name on the hub, ORG/NAME[:QUANT][@REVISION], which is fetched "
    "once. [default: the bundled model]",
)

RISK = "Largest probability that stopping early spoils an answer that the full thought gets right."
"""What a risk is, as every command tells it."""

PEAK = (
    "The same for any one request, where --risk is that of all on average: risk that calm has saved is spent in "
    "bursts, up to this."
)
POLICY = "What decides when a thought is stopped. A kind that needs a profile says so."
CONTROLLER = "Settings of the load-aware policy, a YAML file; `laser init` lays out an example."
CONFIDENCE = (
    "How the probabilities of a trial answer's tokens become one confidence: geometric_mean, the mean of them by "
    "multiplication; joint, all of them multiplied, which is stricter"
)
MAX_BATCH = "Sequences decoded at once."


def seed_help(*, drawn: bool) -> str:
    """Returns what a seed decides; `drawn`: the questions of an examination alone."""
    if drawn:
        return (
            "Decides which questions are drawn. evaluate and calibrate have different defaults: a model is best judged "
            "by other questions than it was calibrated on."
        )
    return "Decides when requests arrive and which questions they ask; the same seed gives the same requests."


def risk_option(command: Command) -> Command:
    """Adds the risk that another calibration's certificate is computed at."""
    return click.option(
        "--risk",
        type=FiniteRange(0.0, 1.0, min_open=True, max_open=True),
        help=f"{RISK} [default: what the profile was calibrated with, `laser calibrate --epsilon`]",
    )(command)


def peak_option(command: Command) -> Command:
    """Adds the risk of any one request, where an account keeps the other on average."""
    return click.option(
        "--risk-peak",
        type=FiniteRange(0.0, 1.0, min_open=True, max_open=True),
        help=f"{PEAK} [default: --risk]",
    )(command)


def order_options(command: Command) -> Command:
    """Adds the order in which a server takes requests."""
    for option in (
        click.option(
            "--pauses/--no-pauses",
            default=None,
            help="Have running thoughts pause for waiting requests that go before them by --head-start-s. "
            "[default: no-pauses]",
        ),
        click.option(
            "--head-start-s",
            type=ShownFloatRange(0.0),
            help="Seconds for which a waiting request may be overtaken by later ones whose thoughts are predicted "
            "shorter (needs a profile); 0: first come, inf: shortest first. [default: as the profile's simulation "
            "chose, else 0]",
        ),
    ):
        command = option(command)
    return command


def asking(*, seed: int, count: int = 200) -> Callable[[Command], Command]:
    """Returns a decorator that adds model, files, count, seed, max_tokens and thinking to a command's parameters."""
    options = (
        model_option,
        click.option(
            "--questions",
            "files",
            type=click.Path(path_type=Path),
            multiple=True,
            help="Your own questions: JSON Lines with `question` and `answer`, as in GSM8K; repeatable. "
            "[default: the bundled benchmarks]",
        ),
        click.option(
            "-n",
            "count",
            default=count,
            show_default=True,
            type=click.IntRange(1, 5000),
            help="Questions of each benchmark or file.",
        ),
        click.option("--seed", default=seed, show_default=True, type=click.IntRange(0), help=seed_help(drawn=True)),
        click.option(
            "--max-tokens",
            default=768,
            show_default=True,
            type=click.IntRange(1),
            help="Longest reply, thought and answer together, tokens.",
        ),
        thinking_option,
    )

    def add(command: Command) -> Command:
        for option in reversed(options):  # click shows the option added last first
            command = option(command)
        return command

    return add


_LOADING = (
    click.option(
        "--chat-template",
        type=click.Path(path_type=Path),
        help="How messages become the model's prompt: a Jinja file. [default: the model's own]",
    ),
    click.option(
        "--trust-markers/--no-trust-markers",
        default=None,
        help="Control markers such as <think> that a message spells are real ones; leave it off where strangers send "
        "messages. [default: off]",
    ),
    click.option(
        "--engine",
        type=click.Choice(kinds()),
        help="What runs the model. [default: auto: llamacpp for a GGUF file, else exllama if it can serve the model "
        "here, else torch]",
    ),
    click.option(
        "--cache-type",
        type=click.Choice([cache.value for cache in CacheType]),
        help="exllama alone: how the KV cache stores its numbers; q8, q6 and q4 take less memory. [default: fp16]",
    ),
    click.option(
        "--runner",
        type=click.Choice([runner.value for runner in Runner]),
        help="torch alone: the code that computes the model. bare: LASER's own, for the architectures that it knows; "
        "transformers: that library's. [default: auto: bare if it knows the architecture]",
    ),
    click.option(
        "--dtype",
        type=click.Choice([dtype.value for dtype in Dtype]),
        help="torch alone: number format of the model's matrices. bfloat16 takes half the memory, and is refused where "
        "its logits are not float32's; auto: bfloat16 where this CPU has instructions for it, too. [default: float32]",
    ),
    click.option("--max-batch", type=click.IntRange(1), help=f"{MAX_BATCH} [default: 32]"),
    click.option(
        "--cells",
        type=click.IntRange(1),
        help="Tokens that the KV cache has room for, of all sequences together. [default: 65536; llamacpp: what fits, "
        "at most 65536]",
    ),
    click.option(
        "--threads",
        type=click.IntRange(1),
        help="CPU threads of the engine's arithmetic. "
        "[default: 1; llamacpp: all cores but one, at most the container's]",
    ),
)


def loading_options(command: Command) -> Command:
    """Adds the options that decide how a model is loaded and prompted; of each that is not given the value is None.

    `laser serve` takes them as they are, `loading_settings` makes an examination's of them.
    """
    for option in reversed(_LOADING):
        command = option(command)
    return command


def loading_settings(options: Mapping[str, Any], model: Path | None) -> dict[str, Any]:
    """Returns the settings of an `Examination` of `model` for the options that `loading_options` adds.

    Raises UsageError for an option that the engine does not have.
    """
    given = {name: value for name, value in options.items() if value is not None}
    engine: dict[str, Any] = {
        name: given[name] for name in ("runner", "dtype", "cache_type", "max_batch", "cells") if name in given
    }
    for name, kind in (("runner", Runner), ("dtype", Dtype), ("cache_type", CacheType)):
        if name in engine:
            engine[name] = kind(engine[name])
    try:
        settings: dict[str, Any] = {"engine": options_of(given.get("engine", AUTO))().taking(engine)}
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    settings["threads"] = settings["engine"].own_threads(model)
    return settings | {name: given[name] for name in ("threads", "chat_template", "trust_markers") if name in given}


score_option = click.option(
    "--score",
    type=click.Choice(["geometric_mean", "joint"]),
    help=f"{CONFIDENCE}. Only these two are recorded; serve's minimum is not. [default: the thinking format's]",
)
"""How confidence is told, of those scores that are recorded."""

DEFAULT_URL = "http://127.0.0.1:8000"


def _visible(_ctx: click.Context, _parameter: click.Parameter, key: str | None) -> str | None:
    if key is not None and not (key.isascii() and key.isprintable() and key.strip()):
        raise click.BadParameter("must be visible ASCII characters")
    return key


def _readable(_ctx: click.Context, _parameter: click.Parameter, url: str) -> str:
    if not url.isprintable():  # bytes of the environment that are no UTF-8 are not, either
        raise click.BadParameter("must be visible characters in UTF-8")
    return url


url_option = click.option(
    "--url",
    default=DEFAULT_URL,
    envvar="LASER_URL",
    show_default=True,
    show_envvar=True,
    callback=_readable,
    help="The server's address.",
)
key_option = click.option(
    "--key",
    envvar="LASER_KEY",
    show_envvar=True,
    callback=_visible,
    help="Your key, where the server wants one.",
)


class PolicyKind(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.5
    """A policy's kind, or module:Name; `usable` tells the kinds that a command can use."""

    name = "KIND"

    def __init__(self, usable: Callable[[type[PolicySettings]], bool]) -> None:
        self._usable = usable

    def kinds(self) -> list[str]:
        """Returns the kinds that the command can use. Imports all policies."""
        return [kind for kind in POLICIES if self._usable(find(kind))]

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            usable = self._usable(find(value))
        except ValueError as error:
            if ":" in value:
                self.fail(str(error), param, ctx)
            usable = False
        if not usable:
            self.fail(f"{value!r} is not one of {', '.join(map(repr, self.kinds()))}, nor module:Name.", param, ctx)
        return value


LINE = 46  # letters of a line beside the widest option, in 80 columns


class _PolicyOption(click.Option):
    """Lists the policies in its help, which imports them only when it is shown."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        if record is None or not isinstance(self.type, PolicyKind):
            return record
        told = summaries()
        lines = [*(f"{kind}: {told[kind]}." for kind in self.type.kinds()), "module:Name: a policy of your own."]
        wrapped = (textwrap.fill(line, LINE, subsequent_indent="  ", break_on_hyphens=False) for line in lines)
        return record[0], "\n".join([record[1], "", "\b", *wrapped])


def policy_option(
    text: str, *, usable: Callable[[type[PolicySettings]], bool] = lambda _: True, default: str | None = None
) -> Callable[[Command], Command]:
    """Returns the options --policy and --set of a command, as the parameters `policy` and `assignments`."""
    policy = click.option(
        "--policy", cls=_PolicyOption, type=PolicyKind(usable), default=default, show_default=True, help=text
    )
    setting = click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="NAME=VALUE",
        help="A setting of the policy, e.g. --policy fixed --set threshold=.95; repeatable.",
    )
    return lambda command: policy(setting(command))
