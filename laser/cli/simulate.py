"""`laser simulate`: simulates serving under a load, in virtual time, from a calibration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.policies.definition import is_recorded
from laser.cli.common.messages import errors_in_one_line, given, progress
from laser.cli.common.options import policy_option, thinking_option

if TYPE_CHECKING:
    from controller.policies.definition import PolicySettings
    from experiments.simulation.run import SimulatedLoad
    from experiments.workloads import Workload


@click.command("simulate")
@click.option("--model", type=click.Path(path_type=Path), help="A model's directory. [default: the bundled one]")
@click.option(
    "--profile", "profile_file", type=click.Path(path_type=Path), help="Profile of the model. [default: the model's]"
)
@click.option(
    "--records", type=click.Path(path_type=Path), help="What the calibration recorded. [default: PROFILE.records.jsonl]"
)
@click.option(
    "--questions",
    "files",
    type=click.Path(path_type=Path),
    multiple=True,
    help="The files that the calibration's questions are from, if any; repeatable.",
)
@thinking_option
@click.option("--workload", "workload_file", type=click.Path(path_type=Path), help="When requests arrive: a YAML file.")
@click.option("--rate", type=click.FloatRange(0.0, min_open=True), help="Poisson arrivals, requests/s.")
@click.option(
    "--cv",
    type=click.FloatRange(0.0, min_open=True),
    help="With --rate: burstier than Poisson, the coefficient of variation of gaps.",
)
@click.option(
    "--duration", default=600.0, show_default=True, type=click.FloatRange(0.0, min_open=True), help="Virtual seconds."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of arrivals and questions.")
@policy_option("Who closes thoughts.", usable=is_recorded, default="load-aware")
@click.option("--threshold", type=click.FloatRange(0.0, min_open=True), help="Of --policy fixed. [default: 0.9]")
@click.option("--budget", type=click.IntRange(0), help="Of --policy fixed or budget, thought tokens.")
@click.option(
    "--risk",
    type=click.FloatRange(0.0, 1.0, min_open=True, max_open=True),
    help="Certified risk that load-aware stays within. [default: the profile's]",
)
@click.option(
    "--controller", "controller_file", type=click.Path(path_type=Path), help="The controller's settings: a YAML file."
)
@click.option(
    "--solve-delay",
    default=0.15,
    show_default=True,
    type=click.FloatRange(0.0),
    help="Virtual seconds that the controller waits for a solution.",
)
@click.option(
    "--prefill-us",
    type=click.FloatRange(0.0),
    help="What a prompt's token takes, µs. [default: what a probe's row does]",
)
@click.option("--max-batch", type=click.IntRange(1), help="Sequences decoded at once. [default: the profile's]")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="All requests, as JSON.")
@click.pass_context
def command(
    context: click.Context,
    model: Path | None,
    profile_file: Path | None,
    records: Path | None,
    files: tuple[Path, ...],
    thinking: Path | None,
    workload_file: Path | None,
    rate: float | None,
    cv: float | None,
    duration: float,
    seed: int,
    policy: str,
    assignments: tuple[str, ...],
    threshold: float | None,
    budget: int | None,
    risk: float | None,
    controller_file: Path | None,
    solve_delay: float,
    prefill_us: float | None,
    max_batch: int | None,
    out: Path | None,
) -> None:
    """Serve a load in virtual time, from a calibration.

    The serving loop, the policy and the controller are the real ones; the machine has the profile's step times, and the
    model says what calibration has recorded. All figures are simulated.
    """
    from experiments.simulation.run import SimulationSettings, simulate_load
    from experiments.simulation.summary import summary

    with errors_in_one_line():
        workload = _workload(workload_file, rate, cv)
        chosen = _policy(policy, assignments, threshold=threshold, budget=budget, risk=risk)
        _check_controlled(context, chosen)
        if out is not None and not out.parent.is_dir():  # fails now rather than after the simulation
            raise click.ClickException(f"there is no directory {str(out.parent)!r} for the records")
        _tell_if_short(workload, duration)
        settings = SimulationSettings(
            workload=workload,
            duration_s=duration,
            seed=seed,
            policy=chosen,
            controller=controller_file,
            solve_delay_s=solve_delay,
            prefill_s=None if prefill_us is None else prefill_us * 1e-6,
            max_batch=max_batch,
            model=model,
            thinking=thinking,
            profile=profile_file,
            records=records,
            files=files,
        )
        found = simulate_load(settings, reporter=progress())
        share = f"{found.rate / found.full_thought_rate:.0%} of what the profile's machine bears with full thought"
        click.echo(f"\nSimulated, {policy}, {found.rate:.2f} requests/s, {share}, in {found.cpu_s:.1f} s of CPU time")
        click.echo(summary(found.records, found.classes))
        _write(found, context.params)


def _workload(file: Path | None, rate: float | None, cv: float | None) -> Workload:
    from experiments.workloads import Gamma, Poisson, read_workload

    if (file is None) == (rate is None):
        raise click.UsageError("give either --workload or --rate")
    if rate is not None:
        return Poisson(rate=rate) if cv is None else Gamma(rate=rate, cv=cv)
    assert file is not None, "checked above"
    if cv is not None:
        raise click.UsageError("--cv goes with --rate")
    return read_workload(file)


def _tell_if_short(workload: Workload, duration: float) -> None:
    from experiments.workloads import too_short

    if (said := too_short(workload, duration)) is not None:
        click.echo(f"Note: {said}")


def _policy(kind: str, assignments: tuple[str, ...], **flags: Any) -> PolicySettings:
    """Raises UsageError for settings that the policy does not have, or that calibration has not recorded."""
    from controller.policies.auto import Auto
    from controller.policies.definition import constant_limits
    from controller.policies.registry import from_options
    from controller.policy import Limits

    given = {name: value for name, value in flags.items() if value is not None}
    try:
        policy = from_options(Auto(), kind, given, assignments)
        limits = constant_limits(policy) or Limits()
        if limits.every is not None:
            raise ValueError(f"every is {limits.every}, but probes were recorded at transition points alone")
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return policy


def _check_controlled(context: click.Context, policy: PolicySettings) -> None:
    """Raises UsageError if an option of the controller is given, and a policy that comes with LASER has none."""
    from controller.policies.definition import has_controller
    from controller.policies.registry import POLICIES, kind_of

    if has_controller(policy) or kind_of(policy) not in POLICIES:
        return
    for name, option in (("controller_file", "--controller"), ("solve_delay", "--solve-delay")):
        if given(context, name):
            raise click.UsageError(f"{option} has no use: policy is {kind_of(policy)}, which has no controller")


def _write(found: SimulatedLoad, options: dict[str, Any]) -> None:
    """Writes the file that the options name."""
    from experiments.provenance import provenance
    from experiments.simulation.summary import write_json

    if options["out"] is not None:
        write_json(options["out"], found.records, provenance(found.directory, threads=1, options=options))
        click.echo(f"\nRequests: {options['out']}")
