"""Tabulates levers on the records of a profile that was calibrated without them. Nothing is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from controller.serving.trials import probe_spec
from engine.base import ProbeSpec
from experiments.calibration.looks import CertificateLook, recounted
from experiments.calibration.profile import Levels, planned, with_give_up, with_no_thought
from experiments.calibration.traces import CalibrationLog, run_questions
from experiments.evaluation.questions import calibrated_questions
from experiments.simulation.recording import CalibratedRecords, read_calibration
from models.chat_model import ChatModel
from models.profile.give_up import LADDER
from models.profile.levers.no_thought_tables import CUT_OFFS
from models.profile.profile import Profile, write_profile
from models.score import Score

Tabulate: TypeAlias = Callable[[ChatModel, CalibratedRecords, Sequence[Path]], Profile]
"""Returns a profile with a lever tabulated on its records; the paths are those of its `--questions` files."""


def add_levers(
    chat: ChatModel, directory: Path, file: Path, levers: Sequence[Tabulate], *, files: Sequence[Path] = ()
) -> Iterator[Profile]:
    """Tabulates levers in the profile `file` from the records beside it; yields the profile as written with each.

    The questions that chose the budgets fit or place what a lever needs, and the others certify, as in the calibration.
    The other arguments are those of `read_calibration`, whose errors it raises, and those of the levers.
    """
    known = read_calibration(chat, directory, file, files=files)
    for tabulated in levers:
        made = tabulated(chat, known, files)
        write_profile(file, made)
        yield made
        known = replace(known, profile=made)


def given_up(chat: ChatModel, known: CalibratedRecords, files: Sequence[Path] = ()) -> Profile:
    """Returns the profile with giving up tabulated on its records; it counts as one more look at a certificate."""
    mine = certifying(chat, known, files)
    log, spec = mine.log, mine.spec
    made = with_give_up(known.profile, traces=log.traces, closings=log.closings, unseen=mine.unseen, spec=spec)
    return recounted(made, replace(mine.look, curves=LADDER))


def answered_at_once(chat: ChatModel, known: CalibratedRecords, files: Sequence[Path] = ()) -> Profile:
    """Returns the profile with answers at once tabulated on its records, which is one more look at a certificate.

    Raises TraceError if no answer without thought was recorded.
    """
    mine = certifying(chat, known, files)
    made = with_no_thought(
        known.profile,
        traces=mine.log.traces,
        closings=mine.log.closings,
        unseen=mine.unseen,
        spec=mine.spec,
        landing=len(chat.thinking.landing),
    )
    return recounted(made, replace(mine.look, cut_offs=CUT_OFFS))


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifyingRecords:
    """A profile's records, as another lever is tabulated on them."""

    log: CalibrationLog  # of the profile's questions alone
    unseen: tuple[int, ...]  # numbers of the questions that did not choose the budgets
    spec: ProbeSpec  # of the recorded probes
    look: CertificateLook  # for a certificate without any further lever


def certifying(chat: ChatModel, known: CalibratedRecords, files: Sequence[Path] = ()) -> CertifyingRecords:
    """Returns a profile's records with the questions that certify."""
    profile, mine = known.profile, run_questions(known.questions, files)
    log, unseen = known.log.of(mine), tuple(unseen_of(known, files))
    spec = probe_spec(chat.thinking, chat.stop_tokens, Score(profile.score))
    look = CertificateLook(
        questions=tuple(mine.keys[number] for number in unseen),
        budgets=tuple(budget for budget in profile.budgets if budget is not None),
        score=Score(profile.score),
        levels=Levels(epsilon=profile.certificate.epsilon, delta=profile.certificate.delta),
    )
    return CertifyingRecords(log=log, unseen=unseen, spec=spec, look=look)


def unseen_of(known: CalibratedRecords, files: Sequence[Path] = ()) -> list[int]:
    """Returns the numbers of the calibration's questions that did not choose its budgets."""
    profile, mine = known.profile, run_questions(known.questions, files)
    _, seed = calibrated_questions(profile)
    options = profile.provenance.get("options")
    budgets = options.get("budgets") if isinstance(options, Mapping) else None
    choice = next(iter(known.log.of(mine).choices), None)
    _, pilot = planned(mine.keys, seed, None if budgets is None else tuple(budgets), choice)
    return [number for number in range(len(known.questions)) if number not in pilot]
