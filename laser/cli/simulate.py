"""`laser simulate`: simulates serving under a load, in virtual time, from a calibration."""

from __future__ import annotations

from pathlib import Path

import click

from controller.policies.definition import is_recorded
from laser.cli.options import policy_option


@click.command("simulate")
@click.option("--model", type=click.Path(path_type=Path), help="A model's directory; default: the bundled model.")
@click.option("--profile", "profile_file", type=click.Path(path_type=Path), help="[default: the model's]")
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
@click.option("--thinking", type=click.Path(path_type=Path), help="Thinking format. [default: the model's laser.yaml]")
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
    import time
    from dataclasses import replace

    import numpy as np

    from controller.policies.auto import Auto
    from controller.policies.definition import PolicyContext, constant_limits
    from controller.policies.registry import from_options
    from controller.policy import Limits
    from controller.settings import SettingsFile
    from engine.simulated.machine import VirtualClock, profiled_machine
    from experiments.calibration.traces import TraceError, read_records, records_of
    from experiments.evaluation.question_files import QuestionError, file_questions
    from experiments.evaluation.questions import bundled_questions, calibrated_questions
    from experiments.provenance import provenance
    from experiments.simulation.recording import recording
    from experiments.simulation.simulation import check_budget, punctual_controller, simulate
    from experiments.simulation.summary import summary, write_json
    from experiments.workloads import Gamma, Poisson, Workload, WorkloadError, read_workload
    from models.chat_model import load_chat_model
    from models.files.strict_yaml import ConfigError
    from models.profile.profile import FILE_NAME, ProfileError, identify, read_profile
    from models.reasoner import bundled_model
    from models.tokenizer import TokenizerError

    if (workload_file is None) == (rate is None):
        raise click.UsageError("give either --workload or --rate")
    if cv is not None and rate is None:
        raise click.UsageError("--cv goes with --rate")
    try:
        flags = {"threshold": threshold, "budget": budget, "risk": risk}
        given = {name: value for name, value in flags.items() if value is not None}
        settings = from_options(Auto(), policy, given, assignments)
        limits = constant_limits(settings) or Limits()
        if limits.every is not None:
            raise ValueError(f"every is {limits.every}, but probes were recorded at transition points alone")
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if out is not None and not out.parent.is_dir():  # fails now rather than after the simulation
        raise click.ClickException(f"there is no directory {str(out.parent)!r} for the records")
    try:
        directory = model or bundled_model()
        chat = load_chat_model(directory, thinking)
        file = profile_file or directory / FILE_NAME
        if not file.exists():
            raise click.ClickException(f"there is no profile {str(file)!r}; `laser calibrate` makes one")
        profile = read_profile(file, identify(directory, chat.thinking.format))
        check_budget(limits.budget, profile)
        count, drawn = calibrated_questions(profile)
        questions = file_questions(files, count, drawn) if files else bundled_questions(count, drawn)
        known = recording(chat, profile, read_records(records or records_of(file)), questions, files)
        workload: Workload
        if workload_file is not None:
            workload = read_workload(workload_file)
        else:
            assert rate is not None, "checked above"
            workload = Poisson(rate=rate) if cv is None else Gamma(rate=rate, cv=cv)
        machine = profiled_machine(profile, prefill_s=None if prefill_us is None else prefill_us * 1e-6)
        if max_batch is not None:
            machine = replace(machine, max_batch=max_batch)
        clock = VirtualClock()
        made = settings.make(
            PolicyContext(
                profile=profile,
                max_batch=machine.max_batch,
                controller=lambda usable: punctual_controller(
                    usable,
                    SettingsFile(controller_file, len(usable.classes)),
                    clock=clock,
                    max_batch=machine.max_batch,
                    delay_s=solve_delay,
                ),
            )
        )
        rng = np.random.default_rng(seed)
        arrivals = workload.arrivals(duration, rng)
        if not arrivals.size:
            raise WorkloadError(f"no request arrives within {duration:g} s, must be at least 1")
        asked = rng.integers(len(known.questions), size=arrivals.size).tolist()
        started = time.process_time()
        with click.progressbar(length=arrivals.size, label="Requests        ") as bar:
            found = simulate(
                known,
                arrivals,
                asked,
                machine=machine,
                clock=clock,
                policy=made.policy,
                observer=made.observer,
                on_done=lambda: bar.update(1),
            )
        took = time.process_time() - started
        click.echo(
            f"\nSimulated, {policy}, {arrivals.size / duration:.2f} requests/s, in {took:.1f} s of CPU time"
            f"\n\n{summary(found)}"
        )
        if out is not None:
            write_json(out, found, provenance(directory, threads=1, options=context.params))
            click.echo(f"\nRequests: {out}")
    except (
        ProfileError, ConfigError, QuestionError, TokenizerError, TraceError, WorkloadError, OSError
    ) as error:  # fmt: skip
        raise click.ClickException(str(error)) from error
