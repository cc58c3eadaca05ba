"""`laser calibrate`: measures a model's profile, which serving the model needs in advance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from laser.cli.common.help_pages import examples
from laser.cli.common.located import located
from laser.cli.common.messages import errors_in_one_line, given, progress
from laser.cli.common.numbers import FiniteRange
from laser.cli.common.options import RISK, asking, loading_options, loading_settings, score_option
from laser.cli.common.resuming import ResumableCommand

if TYPE_CHECKING:
    from experiments.calibration.run import Calibrated, CalibrationSettings
    from experiments.simulation.levers_of_records import Tabulate
    from models.chat_model import ChatModel
    from models.profile.profile import Profile

OF_RECORDS = (
    "model", "files", "thinking", "out", "from_records", "chat_template", "trust_markers", "give_up", "price_index",
    "no_thought", "width", "order_only",
)  # fmt: skip
"""The parameters that --from-records has a use for."""
LEVERS = ("give_up", "no_thought", "price_index", "width")
"""Those that also tabulate a lever."""


def _budgets(context: click.Context, option: click.Parameter, said: str | None) -> tuple[int, ...] | None:
    if said is None:
        return None
    try:
        budgets = tuple(sorted({int(part) for part in said.split(",")}))
    except ValueError:
        raise click.BadParameter(f"{said!r} is no list of tokens such as 40,80,160") from None
    if budgets[0] < 1:
        raise click.BadParameter(f"{budgets[0]} is below 1")
    return budgets


@click.command(
    "calibrate",
    cls=ResumableCommand,
    epilog=examples(
        "laser calibrate --model DIR",
        "laser calibrate --model DIR --questions own.jsonl -n 1000",
        "laser serve --model DIR            serves with the profile that was made",
    ),
)
@asking(seed=2, count=250)  # enough for one file
@loading_options
@score_option
@click.option(
    "--epsilon",
    default=0.03,
    show_default=True,
    type=FiniteRange(0.0, 1.0, min_open=True, max_open=True),
    help=f"{RISK} `laser serve --risk` defaults to it.",
)
@click.option(
    "--delta",
    default=0.05,
    show_default=True,
    type=FiniteRange(0.0, 1.0, min_open=True, max_open=True),
    help="Largest probability that the certificate itself is wrong.",
)
@click.option(
    "--budgets",
    callback=_budgets,
    metavar="N,N,…",
    help="Thinking tokens after which thoughts may be stopped. [default: the lengths that 10, 25, 50, 75, 90 and 97 % "
    "of 48 full thoughts stay under]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="File of the profile. [default: profile.json in the model's directory]",
)
@click.option(
    "--from-records",
    is_flag=True,
    help="Measure nothing: simulate policies on an existing profile's records again, store in the profile which does "
    "best, and say what the certificate is worth.",
)
@click.option(
    "--give-up",
    is_flag=True,
    help="Also tabulate and certify points at which hopeless thoughts are given up; `laser serve --policy load-aware "
    "--set give_up=true` uses them. With --from-records: of a profile's own records.",
)
@click.option(
    "--price-index",
    is_flag=True,
    help="Also fit, tabulate and certify closing thoughts by what more of them is expected to win, at a price of a "
    "token; `laser serve --policy load-aware --set price_index=true` uses it. With --from-records: of a profile's own "
    "records.",
)
@click.option(
    "--order-only",
    is_flag=True,
    help="With --from-records: simulate again only in which order requests are best served, and leave the policies' "
    "contest in the profile as it is.",
)
@click.option(
    "--no-thought",
    is_flag=True,
    help="Also record answers without thought, and certify from which prompts they are good enough; `laser serve "
    "--policy load-aware --set no_thought=true` uses them. With --from-records: of a profile's own records.",
)
@click.option(
    "--width",
    type=click.IntRange(2, 8),  # WIDEST
    help="Also sample so many replies to each question, and tabulate and certify races of up to so many thoughts of "
    "one prompt; `laser serve --policy load-aware --set width=true` has thoughts race where places are idle. With "
    "--from-records: of replies sampled earlier. At most 8: races are all that the replies allow, twice as many with "
    "each thought more.",
)
@click.pass_context
def command(
    context: click.Context,
    /,
    model: Path | None,
    files: tuple[Path, ...],
    count: int,
    seed: int,
    max_tokens: int,
    thinking: Path | None,
    score: str | None,
    epsilon: float,
    delta: float,
    budgets: tuple[int, ...] | None,
    out: Path | None,
    from_records: bool,
    give_up: bool,
    price_index: bool,
    order_only: bool,
    no_thought: bool,
    width: int | None,
    **loading: Any,
) -> None:
    """Measure a model once, so that LASER knows how early its thoughts may be stopped without spoiling answers.

    Writes profile.json into the model's directory, which load-aware serving needs. Takes about the time of answering
    the questions once: each is answered greedily with full thought and probes; each budget costs a short answer more.

    Finished pieces are kept beside the profile, in profile.json.records.jsonl. A run that was ended goes on when it is
    run again; a larger -n, further questions, other --epsilon, --delta or budgets decode no thought again.
    """
    from experiments.calibration.profile import Levels
    from experiments.calibration.run import CalibrationSettings
    from models.score import Score

    _refuse_idle(context)
    with errors_in_one_line():
        model = located(model)
        settings = CalibrationSettings(
            model=model,
            thinking=thinking,
            files=files,
            count=count,
            seed=seed,
            max_tokens=max_tokens,
            **loading_settings(loading, model),
            score=Score(score) if score else None,
            levels=Levels(epsilon=epsilon, delta=delta),
            budgets=budgets,
            out=out,
            give_up=give_up,
            price_index=price_index,
            no_thought=no_thought,
            width=width,
        )
        if order_only:
            _tell_order(settings)
            return
        measured = None if from_records else _measure(settings, context.params)
        _tell_worth(settings, measured)
        _tell_way_on(settings, measured=not from_records)


def _refuse_idle(context: click.Context) -> None:
    """Raises UsageError for an option that has no use beside, or without, --from-records."""
    beside = [name for name in LEVERS if context.params[name]]
    if context.params["order_only"] and (beside or not context.params["from_records"]):
        others = ", ".join(f"--{name.replace('_', '-')}" for name in LEVERS)
        raise click.UsageError(f"--order-only goes with --from-records, without {others}")
    if not context.params["from_records"]:
        return
    for parameter in context.command.params:
        name = parameter.name or ""
        if name not in OF_RECORDS and given(context, name):
            raise click.UsageError(f"{parameter.opts[0]} is given, but --from-records measures nothing: leave one out")


def _measure(settings: CalibrationSettings, options: Mapping[str, object]) -> Calibrated:
    """Calibrates, and tells and returns what was measured."""
    from experiments.calibration.run import calibrate
    from experiments.calibration.summary import summary

    found = calibrate(settings, reporter=progress(), options=options)
    click.echo(f"\n{summary(found.profile)}\nAnswers and probes {found.grading}")
    if found.reused:
        click.echo(f"Of {sum(found.profile.counts)} questions, {found.reused} were answered by earlier runs")
    if found.others:
        click.echo(
            f"The records hold {found.others} further questions, which this profile is not of: give their --questions "
            "files too, or a larger -n, to count them"
        )
    click.echo(f"\nProfile: {found.path}\nRecords: {found.records}\n")
    return found


def _tell_worth(settings: CalibrationSettings, found: Calibrated | None) -> None:
    """Holds the contest of what was `found`, chooses its order, and tells what the certificate is worth.

    `found` None: nothing was measured; the profile that the settings name and its records are read.
    """
    from experiments.calibration.worth import contest_table, worth
    from experiments.simulation.contest import QUESTIONS, add_contest, with_contest
    from experiments.simulation.order_choice import add_order, order_table, with_order
    from experiments.simulation.recording import recording

    file, files = settings.profile_file, settings.files
    if found is None:
        from experiments.simulation.running_of_records import add_running

        chat = settings.chat()
        add_running(chat, settings.directory, file, files=files)
        _tell_levers(settings, chat)
        add_contest(chat, settings.directory, file, files=files, reporter=progress())
        profile = add_order(chat, settings.directory, file, files=files, reporter=progress())
    else:
        known = recording(found.chat, found.profile, found.log, found.questions, files, QUESTIONS)
        profile = with_contest(found.profile, known, file, reporter=progress())
        profile = with_order(profile, known, file, reporter=progress())
    if profile.contest is not None:
        click.echo(f"\n{contest_table(profile.contest)}")
    if profile.order is not None:
        click.echo(f"\n{order_table(profile.order)}")
    click.echo(f"\n{worth(profile, alone=found is None)}")


def _tell_order(settings: CalibrationSettings) -> None:
    """Chooses the order of the profile that the settings name, on its records, and tells it."""
    from experiments.simulation.order_choice import add_order, order_table

    chat, file = settings.chat(), settings.profile_file
    profile = add_order(chat, settings.directory, file, files=settings.files, reporter=progress())
    if profile.order is None:
        raise click.ClickException(f"{file}: there is no contest, which tells the policy: leave --order-only out")
    click.echo(f"\n{order_table(profile.order)}")


def _tell_levers(settings: CalibrationSettings, chat: ChatModel) -> None:
    """Tabulates the levers that the settings name in an existing profile, and tells what is certified of them."""
    from experiments.calibration.summary import answering_at_once, giving_up, pricing, racing
    from experiments.simulation.levers_of_records import add_levers, answered_at_once, given_up
    from experiments.simulation.price_index_of_records import price_indexed
    from experiments.simulation.width_of_records import raced

    file, files = settings.profile_file, settings.files
    wanted: list[tuple[Tabulate, Callable[[Profile], list[str]]]] = []
    if settings.give_up:
        wanted.append((given_up, giving_up))
    if settings.price_index:
        wanted.append((price_indexed, pricing))
    if settings.no_thought:
        wanted.append((answered_at_once, answering_at_once))
    if settings.width is not None:
        wanted.append((partial(raced, file, settings.width), racing))
    if wanted:
        made = add_levers(chat, settings.directory, file, [tabulated for tabulated, _ in wanted], files=files)
        for profile, (_, told) in zip(made, wanted, strict=True):
            click.echo("\n".join(told(profile)))


def _tell_way_on(settings: CalibrationSettings, *, measured: bool) -> None:
    """Tells how to go on with more questions; `measured` as for `way_on`."""
    from experiments.calibration.traces import records_of, takes_more

    click.echo(way_on(takes_more(records_of(settings.profile_file)), measured=measured))


def way_on(more: bool, *, measured: bool) -> str:
    """Returns how to go on with more questions.

    `more`: the records take more. `measured`: the command asked some itself, it did not hold a contest alone.
    """
    if not more:
        return "More questions need a calibration from the start: these records are packed, or of an earlier release."
    command = "the same command" if measured else "`laser calibrate` without --from-records"
    return f"More questions go on from these records: {command}, with a larger -n or with further --questions files."
