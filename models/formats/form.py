"""A thinking format as text: its markers, where thoughts may be closed early, how their answer is probed.

One YAML file per model family: `laser.yaml` in a model's directory, or a file of configs/models/, which comes with
LASER and goes by its name. The defaults fit the `<think> … </think>` family, DeepSeek-R1 distillations and Qwen3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from models.files.checks import at_least
from models.kinds.kind import AnswerForm, AnswerKind
from models.score import Score
from models.tools.form import CallFormat

OTHERS = tuple(kind for kind in AnswerKind if kind is not AnswerKind.SHORT)


class Keep(StrEnum):
    """Which part of a confident probe becomes part of the reply."""

    ANSWER = "answer"  # the closing marker and the trial answer: nothing is decoded twice
    CLOSE = "close"  # only the closing marker; the model then writes its answer in its own words


class ThoughtState(StrEnum):
    """What a prompt says of the thought of the reply."""

    NOT_BEGUN = "not begun"  # neither begun nor closed
    OPEN = "open"  # begun and not closed: the model goes on inside it
    CLOSED = "closed"  # the reply has no thought


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeFormat:
    """The trial answer: `suffix` follows the thought; the answer ends at a token that contains one of `stops`."""

    # text that asks a thought for its answer; it holds the closing marker
    suffix: str = "\n</think>\n\n**Final Answer**\n\\boxed{"
    stops: tuple[str, ...] = ("}",)  # texts of which one in a token ends the trial answer
    max_answer_tokens: int = 20  # longest trial answer, tokens
    score: Score = Score.GEOMETRIC_MEAN  # how the answer's token probabilities become its confidence

    def __post_init__(self) -> None:
        if not all(self.stops):
            raise ValueError("stops has an empty text, each must have at least 1 character")
        at_least(self, 1, "max_answer_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceFormat:
    """The trial answer to a question with a list of choices: the label of one. The model then writes the answer."""

    # text that asks a thought for its choice; null: the probe's suffix up to its words, then `Answer:`
    suffix: str | None = None
    stops: tuple[str, ...] = ("\n", ".", ",", ":", ")", "*")  # texts of which one in a token ends the label
    max_answer_tokens: int = 4  # longest label, tokens

    def __post_init__(self) -> None:
        if not all(self.stops):
            raise ValueError("stops has an empty text, each must have at least 1 character")
        at_least(self, 1, "max_answer_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class LandingTexts:
    """Closes a thought that is cut before an answer that is not short; null: `landing` without words of an answer."""

    structured: str | None = None  # before JSON, another text under a grammar, or a tool call
    code: str | None = None  # before a program
    open: str | None = None  # before prose


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitionFormat:
    """Where a thought may be closed early: at paragraph ends, and before `words` (matched as whole words)."""

    paragraphs: bool = True  # whether a thought may be closed at the end of a paragraph
    words: tuple[str, ...] = ("Wait", "Alternatively", "Hmm")  # cue words before which a thought may be closed
    min_gap: int = 16  # tokens between two probes of one thought

    def __post_init__(self) -> None:
        if not all(self.words):
            raise ValueError("words has an empty text, each must have at least 1 character")
        at_least(self, 1, "min_gap")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosingTexts:
    """How a thought in the open ends: by texts of the answer, which are shown like all of it."""

    text: tuple[str, ...]  # texts with which the answer begins; the first of them that comes ends the thought

    def __post_init__(self) -> None:
        _filled("text", self.text, least=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What one effort is for a model."""

    word: str  # the chat template's own word for it
    budget: int | None = None  # tokens that the thought may have; null: the word alone limits it

    def __post_init__(self) -> None:
        if self.budget is not None:
            at_least(self, 0, "budget")


