"""The calibration's records: full thoughts with all their probes, and the replies after a budget closes them.

The log is JSON Lines: a header that names the model and the questions, then one line for each finished piece, synced to
disk before the next. A run that was killed resumes from its log and decodes nothing twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import lzma
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from controller.serving.loop import ServingLoop
from controller.serving.request import ReasoningRequest
from experiments.evaluation.evaluation import Asked, EvaluationRecord, answering, evaluate_stream, same_answer
from experiments.grading.exact import last_answer
from experiments.grading.grade import Grade, GradeCounts, GradedBy, grade_counts
from experiments.question import Question
from models.chat_model import ChatModel
from models.errors import LaserError
from models.files.appended import append_line
from models.files.envelope import Head, StrictJson
from models.files.replacement import told_of
from models.files.text import decode_json

log = logging.getLogger(__name__)

HEAD = Head(format="laser-records", version=1)


class TraceError(LaserError, ValueError):
    """The log cannot be used; the message names the file, the line and the fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThoughtTrace:
    """A question's full thought and reply; the thought was probed at every transition point and never closed."""

    number: int  # of the question
    prompt: tuple[int, ...]  # token ids of the prompt
    thought: tuple[int, ...]  # token ids of the thought
    right: bool  # whether the reply is right
    tokens: int  # of the whole reply
    rows: int  # token rows of reply and probes
    probes: tuple[Asked, ...]  # every probe of the thought
    graded_by: GradedBy = GradedBy.EXACT
    natural: bool | None = None  # whether the model itself closed the thought; None: not recorded
    answer: str | None = None  # of the reply; None: not recorded

    @property
    def ended(self) -> bool:
        """Whether the thought ended by itself; where that was not recorded, whether it ended at all."""
        return bool(self.thought) if self.natural is None else self.natural


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedReply:
    """The reply that follows a question's thought if a budget closes the thought."""

    number: int  # of the question
    budget: int  # thought tokens
    right: bool  # whether the reply is right
    tokens: int  # of the landing and the answer
    graded_by: GradedBy = GradedBy.EXACT
    same: bool | None = None  # whether the full thought gives the same answer; None: not compared


Budgets = Sequence[int]


