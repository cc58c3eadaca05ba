"""The calibration's records: full thoughts with all their probes, and the replies after a budget closes them.

The log is JSON Lines: a header that names the model, then one line for each finished piece, synced to disk before the
next. A run that was killed resumes from its log and decodes nothing twice, and so does a run with more questions, or
others: each trace names its question.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import lzma
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from experiments.evaluation.evaluation import Asked, EvaluationRecord
from experiments.grading.exact import last_answer
from experiments.grading.grade import Grade, GradeCounts, GradedBy, grade_counts
from experiments.question import Question
from models.errors import LaserError
from models.files.appended import append_line, json_line
from models.files.differing import told_apart
from models.files.envelope import Head, StrictJson
from models.files.replacement import told_of
from models.files.text import decode_json

log = logging.getLogger(__name__)

HEAD = Head(format="laser-records", version=1)
_UNSAID: dict[str, object] = {"trust_markers": False, "chat_template_sha256": None}
"""What a header means that does not say it."""


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
    answer: str | None = None  # of the reply; None: not recorded


Budgets = Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetChoice:
    """The budgets that a run chose, and what chose them; later runs keep to them, whatever their questions."""

    budgets: tuple[int, ...]  # thought tokens
    # keys of the pilot questions, whose full thoughts chose; they certify nothing
    pilot: tuple[str, ...]


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
    """A line of a log: a trace, a closing or a choice of budgets."""

    trace: ThoughtTrace | None = None
    closing: ClosedReply | None = None
    choice: BudgetChoice | None = None
    question: str | None = None  # of a trace, the question's key; None: recorded before keys were

    def __post_init__(self) -> None:
        if [self.trace, self.closing, self.choice].count(None) != 2:
            raise ValueError("the line must have either trace, closing or choice")

    def said(self) -> dict[str, object]:
        """Returns the line as JSON, without what is not given."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def _line_of(piece: ThoughtTrace | ClosedReply, question: str | None) -> _Line:
    """Returns the line of a piece; `question` is of traces alone."""
    if isinstance(piece, ClosedReply):
        return _Line(closing=piece)
    return _Line(trace=piece, question=question)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuestions:
    """A run's questions, in its order, as a log tells them from others."""

    keys: tuple[str, ...]  # `Question.key`
    sha256: str  # of all together: a log from before keys were is of exactly these


def run_questions(questions: Sequence[Question], files: Sequence[Path] = ()) -> RunQuestions:
    """Returns what tells these questions from others; `files` are their source, if any."""
    return RunQuestions(keys=tuple(one.key for one in questions), sha256=questions_sha256(questions, files))


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationLog:
    """The contents of a log, which may hold the questions of several runs."""

    path: Path
    header: Mapping[str, object] = field(default_factory=dict)
    traces: dict[int, ThoughtTrace] = field(default_factory=dict)  # by the question's number in the log
    closings: dict[tuple[int, int], ClosedReply] = field(default_factory=dict)  # by the same number, and budget
    keys: dict[int, str] = field(default_factory=dict)  # of questions; a trace without one is from before keys were
    choices: list[BudgetChoice] = field(default_factory=list)  # of budgets; the first one stands

    def take(self, line: _Line) -> None:
        """Takes a line of the log in."""
        if line.closing is not None:
            self.closings[line.closing.number, line.closing.budget] = line.closing
        elif line.choice is not None:
            self.choices.append(line.choice)
        elif line.trace is not None:
            self.traces[line.trace.number] = line.trace
            if line.question is not None:
                self.keys[line.trace.number] = line.question

    def numbers(self, mine: RunQuestions) -> dict[int, int]:
        """Returns the log's number of each question that it has, by the question's place among a run's.

        Raises TraceError if the log has thoughts from before keys were, of other questions than the run's.
        """
        found: dict[int, int] = {}
        if unkeyed := [number for number in self.traces if number not in self.keys]:
            if self.header.get("questions_sha256") != mine.sha256:
                raise TraceError(
                    f"{self.path}: was begun by an earlier release, with other questions than this run has: name the "
                    "same --questions, -n and --seed. Of files with more questions than -n, that release drew others: "
                    "calibrate anew, by removing the records or with another --out"
                )
            found = {number: number for number in unkeyed}
        by_key: dict[str, list[int]] = {}
        for number, key in sorted(self.keys.items(), reverse=True):
            by_key.setdefault(key, []).append(number)
        for place, key in enumerate(mine.keys):
            if place not in found and by_key.get(key):
                found[place] = by_key[key].pop()  # a question that is asked twice has two
        return found

    def of(self, mine: RunQuestions) -> CalibrationLog:
        """Returns what the log has of a run's questions, numbered as the run does. Raises as `numbers` does."""
        return self.renumbered({number: place for place, number in self.numbers(mine).items()})

    def renumbered(self, places: Mapping[int, int]) -> CalibrationLog:
        """Returns what the log has of some questions; `places`: the new number of each, by its number here."""
        return CalibrationLog(
            path=self.path,
            header=self.header,
            traces={places[n]: replace(one, number=places[n]) for n, one in self.traces.items() if n in places},
            closings={
                (places[n], budget): replace(one, number=places[n])
                for (n, budget), one in self.closings.items()
                if n in places
            },
            keys={places[n]: key for n, key in self.keys.items() if n in places},
            choices=self.choices,
        )


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
    log = CalibrationLog(path=path)
    decode = StrictJson(_Line, "line")
    for number, line in enumerate(whole.split(b"\n"), 1):
        try:
            if number == 1:
                header = decode_json(line)
                if not HEAD.opens(header):
                    raise ValueError(f"format and version are not {HEAD.format} and {HEAD.version}")
                log = replace(log, header=header)
            else:
                log.take(decode(line))
        except ValueError as error:
            raise TraceError(f"{path}:{number}: is no record of a calibration: {error}") from error
    return log


