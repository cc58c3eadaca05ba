"""`laser experiment`: runs, reports and tunes a grid of workloads × policies × seeds from a YAML file."""

from __future__ import annotations

import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from laser.cli.common.extras import needs
from laser.cli.common.help_pages import examples
from laser.cli.common.located import located
from laser.cli.common.messages import errors_in_one_line, progress
from laser.cli.common.numbers import FiniteRange
from laser.cli.common.resuming import ResumableCommand

if TYPE_CHECKING:
    from experiments.trials.experiment import NamedPolicy
    from experiments.trials.findings import Findings
    from experiments.trials.setting import Setting


def _seeds(context: click.Context, option: click.Parameter, said: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(part) for part in said.split(","))
    except ValueError:
        raise click.BadParameter(f"{said!r} is no list of seeds such as 11,12,13") from None
    if min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise click.BadParameter(f"{said!r}: seeds must differ and be at least 0")
    return seeds


FILE = click.argument("file", type=click.Path(path_type=Path))
OUT = click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Directory of results. [default: runs/NAME]"
)


@click.group("experiment")
def command() -> None:
    """Run experiments: a grid of workloads, policies and seeds in a YAML file.

    `laser init` lays out examples in configs/experiments/. Of one workload and seed all policies get the same
    requests at the same times.
    """


@command.command(
    "run",
    cls=ResumableCommand,
    short_help="Run what is missing of an experiment.",
    epilog=examples("laser init", "laser experiment run configs/experiments/smoke.yaml"),
)
@FILE
@OUT
@click.option(
    "--jobs", type=click.IntRange(1), help="Simulated trials at once; live ones run alone. [default: all cores]"
)
@click.option(
    "--again",
    type=FiniteRange(0.0, 1.0, min_open=True),
    help="Run those live trials anew in which the machine was slower than this share of its usual speed, e.g. 0.9.",
)
def run(file: Path, out: Path | None, jobs: int | None, again: float | None) -> None:
    """Run what is missing of the experiment in FILE.

    May be killed and started again at any time: what is complete is kept, what is not is run again from its beginning.
    """
    from concurrent.futures import BrokenExecutor

    from experiments.provenance import cores
    from experiments.table import lines_of
    from experiments.trials.findings import findings
    from experiments.trials.running import at_once, counts, run_missing, slowed
    from experiments.trials.store import Store
    from experiments.trials.verdict import verdict

    with errors_in_one_line(BrokenExecutor, ValueError):
        setting = _setting(file)
        check_run(setting, jobs=jobs, again=again)
        _tell(setting, file)
        store = Store(out or _results(file))
        with store.locked():
            anew = [] if again is None else slowed(setting, store, again)
            for trial in anew:
                click.echo(f"{trial.slug} ran on a slower machine than the others: run anew")
            total, done = counts(setting, store, anew)
            label, jobs = f"Requests of {len(setting.trials)} trials", jobs or cores()
            together = at_once(setting, total, jobs=jobs)
            with progress().stage(label, total, done=done, at_once=together) as advance:
                run_missing(setting, store, jobs=jobs, advance=advance, again=anew)
        told = verdict(findings(setting, store))
    click.echo(
        "\n".join([*lines_of(told), f"Results: {out or _results(file)}; `{_line('report', file, out)}` tells them"])
    )


def _line(command: str, file: Path, out: Path | None) -> str:
    """Returns the line that runs another command on the same experiment."""
    return shlex.join(["laser", "experiment", command, str(file), *([] if out is None else ["--out", str(out)])])


def check_run(setting: Setting, *, jobs: int | None, again: float | None) -> None:
    """Raises UsageError for an option that has no use in this experiment."""
    from experiments.trials.experiment import Backend

    if setting.experiment.backend is Backend.LIVE:
        if jobs is not None:
            raise click.UsageError("--jobs has no use: the backend is live, whose trials run one by one")
        if again is not None and setting.live_plant is None:
            raise click.UsageError("--again has no use: without a profile of the model a machine's speed is not known")
    elif again is not None:
        raise click.UsageError("--again has no use: simulated trials do not depend on the machine's speed")


