"""Calibrates a model: records thoughts, times steps, and writes the profile that serving needs."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from controller.serving.trials import probe_spec
from engine.base import CorruptModelError, Engine
from engine.inventory import check_weights
from engine.registry import ELSE, open_engine
from experiments.calibration import profile as profiling
from experiments.calibration.answering import missing_closings, record_closings, record_thoughts
from experiments.calibration.looks import CertificateLook, looked, recounted_races
from experiments.calibration.no_thought import AT_ONCE
from experiments.calibration.pricing.index import LADDERS
from experiments.calibration.races.racing import draws_for, record_rivals, widened
from experiments.calibration.races.width import WIDEST
from experiments.calibration.traces import BudgetChoice, CalibrationLog, TraceLog, graded, run_questions
from experiments.evaluation.evaluation import evaluation_loop
from experiments.evaluation.examination import Examination
from experiments.grading.grade import GradeCounts
from experiments.progress import Reporter, Silent
from experiments.provenance import provenance
from experiments.question import Question
from experiments.sentences import counted
from laser.server.config import BUNDLED_NAME
from models.chat_model import ChatModel
from models.directory import check_place
from models.files.strict_yaml import ConfigError
from models.profile.give_up import LADDER
from models.profile.identity import ModelIdentity, identify, weights_sha256
from models.profile.levers.no_thought_tables import CUT_OFFS
from models.profile.profile import Profile, ProfileError, profile_of, read_profile, write_profile
from models.score import Score
from models.thinking import Keep


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSettings(Examination):
    """Which model is calibrated on which questions, to which levels, and where the profile is written."""

    seed: int = 2  # draws the questions: others than an evaluation's
    levels: profiling.Levels = field(default_factory=profiling.Levels)
    budgets: tuple[int, ...] | None = None  # thought tokens; None: percentiles of 48 full thoughts
    out: Path | None = None  # the profile; None: profile.json beside the model
    give_up: bool = False  # also tabulate points at which hopeless thoughts are given up
    price_index: bool = False  # also tabulate points at which thoughts are closed by their index
    no_thought: bool = False  # also record answers without thought, and tabulate points that answer at once
    width: int | None = None  # thoughts of the widest race that is tabulated, too; None: none is

    def __post_init__(self) -> None:
        Examination.__post_init__(self)  # a slotted dataclass has no super() without arguments
        if self.budgets is not None and min(self.budgets, default=1) < 1:
            raise ValueError(f"a budget is {min(self.budgets)}, must be at least 1")
        if self.width is not None and not 2 <= self.width <= WIDEST:
            raise ValueError(f"width is {self.width}, must be between 2 and {WIDEST}")

    @property
    def profile_file(self) -> Path:
        """The profile's file. Raises as `directory` does."""
        return self.out or profile_of(self.directory)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """A measured profile, and where it and its records are."""

    profile: Profile
    path: Path
    records: Path
    grading: GradeCounts  # of all recorded answers
    reused: int  # questions that earlier runs had answered
    chat: ChatModel  # the model without its weights
    questions: tuple[Question, ...]
    log: CalibrationLog  # all that the records hold

    @property
    def others(self) -> int:
        """The number of questions in the records that this calibration is not of."""
        return len(self.log.traces) - len(self.questions)