def takes_more(path: Path) -> bool:
    """Whether `laser calibrate` goes on from a log with further questions: it is not packed, and names its questions.

    Logs that an earlier release began do not name them. Raises OSError if the file cannot be read.
    """
    if path.suffix == ".xz":
        return False
    with path.open("rb") as file:
        return b'"questions_sha256"' not in file.readline()


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
    """A log file, open for writing by one run at a time. What it shows is of the run's questions, numbered as there."""

    def __init__(self, path: Path, header: Mapping[str, object], questions: RunQuestions | None = None) -> None:
        """Opens or creates the log file; `questions` None: the run numbers them as the file does.

        Raises TraceError if the file has another header, is damaged or unwritable, or another run is writing it.
        """
        self.path = path
        self.whole = CalibrationLog(path=path)  # the file's contents, other runs' questions among them
        self._questions = questions
        self._header = {**asdict(HEAD), **header}
        try:
            self._file: BinaryIO = path.open("a+b", buffering=0)
        except OSError as error:
            raise TraceError(f"{path}: cannot be written: {error.strerror}") from error
        try:
            self._read()
            self._numbers = {} if questions is None else self.whole.numbers(questions)
            self._shown = self.whole if questions is None else self.whole.of(questions)
        except BaseException:
            self._file.close()
            raise
        self._base = 0 if questions is None else max(self.whole.traces, default=-1) + 1  # of the run's new numbers

    def __enter__(self) -> TraceLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def traces(self) -> Mapping[int, ThoughtTrace]:
        """Full thoughts, by question."""
        return self._shown.traces

    @property
    def closings(self) -> Mapping[tuple[int, int], ClosedReply]:
        """Replies after a budget, by question and budget."""
        return self._shown.closings

    @property
    def choice(self) -> BudgetChoice | None:
        """The budgets that a run has chosen, this one or an earlier one; None: none has."""
        return next(iter(self.whole.choices), None)

    def choose(self, choice: BudgetChoice) -> None:
        """Writes the budgets that this run chose; when this returns, they are on the disk."""
        line = _Line(choice=choice)
        self._append(line.said())
        self.whole.take(line)

    def add(self, piece: ThoughtTrace | ClosedReply) -> None:
        """Writes a finished piece; when this returns, the piece is on the disk."""
        number = self._numbers.setdefault(piece.number, self._base + piece.number)
        key = None if self._questions is None else self._questions.keys[piece.number]
        line = _line_of(replace(piece, number=number), key)
        self._append(line.said())
        self.whole.take(line)
        if self._shown is not self.whole:
            self._shown.take(_line_of(piece, key))

    def _append(self, line: Mapping[str, object]) -> None:
        with told_of(self.path):
            append_line(self._file, json_line(line))
            os.fsync(self._file.fileno())

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
            if not json_line(self._header).startswith(found):
                raise TraceError(f"{self.path}:1: is no record of a calibration: remove it or write elsewhere")
            self._file.truncate(0)
            self._append(self._header)
            self.whole = replace(self.whole, header=self._header)
            return
        decode = StrictJson(_Line, "line")
        for number, line in enumerate(whole.split(b"\n"), 1):
            try:
                if number == 1:
                    self._check(said := decode_json(line))
                    self.whole = replace(self.whole, header=said)
                else:
                    self.whole.take(decode(line))
            except TraceError:
                raise
            except (ValueError, AttributeError) as error:
                raise TraceError(f"{self.path}:{number}: is no record of a calibration: {error}") from error
        self._file.truncate(len(whole) + 1)

    def _check(self, said: Mapping[str, object]) -> None:
        for key, ours in (_UNSAID | self._header).items():
            theirs = said.get(key, _UNSAID.get(key))
            if theirs != ours:
                difference = told_apart(key, theirs, ours, holder="this run")
                raise TraceError(f"{self.path}: was begun with {difference}: remove it or write elsewhere with --out")
