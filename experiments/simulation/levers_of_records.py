"""Tabulates levers on the records of a profile that was calibrated without them. Nothing is decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from controller.serving.trials import probe_spec
from experiments.calibration.looks import CertificateLook, looked
from experiments.calibration.profile import Levels, planned, with_benchmarks, with_give_up, with_no_thought
from experiments.calibration.traces import CalibrationLog, run_questions
from experiments.evaluation.questions import calibrated_questions
from experiments.simulation.recording import CalibratedRecords, read_calibration
from models.chat_model import ChatModel
from models.profile.give_up import LADDER
from models.profile.levers.no_thought_tables import CUT_OFFS
from models.profile.profile import Profile, write_profile
from models.score import Score


def add_give_up(chat: ChatModel, directory: Path, file: Path, *, files: Sequence[Path] = ()) -> Profile:
    """Tabulates giving up in the profile `file` from the records beside it; writes and returns the profile with it.

    The questions that chose the budgets place the curves, and the others certify, as in the calibration. The arguments
    are those of `read_calibration`, whose errors it raises.
    """
    found = given_up(chat, read_calibration(chat, directory, file, files=files), files)
    write_profile(file, found)
    return found


def given_up(chat: ChatModel, known: CalibratedRecords, files: Sequence[Path] = ()) -> Profile:
    """Returns the profile with giving up tabulated on its records; it counts as one more look at a certificate."""
    log, unseen, look = _certifying(chat, known, files)
    spec = probe_spec(chat.thinking, chat.stop_tokens, Score(known.profile.score))
    made = with_give_up(known.profile, traces=log.traces, closings=log.closings, unseen=unseen, spec=spec)
    return _looked(made, replace(look, curves=LADDER))


def add_no_thought(chat: ChatModel, directory: Path, file: Path, *, files: Sequence[Path] = ()) -> Profile:
    """Tabulates answers at once in the profile `file` from the records beside it; writes and returns it with them.

    The arguments are those of `read_calibration`, whose errors it raises; TraceError if no answer without thought was
    recorded.
    """
    found = answered_at_once(chat, read_calibration(chat, directory, file, files=files), files)
    write_profile(file, found)
    return found


def answered_at_once(chat: ChatModel, known: CalibratedRecords, files: Sequence[Path] = ()) -> Profile:
    """Returns the profile with answers at once tabulated on its records, which is one more look at a certificate."""
    log, unseen, look = _certifying(chat, known, files)
    made = with_no_thought(
        known.profile,
        traces=log.traces,
        closings=log.closings,
        unseen=unseen,
        spec=probe_spec(chat.thinking, chat.stop_tokens, Score(known.profile.score)),
        landing=len(chat.thinking.landing),
    )
    return _looked(made, replace(look, cut_offs=CUT_OFFS))


def _certifying(
    chat: ChatModel, known: CalibratedRecords, files: Sequence[Path]
) -> tuple[CalibrationLog, list[int], CertificateLook]:
    """Returns the profile's records, the numbers of the questions that certify, and a look with no lever."""
    profile, mine = known.profile, run_questions(known.questions, files)
    log, unseen = known.log.of(mine), unseen_of(known, files)
    look = CertificateLook(
        questions=tuple(mine.keys[number] for number in unseen),
        budgets=tuple(budget for budget in profile.budgets if budget is not None),
        score=Score(profile.score),
        levels=Levels(epsilon=profile.certificate.epsilon, delta=profile.certificate.delta),
    )
    return log, unseen, look


def told_apart(chat: ChatModel, known: CalibratedRecords, files: Sequence[Path] = ()) -> Profile:
    """Returns the profile with its benchmarks told apart on its records."""
    profile, log = known.profile, known.log.of(run_questions(known.questions, files))
    return with_benchmarks(
        profile,
        {number: question.benchmark for number, question in enumerate(known.questions)},
        traces=log.traces,
        closings=log.closings,
        unseen=unseen_of(known, files),
        spec=probe_spec(chat.thinking, chat.stop_tokens, Score(profile.score)),
    )


def unseen_of(known: CalibratedRecords, files: Sequence[Path] = ()) -> list[int]:
    """Returns the numbers of the calibration's questions that did not choose its budgets."""
    profile, mine = known.profile, run_questions(known.questions, files)
    _, seed = calibrated_questions(profile)
    options = profile.provenance.get("options")
    budgets = options.get("budgets") if isinstance(options, Mapping) else None
    choice = next(iter(known.log.of(mine).choices), None)
    _, pilot = planned(mine.keys, seed, None if budgets is None else tuple(budgets), choice)
    return [number for number in range(len(known.questions)) if number not in pilot]


def _looked(made: Profile, look: CertificateLook) -> Profile:
    return replace(made, provenance={**made.provenance, "looked": looked(made, look)})
