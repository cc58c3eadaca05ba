"""Counts what a profile of an earlier release lacks: running thoughts, and harm by benchmark. Nothing is decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from controller.serving.trials import probe_spec
from experiments.calibration.by_class import counts_by_class
from experiments.calibration.grid import grid
from experiments.calibration.profile import planned
from experiments.calibration.traces import run_questions
from experiments.evaluation.questions import calibrated_questions
from experiments.simulation.recording import CalibratedRecords, read_calibration
from models.chat_model import ChatModel
from models.profile.difficulty import learn
from models.profile.levers.benchmarks import by_benchmark
from models.profile.profile import Profile, read_profile, write_profile
from models.score import Score


def add_running(chat: ChatModel, directory: Path, file: Path, *, files: Sequence[Path] = ()) -> Profile:
    """Counts running thoughts, and harm by benchmark, in the profile `file` by the records beside it.

    Writes and returns the profile with them. A profile that has both, or whose records lack answers at budgets that
    thoughts reach, or tell another certificate than its own, is returned as it is. The arguments are those of
    `read_calibration`, whose errors it raises.
    """
    if file.exists() and _counted(profile := read_profile(file)):
        return profile
    known = read_calibration(chat, directory, file, files=files)
    found = with_running(chat, known, files)
    if found is not known.profile:
        write_profile(file, found)
    return found


def with_running(chat: ChatModel, known: CalibratedRecords, files: Sequence[Path] = ()) -> Profile:
    """Returns the profile with its certificate's questions by class and by benchmark.

    By those by class an account of risk tops thoughts up; by the others no benchmark pays for another.
    """
    profile, mine = known.profile, run_questions(known.questions, files)
    certificate = profile.certificate
    if certificate.evidence is None or _counted(profile):
        return profile
    log = known.log.of(mine)
    traces = [log.traces[number] for number in sorted(log.traces)]
    _, seed = calibrated_questions(profile)
    options = profile.provenance.get("options")
    budgets = options.get("budgets") if isinstance(options, Mapping) else None
    _, pilot = planned(mine.keys, seed, None if budgets is None else tuple(budgets), next(iter(log.choices), None))
    counted = np.array([one.number not in pilot for one in traces])
    at = [budget for budget in profile.budgets if budget is not None]
    reached = [(one.number, budget) for one in traces for budget in at if budget <= len(one.thought)]
    if any(each not in log.closings for each in reached):
        return profile
    replayed = grid(
        traces,
        log.closings,
        [threshold for threshold in profile.thresholds if threshold is not None],
        at,
        probe_spec(chat.thinking, chat.stop_tokens, Score(profile.score)),
    )
    if replayed.harmed[counted].sum(axis=0).tolist() != [list(row) for row in certificate.harmed]:
        return profile
    told = learn([one.prompt for one in traces], [max(1, len(one.thought)) for one in traces]).observed
    member = np.array([[name == each for each in told] for name in profile.classes])
    evidence, apart = certificate.evidence, profile.benchmarks
    if evidence.by_class is None:
        evidence = replace(evidence, by_class=counts_by_class(replayed, member & counted))
    if apart is None or apart.by_class is None:
        labels = [known.questions[one.number].benchmark for one, kept in zip(traces, counted, strict=True) if kept]
        apart = by_benchmark(replayed.harmed[counted], labels, member[:, counted])
    return replace(profile, certificate=replace(certificate, evidence=evidence), benchmarks=apart)


def _counted(profile: Profile) -> bool:
    evidence, apart = profile.certificate.evidence, profile.benchmarks
    told = evidence is not None and evidence.by_class is not None
    return told and apart is not None and apart.by_class is not None
