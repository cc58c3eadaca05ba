"""`laser analyze`: computes offline what a profile implies for serving; writes tables, figures and the policy table."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from laser.cli.common.extras import needs
from laser.cli.common.messages import errors_in_one_line, progress
from laser.cli.common.options import CONTROLLER, risk_option
from models.files.checks import outside

if TYPE_CHECKING:
    from experiments.analysis.situation import Situation
    from models.profile.profile import Profile

Rates = tuple[float, ...]


def _rates(context: click.Context, option: click.Parameter, said: str | None) -> Rates | None:
    if said is None:
        return None
    try:
        rates = tuple(float(part) for part in said.split(","))
    except ValueError:
        raise click.BadParameter(f"{said!r} is no list of requests/s such as 2,5,10") from None
    for rate in rates:
        if (limit := outside(rate)) is not None:
            raise click.BadParameter(f"{rate:g} requests/s must be {limit}")
    return rates


def _mix(context: click.Context, option: click.Parameter, said: str | None) -> dict[str, float] | None:
    if said is None:
        return None
    mix: dict[str, float] = {}
    for part in said.split(","):
        name, _, share = part.partition("=")
        try:
            mix[name.strip()] = float(share)
        except ValueError:
            raise click.BadParameter(f"{part!r} is no share of a class such as easy=0.5") from None
        if not (math.isfinite(mix[name.strip()]) and mix[name.strip()] >= 0.0):
            raise click.BadParameter(f"{part!r}: a share must be finite and at least 0")
    if sum(mix.values()) <= 0.0:
        raise click.BadParameter(f"{said!r}: one share must be above 0")
    return mix


def _drawable(context: click.Context, option: click.Parameter, directory: Path | None) -> Path | None:
    if directory is not None:
        needs("matplotlib")
    return directory


@click.command("analyze")
@click.option(
    "--profile",
    "profile_file",
    type=click.Path(path_type=Path),
    help="The profile, which `laser calibrate` made. [default: the bundled model's]",
)
@click.option("--rate", callback=_rates, metavar="R", help="The load to look at closely, requests/s.")
@click.option(
    "--rates",
    callback=_rates,
    metavar="R,R,…",
    help="Several loads instead, e.g. 2,5,10. [default: 50, 80 and 110 % of what the machine bears with full thought]",
)
@click.option(
    "--mix",
    callback=_mix,
    metavar="CLASS=SHARE,…",
    help="Shares of easy, medium and hard questions, e.g. easy=0.5,hard=0.5; 0 where left out. [default: as in the "
    "calibration]",
)
@click.option(
    "--controller",
    "controller_file",
    type=click.Path(path_type=Path),
    help=f"{CONTROLLER} Its objective counts here.",
)
@risk_option
@click.option(
    "--cells",
    type=click.IntRange(1),
    help="Also tell what so many tokens of KV cache leave room for, as requests grow.",
)
@click.option("--uncertified", is_flag=True, help="Also plan with thresholds and budgets that are not certified.")
@click.option(
    "--log",
    "log_file",
    type=click.Path(path_type=Path),
    help="Also tell how this log of `laser serve --decision-log` did.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    callback=_drawable,
    help="Directory for analysis.json, policy_table.json and the figures; made where it is missing.",
)
@click.pass_context
def command(
    context: click.Context,
    profile_file: Path | None,
    rate: Rates | None,
    rates: Rates | None,
    mix: dict[str, float] | None,
    controller_file: Path | None,
    risk: float | None,
    cells: int | None,
    uncertified: bool,
    log_file: Path | None,
    out: Path | None,
) -> None:
    """Work out what a model's profile means for serving under a load. Nothing is decoded.

    Tells the best trade-offs of accuracy, tokens and latency (Pareto fronts); which limits would be chosen at each
    number of requests (policy map); what one unit more of a limit would bring (shadow prices); how many requests the
    machine bears; how far all this can be trusted; and, with --log, how a controller did.
    """
    import time

    from experiments.analysis.analysis import analyse, effort, write_json
    from experiments.analysis.log import read_log
    from experiments.analysis.policy_table import write_policy_table
    from experiments.analysis.tables import tables

    if rate is not None and rates is not None:
        raise click.UsageError("--rate and --rates say the same, give one of them")
    with errors_in_one_line(ValueError):
        measured = _profile(profile_file, risk)
        one = _situation(measured, controller_file, mix, rate or rates, certified_only=not uncertified, cells=cells)
        log = None if log_file is None else read_log(log_file, measured.classes)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)  # fails now rather than after all the solving
        with progress().stage("Analysis", effort(one, log)) as advance:
            found = analyse(one, log, clock=time.perf_counter, advance=lambda: advance(1))
        click.echo(f"\n{tables(one, found)}{_contest(measured)}{_apart(measured)}")
        if out is not None:
            from experiments.analysis.plots.gallery import draw
            from experiments.figures import drawn

            write_json(out / "analysis.json", one, found, context.params)
            write_policy_table(out / "policy_table.json", found.maps.table)
            click.echo(f"\nFiles: {out / 'analysis.json'}, {out / 'policy_table.json'}")
            drawn(lambda: click.echo(f"Figures: {', '.join(file.name for file in draw(out, one, found))}"))


def _contest(measured: Profile) -> str:
    """Returns the profile's contest of policies as text; empty: none was held, or not at this risk."""
    from experiments.calibration.worth import contest_table

    return "" if measured.contest is None else f"\n\n{contest_table(measured.contest)}"


def _apart(measured: Profile) -> str:
    """Returns what is certified of each benchmark as text; empty: they were not told apart."""
    from experiments.calibration.summary import worst_of

    said = worst_of(measured)
    return "\n\n" + "\n".join(said) if said else ""


def _profile(file: Path | None, risk: float | None) -> Profile:
    from controller.policies.restricted import within_risk
    from models.profile.profile import FILE_NAME, ProfileError, read_profile
    from models.reasoner import bundled_model

    file = file or bundled_model() / FILE_NAME
    if not file.exists():
        raise ProfileError(f"there is no profile {str(file)!r}; `laser calibrate` makes one")
    measured = read_profile(file)
    return measured if risk is None else within_risk(measured, risk)


def _situation(
    measured: Profile,
    controller_file: Path | None,
    mix: dict[str, float] | None,
    rates: Rates | None,
    *,
    certified_only: bool,
    cells: int | None,
) -> Situation:
    from controller.policies.restricted import within_one_corner
    from controller.settings import SettingsFile
    from controller.unmet import unmet
    from experiments.analysis.situation import situation

    unknown = sorted(set(mix or ()) - set(measured.classes))
    if unknown:
        raise click.BadParameter(
            f"there is no class {unknown[0]!r}, there are {', '.join(measured.classes)}", param_hint="'--mix'"
        )
    used = within_one_corner(measured) if certified_only else measured
    told = partial(unmet, used, certified_only=certified_only)
    settings = SettingsFile(controller_file, len(measured.classes), told).settings
    return situation(
        measured,
        settings.objective.at(measured.reply_s),
        mix=None if mix is None else [mix.get(name, 0.0) for name in measured.classes],
        rates=rates,
        certified_only=certified_only,
        cells=cells,
    )