def calibrate(
    settings: CalibrationSettings | None = None,
    *,
    reporter: Reporter | None = None,
    options: Mapping[str, object] | None = None,
) -> Calibrated:
    """Measures a model's profile and writes it; records of earlier runs beside it are used and added to.

    The earlier runs may have been of fewer questions, or of others: the profile is of this run's, whoever answered
    them. The first run that chose budgets by its pilot questions chose them for later runs, too: the records keep them.

    `settings` None: the defaults; `reporter` None: nobody is told of the progress. `options` is what the profile's
    provenance states (None: the settings); its `count` and `seed` are needed to simulate. Torch is set to the
    settings' threads.

    Raises ShortOfData if the questions are too few, and another LaserError or an OSError if the model, the questions,
    the thinking format or the records cannot be used; what can be checked is checked before anything is decoded.

    >>> from pathlib import Path
    >>> from experiments.calibration.profile import Levels
    >>> from experiments.calibration.run import CalibrationSettings, calibrate
    >>> rough = Levels(epsilon=0.5, delta=0.1)
    >>> found = calibrate(CalibrationSettings(count=8, levels=rough, budgets=(60, 150), out=Path("profile.json")))
    >>> found.profile.budgets
    (None, 150, 60)
    """
    settings = CalibrationSettings() if settings is None else settings
    reporter = Silent() if reporter is None else reporter
    torch.set_num_threads(settings.threads)
    directory = settings.directory
    path = settings.profile_file
    check_place(directory, CorruptModelError)
    if not path.parent.is_dir():  # fails now rather than after all the decoding
        raise FileNotFoundError(f"there is no directory {str(path.parent)!r} for the profile")
    questions = settings.questions()
    file = path.with_name(f"{path.name}.records.jsonl")
    if settings.budgets is not None or not file.exists():  # else the records tell which questions chose budgets
        profiling.check_count(len(questions), settings.levels, settings.budgets)
    chat = settings.chat()
    if chat.thinking.format.keep is not Keep.ANSWER:
        raise ConfigError("the thinking format has keep: close, must be answer: exits are judged by trial answers")
    check_weights(directory)  # damaged weights are told as such
    files = weights_sha256(directory)
    identity = identify(directory, chat.thinking.format, None if settings.model else BUNDLED_NAME, files=files)
    mine, header = run_questions(questions, settings.files), records_header(settings, identity)
    draws = None if settings.width is None else draws_for(chat, settings.width, settings.max_tokens)
    with TraceLog(file, header, mine) as log:
        reused = len(log.traces)
        said, pilot = profiling.planned(mine.keys, settings.seed, settings.budgets, log.choice)
        profiling.check_count(len(questions), settings.levels, said, pilot=len(pilot))
        reporter.note(
            f"2 passes over {counted(len(questions), 'question')}, {reused:,} of them answered by earlier runs: full "
            "thoughts, then short answers at each budget; then step times"
        )
        reporter.note(f"Loading {directory} …")
        opened = open_engine(directory, settings.engine.on_threads(settings.threads))
        engine = opened.engine
        budgets = _record(settings, chat, engine, questions, log, reporter, budgets=said, pilot=pilot)
    if draws is not None:
        asked = list(zip(mine.keys, questions, strict=True))
        record_rivals(engine, chat, asked, draws, path, header, reporter, at_once=settings.engine.max_batch)
    reporter.note("Step times")
    spec = probe_spec(chat.thinking, chat.stop_tokens, settings.score)
    traces = [log.traces[number] for number in sorted(log.traces)]
    plant, probe, steady = profiling.measured_plant(
        engine,
        traces,
        spec,
        max_batch=settings.engine.max_batch,
        clock=time.perf_counter,
        cpu_clock=time.thread_time if opened.kind == ELSE and settings.threads == 1 else None,
    )
    stated = asdict(settings) if options is None else options
    unseen = [number for number in range(len(questions)) if number not in pilot]
    keys = tuple(mine.keys[number] for number in unseen)
    found = profiling.profile(
        model=identity,
        traces=log.traces,
        closings=log.closings,
        budgets=budgets,
        unseen=unseen,
        spec=spec,
        levels=settings.levels,
        max_tokens=settings.max_tokens,
        plant=plant,
        probe=probe,
        origin=provenance(directory, threads=torch.get_num_threads(), options=stated, files=files),
        steady=steady,
        looked=looked(_before(path, identity), *_looks(keys, budgets, spec.score, settings)),
        give_up=settings.give_up,
        price_index=settings.price_index,
        no_thought=len(chat.thinking.landing) if settings.no_thought else None,
        benchmarks={number: question.benchmark for number, question in enumerate(questions)},
    )
    if settings.width is not None:
        full = [log.traces[number] for number in range(len(questions))]
        found = widened(found, chat, full, mine.keys, path, header, settings.width)
        look = CertificateLook(questions=mine.keys, budgets=budgets, score=spec.score, levels=settings.levels)
        found = recounted_races(found, look)
    write_profile(path, found)
    return Calibrated(
        profile=found,
        path=path,
        records=log.path,
        grading=graded(log.traces, log.closings),
        reused=reused,
        chat=chat,
        questions=tuple(questions),
        log=log.whole,
    )


def _looks(
    keys: tuple[str, ...], budgets: tuple[int, ...], score: Score, settings: CalibrationSettings
) -> Iterator[CertificateLook]:
    """Yields what this run looks for certificates with: one without levers, and one with each that is wanted."""
    look = CertificateLook(questions=keys, budgets=budgets, score=score, levels=settings.levels)
    yield look
    if settings.give_up:
        yield replace(look, curves=LADDER)
    if settings.price_index:
        yield replace(look, prices=LADDERS)
    if settings.no_thought:
        yield replace(look, cut_offs=CUT_OFFS)


def _before(path: Path, model: ModelIdentity) -> Profile | None:
    """Returns the profile that this run replaces; None: there is none of this model."""
    try:
        return read_profile(path, model)
    except ProfileError:
        return None


def records_header(settings: Examination, model: ModelIdentity) -> dict[str, object]:
    """Returns what the records must be of, for a run to go on from them."""
    template = settings.chat_template
    return {
        "weights_sha256": model.weights_sha256,
        "thinking_sha256": model.thinking_sha256,
        "max_tokens": settings.max_tokens,
        **({"trust_markers": True} if settings.trust_markers else {}),
        **({} if template is None else {"chat_template_sha256": hashlib.sha256(template.read_bytes()).hexdigest()}),
    }


def _record(
    settings: CalibrationSettings,
    chat: ChatModel,
    engine: Engine,
    questions: Sequence[Question],
    log: TraceLog,
    reporter: Reporter,
    *,
    budgets: tuple[int, ...] | None,
    pilot: Collection[int],
) -> tuple[int, ...]:
    """Decodes what the log lacks; returns the budgets, which the full thoughts of `pilot` choose if they are None."""
    loop, limit, at_once = evaluation_loop(engine, chat), settings.max_tokens, settings.engine.max_batch
    with reporter.stage("Pass 1 of 2, full thoughts", len(questions), done=len(log.traces), at_once=at_once) as advance:
        record_thoughts(loop, chat, questions, log, max_tokens=limit, on_done=lambda: advance(1))
    if budgets is None:
        budgets = profiling.chosen_budgets(log.traces, pilot)
        log.choose(BudgetChoice(budgets=budgets, pilot=tuple(sorted({questions[number].key for number in pilot}))))
    label = f"Pass 2 of 2, short answers at {counted(len(budgets), 'budget')}"
    closed = (AT_ONCE, *budgets) if settings.no_thought else budgets
    with reporter.stage(label, len(missing_closings(log, closed)), at_once=at_once) as advance:
        record_closings(loop, chat, questions, log, closed, max_tokens=limit, on_done=lambda: advance(1))
    return budgets
