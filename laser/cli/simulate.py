"""`laser simulate`: simulates serving under a load, in virtual time, from a calibration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.policies.definition import is_recorded
from laser.cli.common.help_pages import examples
from laser.cli.common.located import located
from laser.cli.common.messages import errors_in_one_line, given, progress
from laser.cli.common.numbers import FiniteRange
from laser.cli.common.options import (
    CONTROLLER,
    MAX_BATCH,
    POLICY,
    model_option,
    peak_option,
    policy_option,
    risk_option,
    seed_help,
    thinking_option,
)

if TYPE_CHECKING:
    from controller.policies.definition import PolicySettings
    from experiments.simulation.run import SimulatedLoad
    from experiments.workloads import Workload


TAKEN = ("max_batch", "cells", "growing", "head_start_s", "pauses", "orders")  # options that are settings as they are


@click.command(
    "simulate",
    epilog=examples(
        "laser simulate --rate 5",
        "laser simulate --rate 5 --policy fixed --threshold 0.95",
        "laser simulate --workload FILE.yaml --seed 1",
        "laser simulate --rate 20 --orders",
    ),
)
@model_option
@click.option(
    "--profile",
    "profile_file",
    type=click.Path(path_type=Path),
    help="The model's profile. [default: profile.json in its directory]",
)
@click.option(
    "--records",
    type=click.Path(path_type=Path),
    help="What the calibration recorded. [default: profile.json.records.jsonl beside the profile]",
)
@click.option(
    "--questions",
    "files",
    type=click.Path(path_type=Path),
    multiple=True,
    help="The files that calibrate was given with --questions, if any; repeatable.",
)
@thinking_option
@click.option(
    "--workload",
    "workload_file",
    type=click.Path(path_type=Path),
    help="When requests arrive: a YAML file. This or --rate is required.",
)
@click.option(
    "--rate",
    type=FiniteRange(0.0, min_open=True),
    help="Requests/s, at random times. This or --workload is required.",
)
@click.option(
    "--cv",
    type=FiniteRange(0.0, min_open=True),
    help="With --rate: how uneven the gaps between requests are; 1: at random, above: bursts.",
)
@click.option(
    "--duration", default=600.0, show_default=True, type=FiniteRange(0.0, min_open=True), help="Simulated seconds."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help=seed_help(drawn=False))
@policy_option(
    f"{POLICY} auto, margin, signal and no-thinking cannot be simulated: they need a server with a real model.",
    usable=is_recorded,
    default="load-aware",
)
@click.option(
    "--threshold",
    type=FiniteRange(0.0, 1.0, min_open=True),
    help="Confidence at which a thought is stopped. [default: 0.9, with --policy fixed]",
)
@click.option(
    "--budget", type=click.IntRange(0), help="Thinking tokens after which a thought is stopped. [default: no limit]"
)
@risk_option
@peak_option
@click.option("--controller", "controller_file", type=click.Path(path_type=Path), help=CONTROLLER)
@click.option(
    "--solve-delay",
    default=0.15,
    show_default=True,
    type=FiniteRange(0.0),
    help="Simulated seconds that it takes to compute a plan, which load-aware waits for.",
)
@click.option(
    "--prefill-us",
    type=FiniteRange(0.0),
    help="Microseconds that reading a token of a prompt takes. [default: as long as a probe's token takes]",
)
@click.option(
    "--head-start-s",
    default=0.0,
    show_default=True,
    type=FiniteRange(0.0, infinite=True),
    help="Seconds for which a waiting request may be overtaken by later ones whose thoughts are predicted shorter; 0: "
    "first come, first served; inf: shortest first.",
)
@click.option(
    "--orders",
    is_flag=True,
    help="Also serve the same requests with other head starts, and tell which one serves best.",
)
@click.option(
    "--pauses/--no-pauses",
    default=False,
    show_default=True,
    help="Have running thoughts pause for waiting requests that go before them by --head-start-s.",
)
@click.option("--max-batch", type=click.IntRange(1), help=f"{MAX_BATCH} [default: as calibrated]")
@click.option("--cells", type=click.IntRange(1), help="Tokens of KV cache that all requests share. [default: 65536]")
@click.option(
    "--growing",
    is_flag=True,
    help="Requests take cells as they grow, as with ExLlamaV2; else, from their start, all that they may need.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write all simulated requests here, as JSON."
)
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
    risk_peak: float | None,
    controller_file: Path | None,
    solve_delay: float,
    prefill_us: float | None,
    head_start_s: float,
    orders: bool,
    pauses: bool,
    max_batch: int | None,
    cells: int | None,
    growing: bool,
    out: Path | None,
) -> None:
    """Try a policy under a load without decoding anything: serve it in simulated time, from a calibration.

    The serving loop, the policy and the controller are the real ones; the machine has the profile's step times, and the
    model says what calibration has recorded. All figures are simulated.
    """
    from experiments.simulation.run import SimulationSettings, simulate_load

    with errors_in_one_line():
        workload = _workload(workload_file, rate, cv)
        chosen = _policy(policy, assignments, threshold=threshold, budget=budget, risk=risk, risk_peak=risk_peak)
        _check_controlled(context, chosen)
        _check_place(out)
        _tell_unseen(workload, duration, seed)
        settings = SimulationSettings(
            workload=workload,
            duration_s=duration,
            seed=seed,
            policy=chosen,
            controller=controller_file,
            solve_delay_s=solve_delay,
            prefill_s=None if prefill_us is None else prefill_us * 1e-6,
            **{name: context.params[name] for name in TAKEN},
            model=located(model),
            thinking=thinking,
            profile=profile_file,
            records=records,
            files=files,
            compared=True,
        )
        found = simulate_load(settings, reporter=progress())
        _tell(found, policy, context.params)


def _check_place(out: Path | None) -> None:
    """Fails now rather than after the simulation."""
    if out is not None and not out.parent.is_dir():
        raise click.ClickException(f"there is no directory {str(out.parent)!r} for the records")


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


def _tell_unseen(workload: Workload, duration: float, seed: int) -> None:
    import numpy as np

    from experiments.workloads import unseen

    if (said := unseen(workload, duration, np.random.default_rng(seed))) is not None:
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


def _tell(found: SimulatedLoad, policy: str, options: dict[str, Any]) -> None:
    from experiments.simulation.summary import charged, summary

    share = f"{found.rate / found.full_thought_rate:.0%} of what the profile's machine bears with full thought"
    click.echo(f"\nSimulated, {policy}, {found.rate:.2f} requests/s, {share}, in {found.cpu_s:.1f} s of CPU time")
    click.echo(summary(found.records, found.classes, found.full_thought))
    if found.account is not None:
        click.echo(f"\n{charged(found.account)}")
    if found.orders is not None:
        from experiments.simulation.orders import told

        click.echo(f"\n{told(found.orders)}")
    _write(found, options)


def _write(found: SimulatedLoad, options: dict[str, Any]) -> None:
    """Writes the file that the options name."""
    from experiments.provenance import provenance
    from experiments.simulation.summary import write_json

    if options["out"] is not None:
        write_json(options["out"], found.records, provenance(found.directory, threads=1, options=options))
        click.echo(f"\nRequests: {options['out']}")
