"""`laser replay`: decides again what a decision log holds, and says what comes out otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from laser.cli.common.exit_code import ExitCode
from laser.cli.common.messages import progress
from laser.cli.common.options import peak_option, risk_option

if TYPE_CHECKING:
    from controller.decision_record import DecisionRecord
    from controller.replay import ChangedDecision, Replayed
    from experiments.progress import Advance
    from models.profile.lever import Lever
    from models.profile.profile import Profile
    from models.profile.tables import PointId

SHOWN = 20  # changed decisions that are listed, at most


@click.command("replay")
@click.argument("log_file", metavar="LOG", type=click.Path(path_type=Path))
@click.option(
    "--profile",
    "profile_file",
    type=click.Path(path_type=Path),
    help="The profile that was served with. [default: the bundled model's]",
)
@click.option(
    "--policy",
    type=click.Choice(("load-aware", "thresholds-only", "budgets-only")),
    default="load-aware",
    show_default=True,
    help="The policy that was served with.",
)
@risk_option
@peak_option
@click.option("--give-up", is_flag=True, help="The policy gave hopeless thoughts up, `--set give_up=true`.")
@click.option("--price-index", is_flag=True, help="The policy closed thoughts by a price, `--set price_index=true`.")
@click.option("--no-thought", is_flag=True, help="The policy answered prompts at once, `--set no_thought=true`.")
@click.option("--width", is_flag=True, help="The policy had several thoughts race, `--set width=true`.")
@click.option("--worst-benchmark", is_flag=True, help="The policy had `--set worst_benchmark=true`.")
@click.pass_context
def command(
    context: click.Context,
    log_file: Path,
    profile_file: Path | None,
    policy: str,
    risk: float | None,
    risk_peak: float | None,
    give_up: bool,
    price_index: bool,
    no_thought: bool,
    width: bool,
    worst_benchmark: bool,
) -> None:
    """Check that a log of decisions comes out the same again, e.g. after an update, or to trust what it tells.

    LOG is what `laser serve --decision-log` wrote. Every decision is taken again from its recorded inputs. The exit
    status is 1 if anything comes out otherwise.
    """
    from models.profile.lever import Lever

    used = {
        Lever.GIVE_UP: give_up, Lever.PRICE_INDEX: price_index, Lever.NO_THOUGHT: no_thought, Lever.WIDTH: width,
    }  # fmt: skip
    levers = [lever for lever, wanted in used.items() if wanted]
    if policy != "load-aware" and levers:
        raise click.UsageError(f"--{levers[0]} has no use: policy is {policy}, which has one lever alone")
    from controller.decision_log import LogError, read_decisions
    from controller.planning.solving import SolverError
    from controller.replay import replay
    from models.profile.profile import ProfileError

    try:
        profile = _profile(profile_file, policy, risk, risk_peak, levers, worst=worst_benchmark)
        records = list(read_decisions(log_file, len(profile.classes)))
        with progress().stage("Replay", len(records)) as advance:
            found = replay(profile, _counted(records, advance))
    except (ProfileError, LogError, SolverError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo("\n".join(_told(profile, found)))
    context.exit(ExitCode.DONE if found.same else ExitCode.FAILED)


def _counted(records: Sequence[DecisionRecord], advance: Advance) -> Iterator[DecisionRecord]:
    """Yields the records, and tells when one is done."""
    for record in records:
        yield record
        advance(1)


def _profile(
    file: Path | None, policy: str, risk: float | None, peak: float | None, levers: Sequence[Lever], *, worst: bool
) -> Profile:
    from controller.policies.definition import certified_at
    from controller.policies.restricted import budgets_only, thresholds_only, within_one_corner
    from models.profile.profile import FILE_NAME, read_profile
    from models.reasoner import bundled_model

    profile = certified_at(read_profile(file or bundled_model() / FILE_NAME), risk, peak, levers=levers, worst=worst)
    restrict = {"thresholds-only": thresholds_only, "budgets-only": budgets_only}.get(policy)
    return within_one_corner(profile if restrict is None else restrict(profile))


def _told(profile: Profile, found: Replayed) -> list[str]:
    from controller.replay import NEAR

    return [
        f"{found.decisions} decisions, {found.solves} policy maps solved again",
        f"Prices differ by {found.price_error:.2g} of themselves at most; up to {NEAR:g} they count as equal",
        f"{len(found.changed) or 'No'} decisions come out otherwise",
        *(_line(profile, one) for one in found.changed[:SHOWN]),
        *(["  …"] if len(found.changed) > SHOWN else []),
    ]


def _line(profile: Profile, one: ChangedDecision) -> str:
    then, now = one.record.held.points, one.now.points
    moves = [
        f"{name} {_limits(profile, a)} → {_limits(profile, b)}"
        for name, a, b in zip(profile.classes, then, now, strict=True)
        if a != b
    ]
    said = ", ".join(moves) or "on the way to other thresholds"
    return f"  {one.number}, at {one.record.time_s:.1f} s, {one.record.rung}: {said}"


def _limits(profile: Profile, k: PointId) -> str:
    points = profile.tables().points
    if not 0 <= k < len(points):
        return f"point {k}, of which there is none"
    threshold = "never" if points[k].threshold is None else f"{points[k].threshold:g}"
    budget = "none" if points[k].budget is None else points[k].budget
    curve, race = points[k].give_up, points[k].race
    skip = "" if points[k].skip is None else f"/at once from {points[k].skip:g}"
    lower = "" if curve is None else f"/given up below {curve.height:g}"
    price = "" if points[k].price is None else f"/at {points[k].price:.2g} a token"
    return f"{threshold}/{budget}{lower}{price}{skip}{'' if race is None else f'/{race.width} thoughts'}"