def trace(number: int, prompt: tuple[int, ...], record: EvaluationRecord) -> ThoughtTrace:
    """Returns the part of an evaluation record that calibration keeps."""
    return ThoughtTrace(
        number=number,
        prompt=prompt,
        thought=record.thought,
        right=record.right,
        tokens=record.tokens,
        rows=record.rows,
        probes=record.probes,
        graded_by=record.graded_by,
        natural=record.natural,
        answer=last_answer(record.reply),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A line of a log: one of the two."""

    trace: ThoughtTrace | None = None
    closing: ClosedReply | None = None

    def __post_init__(self) -> None:
        if (self.trace is None) == (self.closing is None):
            raise ValueError("the line must have either trace or closing")

    @property
    def piece(self) -> ThoughtTrace | ClosedReply:
        found = self.closing if self.trace is None else self.trace
        assert found is not None, "an empty line"
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationLog:
    """The contents of a log."""

    path: Path
    header: Mapping[str, object]
    traces: Mapping[int, ThoughtTrace]  # by question
    closings: Mapping[tuple[int, int], ClosedReply]  # by question and budget


def records_of(profile: Path) -> Path:
    """Returns the path of a profile's calibration records: beside the profile, plain or packed (.xz)."""
    plain = profile.with_name(f"{profile.name}.records.jsonl")
    packed = plain.with_name(f"{plain.name}.xz")
    return packed if packed.exists() and not plain.exists() else plain


def read_records(path: Path) -> CalibrationLog:
    """Reads a calibration's log, which may still be running; an unfinished last line is skipped.

    Raises TraceError if the file is missing, unreadable or no calibration log.
    """
    try:
        found = path.read_bytes()
        whole = (lzma.decompress(found) if path.suffix == ".xz" else found).rpartition(b"\n")[0]
    except FileNotFoundError as error:
        raise TraceError(f"{path}: does not exist; `laser calibrate` records thoughts beside the profile") from error
    except (OSError, lzma.LZMAError) as error:
        raise TraceError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    header: Mapping[str, object] = {}
    traces: dict[int, ThoughtTrace] = {}
    closings: dict[tuple[int, int], ClosedReply] = {}
    decode = StrictJson(_Line, "line")
    for number, line in enumerate(whole.split(b"\n"), 1):
        try:
            if number == 1:
                header = decode_json(line)
                if not HEAD.opens(header):
                    raise ValueError(f"format and version are not {HEAD.format} and {HEAD.version}")
                continue
            piece = decode(line).piece
        except ValueError as error:
            raise TraceError(f"{path}:{number}: is no record of a calibration: {error}") from error
        if isinstance(piece, ThoughtTrace):
            traces[piece.number] = piece
        else:
            closings[piece.number, piece.budget] = piece
    return CalibrationLog(path=path, header=header, traces=traces, closings=closings)


def questions_sha256(questions: Sequence[Question], files: Sequence[Path] = ()) -> str:
    """Returns a hash that identifies a list of questions; hashing `files`, their source, covers the answers too."""
    texts = [(question.benchmark, question.text) for question in questions]
    answers = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return hashlib.sha256(json.dumps([texts, answers]).encode()).hexdigest()


def graded(traces: Mapping[int, ThoughtTrace], closings: Mapping[tuple[int, int], ClosedReply]) -> GradeCounts:
    """Counts all recorded answers by who decided whether they are right."""
    probes = [probe for one in traces.values() for probe in one.probes]
    answers: list[ThoughtTrace | Asked | ClosedReply] = [*traces.values(), *probes, *closings.values()]
    return grade_counts(Grade(one.right, one.graded_by) for one in answers)


class TraceLog:
    """A log file, open for writing by one run at a time."""

    def __init__(self, path: Path, header: Mapping[str, object]) -> None:
        """Opens or creates the log file.

        Raises TraceError if the file has another header, is damaged or unwritable, or another run is writing it.
        """
        self.path = path
        self.traces: dict[int, ThoughtTrace] = {}
        self.closings: dict[tuple[int, int], ClosedReply] = {}
        self._header = {**asdict(HEAD), **header}
        try:
            self._file: BinaryIO = path.open("a+b", buffering=0)
        except OSError as error:
            raise TraceError(f"{path}: cannot be written: {error.strerror}") from error
        try:
            self._read()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> TraceLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, piece: ThoughtTrace | ClosedReply) -> None:
        """Writes a finished piece; when this returns, the piece is on the disk."""
        kind = "trace" if isinstance(piece, ThoughtTrace) else "closing"
        self._append({kind: asdict(piece)})
        self._keep(piece)

    def _append(self, line: Mapping[str, object]) -> None:
        with told_of(self.path):
            append_line(self._file, _line(line))
            os.fsync(self._file.fileno())

    def _keep(self, piece: ThoughtTrace | ClosedReply) -> None:
        if isinstance(piece, ThoughtTrace):
            self.traces[piece.number] = piece
        else:
            self.closings[piece.number, piece.budget] = piece

    def _read(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held until the file is closed
        except BlockingIOError as error:
            raise TraceError(f"{self.path}: another run is writing it") from error
        self._file.seek(0)
        found = self._file.read()
        whole, _, torn = found.rpartition(b"\n")  # a line without its end was being written when the run was killed
        if whole and torn:
            log.warning("%s:%d: was cut off, and is dropped", self.path, whole.count(b"\n") + 2)
        if not whole:
            if not _line(self._header).startswith(found):
                raise TraceError(f"{self.path}:1: is no record of a calibration: remove it or write elsewhere")
            self._file.truncate(0)
            self._append(self._header)
            return
        decode = StrictJson(_Line, "line")
        for number, line in enumerate(whole.split(b"\n"), 1):
            try:
                if number == 1:
                    self._check(decode_json(line))
                else:
                    self._keep(decode(line).piece)
            except TraceError:
                raise
            except (ValueError, AttributeError) as error:
                raise TraceError(f"{self.path}:{number}: is no record of a calibration: {error}") from error
        self._file.truncate(len(whole) + 1)

    def _check(self, said: Mapping[str, object]) -> None:
        for key, ours in self._header.items():
            theirs = said.get(key)
            if theirs != ours:
                raise TraceError(
                    f"{self.path}: was begun with {key} {theirs!r}, this run has {ours!r}: remove it or write elsewhere"
                )


def _line(said: Mapping[str, object]) -> bytes:
    return json.dumps(said, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def record_thoughts(
    loop: ServingLoop,
    model: ChatModel,
    questions: Sequence[Question],
    log: TraceLog,
    *,
    max_tokens: int,
    on_done: Callable[[], None] = lambda: None,
) -> None:
    """Answers the questions that the log lacks, with full thought; `loop` must probe and never close a thought."""
    missing = [number for number in range(len(questions)) if number not in log.traces]
    for place, record in evaluate_stream(loop, model, [questions[number] for number in missing], max_tokens=max_tokens):
        number = missing[place]
        prompt = model.question(questions[number].text)
        log.add(trace(number, prompt, record))
        on_done()


def missing_closings(log: TraceLog, budgets: Budgets) -> list[tuple[int, int]]:
    """Returns each (question, budget) whose budget would close the thought and whose reply the log lacks."""
    return [
        (number, budget)
        for number, one in sorted(log.traces.items())
        for budget in budgets
        if budget <= len(one.thought) and (number, budget) not in log.closings
    ]


def record_closings(
    loop: ServingLoop,
    model: ChatModel,
    questions: Sequence[Question],
    log: TraceLog,
    budgets: Budgets,
    *,
    max_tokens: int,
    on_done: Callable[[], None] = lambda: None,
) -> None:
    """Closes the log's thoughts at these budgets, as serving would, and records the model's replies.

    The thought up to a budget is part of the prompt, so no thought is decoded again.
    """
    landing = model.thinking.landing
    missing = missing_closings(log, budgets)
    asked = []
    for number, budget in missing:
        one = log.traces[number]
        request = ReasoningRequest(
            prompt=one.prompt + one.thought[:budget],
            max_tokens=max_tokens - budget - len(landing),
            budget=0,  # the landing closes the thought in the prompt, and what follows the closing marker is answer
        )
        asked.append((questions[number], request))
    for place, record in answering(loop, model, asked):
        number, budget = missing[place]
        one = log.traces[number]
        log.add(
            ClosedReply(
                number=number,
                budget=budget,
                right=record.right,
                tokens=len(landing) + record.tokens,
                graded_by=record.graded_by,
                same=None
                if one.answer is None
                else same_answer(questions[number], record.right, last_answer(record.reply), one.right, one.answer),
            )
        )
        on_done()