@command.command(
    "report",
    short_help="Tell what its results say.",
    epilog=examples("laser experiment report configs/experiments/smoke.yaml"),
)
@FILE
@OUT
def tell(file: Path, out: Path | None) -> None:
    """Tell what the results of FILE say, as far as they are complete: report.md, .html, .json, .png beside them."""
    needs("matplotlib")
    from experiments.table import lines_of
    from experiments.trials.findings import findings
    from experiments.trials.report import report, write
    from experiments.trials.store import Store

    directory = out or _results(file)
    with errors_in_one_line(ValueError):
        if not file.exists():
            raise click.ClickException(f"{file} does not exist")
        if not directory.is_dir():
            raise click.ClickException(f"{directory} does not exist; `{_line('run', file, out)}` makes it")
        found = findings(_setting(file), Store(directory))
        if not found.workloads:
            raise click.ClickException(
                f"{directory} has no policy with all its seeds yet: {found.complete} of {found.trials} trials are "
                "complete"
            )
        missing = _figure(directory, found)
        made = report(file.stem, found)
        written = write(directory, made, found, missing=missing)
    click.echo("\n".join(lines_of(made.lead)))
    click.echo(f"{found.complete} of {found.trials} trials: {', '.join(str(each) for each in written)}")


def _figure(directory: Path, found: Findings) -> str | None:
    """Draws the report's figure; returns why there is none, and tells it; None: there is one."""
    from experiments.figures import FigureError, drawn
    from experiments.trials.plots import draw
    from experiments.trials.report import FIGURE

    try:
        drawn(partial(draw, directory / FIGURE, found))
    except FigureError as error:
        click.echo(str(error), err=True)
        return str(error)
    return None


@command.command(
    "tune",
    cls=ResumableCommand,
    short_help="Search better settings of load-aware.",
    epilog=examples("laser experiment tune FILE.yaml --policy load-aware --training 11,12,13"),
)
@FILE
@OUT
@click.option(
    "--policy", "name", required=True, help="Name of the load-aware policy in FILE whose settings are searched."
)
@click.option(
    "--training",
    required=True,
    callback=_seeds,
    metavar="N,N,…",
    help="Seeds to search on; they must differ from FILE's, which the result is judged on.",
)
@click.option("--attempts", default=60, show_default=True, type=click.IntRange(1), help="How many settings are tried.")
@click.option("--jobs", type=click.IntRange(1), help="Trials at once. [default: all cores]")
def tune(file: Path, out: Path | None, name: str, training: tuple[int, ...], attempts: int, jobs: int | None) -> None:
    """Search settings of load-aware on FILE's workloads, simulated, for most utility: accuracy less what waiting costs.

    Writes controller.yaml for `laser serve --controller`, and tuning.json with all that was tried. May be killed and
    started again: what was tried is kept in tuning.journal.
    """
    needs("optuna")
    from concurrent.futures import BrokenExecutor

    from experiments.provenance import cores
    from experiments.trials.running import player, workers
    from experiments.trials.store import Store
    from experiments.trials.tuning import summary, tune, write

    directory = out or _results(file)
    with errors_in_one_line(BrokenExecutor, ValueError):
        setting = _setting(file)
        _tell(setting, file)
        policy = _policy(setting, name)
        with (
            Store(directory).locked(),
            workers(jobs or cores()) as pool,
        ):
            found = tune(
                setting,
                policy,
                training,
                attempts=attempts,
                play=player(setting, pool),
                journal=directory / "tuning.journal",
                reporter=progress(),
            )
        written = write(directory, found)
    click.echo(f"\n{summary(found)}\n\nFiles: {', '.join(str(each) for each in written)}")


def _setting(file: Path) -> Setting:
    from experiments.trials.experiment import read_experiment
    from experiments.trials.setting import Setting
    from models.errors import LaserError, faults_of
    from models.files.yaml_faults import placed

    setting = Setting(read_experiment(file))
    try:
        setting = Setting(replace(setting.experiment, model=located(setting.experiment.model)))
        setting.check()
    except (LaserError, ValueError) as error:
        raise placed(file, map(setting.keyed, faults_of(error))) from error
    if setting.experiment.synthetic is not None:
        click.echo(f"{setting.experiment.synthetic.name}: made from published figures")
    return setting


def _tell(setting: Setting, file: Path) -> None:
    """Tells what the file leaves to its defaults, and what comes again because another file is short."""
    from models.files.strict_yaml import given_keys

    given, one, slo = given_keys(file), setting.experiment, setting.slo
    taken = {
        "backend": one.backend.value,
        "baseline": one.baseline,
        "full_thought": one.full_thought,
        "slo_s": f"{slo.easy:g} s (easy), {slo.medium:g} s (medium), {slo.hard:g} s (hard)",
    }
    if left := [f"{name} {value}" for name, value in taken.items() if name not in given]:
        click.echo(f"By default: {'; '.join(left)}")
    for note in setting.notes:
        click.echo(f"Note: {note}")


def _policy(setting: Setting, name: str) -> NamedPolicy:
    for one in setting.experiment.policies:
        if one.name == name:
            return one
    raise click.BadParameter(
        f"there is no policy {name!r}, there are {', '.join(setting.experiment.policy_names)}",
        param_hint="'--policy'",
    )


def _results(file: Path) -> Path:
    return Path("runs") / file.stem