@dataclass(frozen=True, slots=True, kw_only=True)
class EffortFormat:
    """How hard to think, where the chat template can say so. An effort without a level is the server's share alone."""

    variable: str = "reasoning_effort"  # the chat template's variable
    none: Level | None = None  # level of a reply without a thought
    minimal: Level | None = None  # level of `minimal`
    low: Level | None = None  # level of `low`
    medium: Level | None = None  # level of `medium`
    high: Level | None = None  # level of `high`
    xhigh: Level | None = None  # level of `xhigh`
    max: Level | None = None  # level of `max`

    def level(self, effort: str) -> Level | None:
        """Returns the level of an effort; None: the format has none for it."""
        found: Level | None = getattr(self, effort)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilySigns:
    """By what a model of the family is known: each kind of sign that is given must hold."""

    types: tuple[str, ...] = ()  # model_type or architecture in its configuration: it has one of these
    names: tuple[str, ...] = ()  # its names, the directory's among them: one of them contains one of these
    template: tuple[str, ...] = ()  # its chat template contains all of these

    def __post_init__(self) -> None:
        for name in ("types", "names", "template"):
            _filled(name, getattr(self, name))
        if not (self.types or self.names or self.template):
            raise ValueError("names is empty, and so are types and template: one of them must have a text")


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkingFormat:
    """A model family's thinking format, as text."""

    family: FamilySigns | None = None  # by what models of the family are recognised; null: it is only taken by name
    open: str = "<think>"  # marker that begins a thought; of one token or several
    opening: str = "<think>\n"  # appended to a prompt whose chat template does not open the thought itself
    # marker that ends a thought; `text`: the model reasons in the open, and these texts of its answer end the thought
    close: str | ClosingTexts = "</think>"
    also: tuple[str, ...] = ()  # other spellings of the closing marker
    # closes a thought that has not begun; null: a newline, the closing marker, a blank line
    closing: str | None = None
    landing: str = (  # closes a thought whose budget is spent; Qwen3's wording
        "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly "
        "now.\n</think>\n\n"
    )
    # closes a thought that is cut before an answer that is not short
    landings: LandingTexts = field(default_factory=LandingTexts)
    seams: tuple[str, ...] = ()  # texts between the parts of a thought; a blank line is shown in their place
    unshown: tuple[str, ...] = ()  # texts around the answer that are no part of it, and are not shown
    switches: tuple[str, ...] = ()  # the chat template's variables that are set to true where a thought is wanted
    unasked: bool = True  # whether a reply has a thought if the request says nothing of it
    effort: EffortFormat | None = None  # how hard to think, for the chat template; null: it knows no efforts
    keep: Keep = Keep.ANSWER  # which part of a confident probe becomes part of the reply, where a box is wanted
    boxes: bool = False  # whether the model writes every short answer in a box, asked to or not
    answer_reserve: int = 256  # tokens of max_tokens kept for the answer
    probe: ProbeFormat = field(default_factory=ProbeFormat)  # the trial answer
    choice: ChoiceFormat = field(default_factory=ChoiceFormat)  # the trial answer to a question with choices
    transitions: TransitionFormat = field(default_factory=TransitionFormat)  # where a thought may be closed early
    tools: CallFormat | None = None  # how the model writes tool calls; null: its chat template tells
    conclusions: tuple[str, ...] = ()  # phrases by which a thought first states its result; only evaluation uses them

    def __post_init__(self) -> None:
        at_least(self, 1, "answer_reserve")
        if self.in_the_open:
            given = [name for name in ("also", "closing", "seams", "unshown") if getattr(self, name)]
            if self.open or self.opening or given:
                name = next(iter(given), "open" if self.open else "opening")
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, must be empty where close is a text: there are no markers"
                )
        elif not (self.open and self.close):
            raise ValueError(f"{'close' if self.open else 'open'} is empty, must have at least 1 character")
        for name in ("also", "seams", "unshown", "switches", "conclusions"):
            _filled(name, getattr(self, name))
        closing = (("closing", self.closing),) if self.closing is not None else ()
        own = [(f"landings.{kind}", text) for kind in OTHERS if (text := getattr(self.landings, kind)) is not None]
        if self.choice.suffix is not None:
            own.append(("choice.suffix", self.choice.suffix))
        for name, text in (("landing", self.landing), ("probe.suffix", self.probe.suffix), *closing, *own):
            if not any(closer in text for closer in self.closers):
                raise ValueError(f"{name} is {text!r}, must contain the closing marker {self.closers[0]!r}")
        if self.open not in self.opening:
            raise ValueError(f"opening is {self.opening!r}, must contain the opening marker {self.open!r}")

    @property
    def in_the_open(self) -> bool:
        """Whether the model has no markers: its thought is part of the content."""
        return isinstance(self.close, ClosingTexts)

    @property
    def closers(self) -> tuple[str, ...]:
        """The texts that end a thought, the usual one first."""
        return self.close.text if isinstance(self.close, ClosingTexts) else (self.close, *self.also)

    def landing_for(self, kind: AnswerKind, form: AnswerForm) -> str:
        """Returns the text that closes a thought which is cut before an answer of this kind and form.

        Only before a box it may begin the answer.
        """
        if kind is AnswerKind.SHORT:
            return self.landing if form is AnswerForm.BOX else self.lead(self.landing)
        own: str | None = getattr(self.landings, kind)
        return self.lead(self.landing) if own is None else own

    @property
    def choice_suffix(self) -> str:
        """The text that asks a thought for the label of a choice."""
        return f"{self.lead(self.probe.suffix)}Answer:" if self.choice.suffix is None else self.choice.suffix

    def lead(self, text: str) -> str:
        """Returns a text that closes a thought without the words of an answer that follow the closing marker.

        White space and texts that are not shown stay; in the open, where the closing marker is words, nothing does.
        """
        end = min(at + len(closer) for closer in self.closers if (at := text.find(closer)) >= 0)
        if self.in_the_open:
            return text[:end]
        silent = "|".join([r"\s", *map(re.escape, self.unshown)])
        behind = re.match(f"(?:{silent})*", text[end:])
        return text[:end] if behind is None else text[:end] + behind.group()

    @property
    def plain(self) -> bool:
        """Whether replies have no thought unless a request asks for one in the open."""
        return self.in_the_open and not self.unasked

    @property
    def shown(self) -> str:
        """The markers in words."""
        return "no markers" if self.in_the_open else f"{self.open} … {self.close}"


def _filled(name: str, texts: tuple[str, ...], least: int = 0) -> None:
    if not all(texts):
        raise ValueError(f"{name} has an empty text, each must have at least 1 character")
    if len(texts) < least:
        raise ValueError(f"{name} has no text, must have at least {least}")
